"""What a host's answers mean for an apply."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ollama_fleet.checks.doctor.diagnosis import Finding, Need, diagnose
from ollama_fleet.checks.doctor.script import Answers, Listener, Questions, Reached, parse, script
from ollama_fleet.checks.doctor.vulnerabilities import KNOWN, vulnerabilities_of
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import ForeignBinary, ReleaseState, ServiceState
from ollama_fleet.probe.read import MARKER, ProbeError
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec
from unit.planner.states import FRESH

GIB = 1 << 30
NEED = Need(models=4 * GIB, releases=GIB)
LAYOUT = Layout.of("system")
WELL = Answers(
    user="root",
    uid=0,
    sudo=None,
    clock_ahead=0.4,
    listeners=(),
    free={"models": ("/srv", 50 * GIB), "releases": ("/", 20 * GIB)},
    unresolved=(),
    reached=(Reached("https://registry.ollama.ai/v2/", 0, 200, ""),),
    state=FRESH,
    layout=LAYOUT,
)


def spec(**settings: object) -> HostSpec:
    (host,) = Fleet.parse(
        f"version: 1\nrelease: {{version: 0.32.15}}\nhosts:\n  pc: {settings or {'address': '192.168.1.11'}}\n"
    ).hosts
    return host


def findings(answers: Answers, need: Need | None = NEED, **settings: object) -> dict[str, list[Finding]]:
    """What is not in order, by check."""
    found: dict[str, list[Finding]] = {}
    for one in diagnose(spec(**settings), answers, need, None):
        if one.status != "ok":
            assert one.remedy or one.status == "unknown"
            found.setdefault(one.check, []).append(one)
    return found


def test_a_host_that_is_well() -> None:
    assert findings(WELL) == {}
    assert [one.check for one in diagnose(spec(), WELL, NEED, None)] == [
        "rights",
        "system",
        "clock",
        "driver",
        "disk",
        "disk",
        "port",
        "network",
        "plan",
    ]


STATE = WELL.state
assert STATE is not None
SICK = {
    "no root": (replace(WELL, user="deploy", uid=1000), "rights", "deploy is not root"),
    "sudo asks": (
        replace(WELL, user="deploy", uid=1000, sudo="sudo: a password is required"),
        "rights",
        "sudo refuses deploy",
    ),
    "a clock of last year": (replace(WELL, clock_ahead=-4e7), "clock", "463 days behind this machine's"),
    "no systemd": (
        replace(WELL, state=replace(FRESH, platform=replace(FRESH.platform, systemd=False))),
        "system",
        "systemd does not run there",
    ),
    "a broken driver": (replace(WELL, state=replace(FRESH, device_error="mismatch")), "driver", "mismatch"),
    "a full disk": (
        replace(WELL, free={**WELL.free, "models": ("/srv", 4 * GIB)}),
        "disk",
        "/srv: 4.0 GiB free, 4.0 GiB to be fetched",
    ),
    "one disk for both": (
        replace(WELL, free={"models": ("/", 7 * GIB), "releases": ("/", 7 * GIB)}),
        "disk",
        "/: 7.0 GiB free, 7.0 GiB to be fetched",
    ),
    "somebody on the port": (
        replace(WELL, listeners=(Listener("nginx", 7),)),
        "port",
        "11434 is taken by nginx (process 7)",
    ),
    "no name server": (replace(WELL, unresolved=("ollama.lan",)), "dns", "ollama.lan has no address there"),
    "no way out": (
        replace(WELL, reached=(Reached("https://r/v2/", 28, 0, "timed out"),)),
        "network",
        "https://r/v2/: no answer within some seconds",
    ),
    "a registry that is ill": (
        replace(WELL, reached=(Reached("https://r/v2/", 0, 502, ""),)),
        "network",
        "https://r/v2/ answers 502",
    ),
    "a proxy that is none": (
        replace(WELL, reached=(Reached("https://r/v2/", 5, 0, ""),)),
        "proxy",
        "the name of the proxy has no address there",
    ),
}


@pytest.mark.parametrize("name", SICK)
def test_each_trouble_is_a_problem_of_its_own(name: str) -> None:
    answers, check, words = SICK[name]
    found = findings(answers)
    assert list(found) == [check]
    ((status, told),) = [(one.status, one.found) for one in found[check]]
    assert status == "problem"
    assert words in told


def test_what_is_not_needed_is_no_trouble() -> None:
    user = replace(WELL, user="alice", uid=1001)
    assert findings(user, scope="user") == {}
    assert findings(replace(WELL, free={"models": ("/srv", 0)}), Need(0, 0)) == {}
    ours = replace(
        WELL, listeners=(Listener("ollama", 7),), state=replace(FRESH, service=ServiceState(pid=7))
    )
    assert findings(ours) == {}


def test_an_old_ollama_is_a_warning_and_told_with_its_source() -> None:
    old = replace(FRESH, release=ReleaseState(foreign=ForeignBinary("/usr/local/bin/ollama", "0.1.33")))

    ((finding,),) = findings(replace(WELL, state=old)).values()

    assert (finding.check, finding.status) == ("version", "warning")
    assert (
        "CVE-2026-7482: whoever reaches the API reads the server's memory (https://nvd.nist.gov/"
        in finding.found
    )
    assert finding.remedy == "an apply replaces it by 0.32.15"


def test_a_pinned_version_with_holes() -> None:
    (host,) = Fleet.parse("version: 1\nrelease: {version: 0.12.3}\nhosts:\n  pc: {}\n").hosts
    (found,) = [one for one in diagnose(host, WELL, NEED, None) if one.check == "version"]
    assert (found.status, found.remedy) == ("warning", "ask for 0.17.1 or newer")


def test_vulnerabilities() -> None:
    assert [one.cve for one in vulnerabilities_of("0.1.46")] == [
        "CVE-2024-45436",
        "CVE-2025-1975",
        "CVE-2026-7482",
    ]
    assert len(vulnerabilities_of("0.1.28")) == len(KNOWN)
    assert vulnerabilities_of("0.17.1") == []


QUESTIONS = Questions(
    LAYOUT, 11434, sudo=True, urls=("https://registry.ollama.ai/v2/", "http://10.0.0.1:5000/v2/")
)


def test_what_the_command_prints_is_read_back() -> None:
    lines = [
        "user deploy",
        "uid 1000",
        "time 1000",
        "sudo",
        "listens",
        'listener LISTEN 0 4096 *:11434 *:* users:(("ollama",pid=812,fd=3))',
        "listener LISTEN 0 4096 127.0.0.1:11434 0.0.0.0:*",
        "room models 1024 /srv/my models",
        "room releases 2048 /",
        "unresolved registry.ollama.ai",
        "reached 6 https://registry.ollama.ai/v2/ curl: (6) Could not resolve host 000 ",
        "reached 0 http://10.0.0.1:5000/v2/ 200 ",
        f"{MARKER} begin",
        "what a probe without rights prints",
    ]

    answers = parse(lines, QUESTIONS, 1010.0)

    assert (answers.user, answers.uid, answers.sudo, answers.clock_ahead) == ("deploy", 1000, "", -10.0)
    assert answers.listeners == (Listener("ollama", 812), Listener("another program", 0))
    assert answers.free == {"models": ("/srv/my models", 1 << 20), "releases": ("/", 2 << 20)}
    assert answers.unresolved == ("registry.ollama.ai",)
    assert answers.reached == (
        Reached("https://registry.ollama.ai/v2/", 6, 0, "Could not resolve host"),
        Reached("http://10.0.0.1:5000/v2/", 0, 200, ""),
    )
    assert answers.state is None


def test_a_command_that_was_cut_off() -> None:
    with pytest.raises(ProbeError):
        parse(["user root"], QUESTIONS)


def test_only_names_are_looked_up_and_everything_is_quoted() -> None:
    text = script(replace(QUESTIONS, urls=(*QUESTIONS.urls, "http://x;touch /canary/v2/")))

    assert "for name in registry.ollama.ai 'x;touch '; do" in text
    assert "'http://x;touch /canary/v2/'" in text
