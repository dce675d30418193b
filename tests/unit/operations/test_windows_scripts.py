"""Every script that is made for Windows parses, whatever stands in its values; the firewall's rule is adopted."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.checks.doctor import windows as doctor
from ollama_fleet.connectors.powershell import framed
from ollama_fleet.operations.windows import running, snapshot
from ollama_fleet.operations.windows.retirement import retirement_script
from ollama_fleet.operations.windows.script import remove, stop_server, stop_some, write_text
from ollama_fleet.planner.items.windows.firewall import DESCRIPTION, WindowsFirewall
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.retirement import Models
from ollama_fleet.planner.state import FileState, HostState, Platform, StoredModel
from ollama_fleet.planner.windows.before import BeforeWindows
from ollama_fleet.planner.windows.retirement import WindowsRetirement
from ollama_fleet.planner.windows.state import SetupInstall, WindowsFirewallState, WindowsRule, WindowsState
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.windows import read
from windows.powershell import parse

VALUES = st.text(st.sampled_from(list("ab 模型'\"‘’`$%;&|(){}[]@#\\\n")), min_size=1, max_size=20)
PLATFORM = Platform("amd64", "Windows", "fleet", "", 0, "C:\\", frozenset(), False, False, False, False)


@settings(max_examples=25, deadline=None)
@given(VALUES)
def test_every_script_parses(value: str) -> None:
    layout = Layout.of("windows", f"D:\\{value}")
    for script in (
        read.script(ProbeRequest(layout)),
        write_text(value, value),
        remove(value),
        stop_server(),
        stop_some([layout, layout.for_instance("left"), layout.for_instance("right")]),
        stop_some([layout.for_instance("left")]),
        running.lock(layout, value),
        running.listener(11434),
        running.why_down(layout),
        running.write_record(layout, "20260101T000000Z-abc", value),
        running.remove_bad_blobs([value, value]),
        running.remove_release(layout, value),
        "\n".join(snapshot.take(layout)),
        "\n".join(snapshot.put_back(layout, created=[value])),
        "\n".join(snapshot.put_back(layout, snapshot=layout.kept)),
        "\n".join(snapshot.settle(layout)),
        retirement_script(retirement(layout, value)),
        doctor.script(layout, 11434, [f"https://{value}/"], [value], {}),
        doctor.script(layout, 11434, [f"https://{value}/"], [value], {"HTTPS_PROXY": value}),
    ):
        parse(framed(script))


def retirement(layout: Layout, value: str) -> WindowsRetirement:
    """One that has something of everything."""
    foreign = rule(name=value, display=value, description=value, sources=("0.0.0.0/0", "LocalSubnet"))
    stored = StoredModel(ModelName.parse("tiny"), b"{}")
    return WindowsRetirement(
        layout=layout,
        tasks=("Ollama", "Ollama-left"),
        rules=(foreign,),
        rules_back=(foreign,),
        variables={"OLLAMA_HOST": value, "OLLAMA_MODELS": None},
        links=(f"C:\\{value}\\Ollama.lnk",),
        releases=(value,),
        models=Models(going=(stored,), blobs=("sha256:aa",)),
        models_whole=False,
        directories=(layout.models, layout.root),
        goes=(),
        stays=(),
    )


@given(VALUES)
def test_what_was_before_is_noted_and_read_back(value: str) -> None:
    layout = Layout.of("windows", "D:\\Models")
    setups = (SetupInstall("C:\\ollama.exe", "0.24.0", f"C:\\{value}.lnk", False),)
    windows = WindowsState(variables={"OLLAMA_HOST": value}, setups=setups)
    by_hand, ours = rule(description=value), rule(name="ollama-fleet-11434")
    empty = replace(state_with(by_hand, ours, rule(name="web", display="web")), windows=windows)
    note = BeforeWindows.of(empty, layout).with_today(empty, layout)

    state = replace(
        HostState(PLATFORM), files={layout.before: FileState("file", 0, "", "", note.text().encode())}
    )
    known = BeforeWindows.of(state, layout)

    assert known == note
    assert (known.rules, known.variables, known.links) == (
        (by_hand,),
        {"OLLAMA_HOST": value},
        (f"C:\\{value}.lnk",),
    )
    assert {layout.root, layout.models, layout.state} <= known.absent
    # Later looks add places, and take nothing that an apply has set for what was there before.
    assert known.with_today(state, layout).variables == known.variables


def state_with(*rules: WindowsRule, local_rules: bool = True) -> HostState:
    firewall = WindowsFirewallState("windows", active=True, windows_rules=rules, local_rules=local_rules)
    return HostState(PLATFORM, firewall=firewall)


def rule(**changes: object) -> WindowsRule:
    by_hand: dict[str, object] = {
        "name": "{5c8b}",
        "display": "ollama 11434",
        "description": "ollama默认端口号",
        "allows": True,
        "enabled": True,
        "profiles": frozenset({"Domain", "Private", "Public"}),
        "ports": ("11434",),
        "sources": ("Any",),
        "program": "Any",
    }
    return WindowsRule(**{**by_hand, **changes})  # type: ignore[arg-type]


WANTED = WindowsFirewall((11434,), ("192.168.1.0/24",), Layout.of("windows"))


def test_the_rule_of_the_tutorial_is_adopted() -> None:
    told = [str(found) for found in WANTED.differences(state_with(rule()))]
    assert told == [
        f"description: ollama默认端口号 → {DESCRIPTION}",
        "from: Any → 192.168.1.0/24",
    ]
    adopted = rule(description=DESCRIPTION, sources=("192.168.1.0/24",))
    assert WANTED.differences(state_with(adopted)) == []


def test_what_no_operation_changes_is_told() -> None:
    mine = rule(description=DESCRIPTION, sources=("192.168.1.0/24",))
    block = rule(name="x", display="no ollama", allows=False, ports=("Any",), program="C:\\a\\ollama.exe")
    (policy, blocked) = WANTED.notes(state_with(mine, block, local_rules=False))
    assert "AllowLocalPolicyMerge=0" in policy
    assert "'no ollama' of somebody else blocks" in blocked


def test_each_port_of_several_servers_has_a_rule_and_others_of_ours_go() -> None:
    wanted = WindowsFirewall((11434, 11500), ("192.168.1.0/24",), Layout.of("windows"))
    adopted = rule(description=DESCRIPTION, sources=("192.168.1.0/24",))
    old = rule(name="ollama-fleet-11435", display="ollama 11435", ports=("11435",))
    assert [str(found) for found in wanted.differences(state_with(adopted, old))] == [
        "rule ollama-fleet-11435: present → absent",
        "rule ollama 11500: absent → present",
    ]
    other = replace(
        adopted, name="ollama-fleet-11500", display="ollama 11500", ports=("11500",), enabled=False
    )
    told = [str(found) for found in wanted.differences(state_with(adopted, other))]
    assert told == ["ollama 11500: enabled: no → yes"]
    assert wanted.differences(state_with(adopted, replace(other, enabled=True))) == []


def test_a_block_on_one_of_several_ports_is_told_of_that_port() -> None:
    wanted = WindowsFirewall((11434, 11500), ("192.168.1.0/24",), Layout.of("windows"))
    block = rule(name="x", display="no ollama", allows=False, ports=("11500",))
    (told,) = wanted.notes(state_with(block))
    assert "port 11500 stays shut" in told
