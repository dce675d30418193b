"""Values of any kind arrive at a real systemd and a real shell as they are, and nothing in them is executed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lab import Lab
from lab.host import Host
from ollama_fleet.deploys.source import load_templates
from ollama_fleet.planner.render import Templates, unit_path, unit_word

pytestmark = pytest.mark.lab

TEXT = st.text(st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cn", "Cc")), max_size=40)
NASTY = st.sampled_from(
    [
        "'",
        '"',
        "\\",
        "$HOME",
        "${HOME}",
        "%h",
        "%%",
        "`touch /canary`",
        "$(touch /canary)",
        ";",
        "#",
        " ",
        "\t",
    ]
)
VALUES = st.lists(st.one_of(TEXT, st.lists(NASTY, max_size=8).map("".join)), min_size=1, max_size=12)
DUMP = """\
import json, os, sys
with open("/run/dumped", "w") as file:
    json.dump([sys.argv[1:], {key: value for key, value in os.environ.items() if key.startswith("V_")}], file)
"""
UNIT = "/run/systemd/system/quoting.service"


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[Host]:
    booted = lab.host("quoting")
    booted.write("/opt/dump.py", DUMP)
    yield booted
    lab.remove(booted)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return load_templates(tmp_path_factory.mktemp("no-templates-of-its-own"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    [
        "",
        " ",
        "a'b",
        'a"b',
        "\\",
        "\\n",
        "$HOME ${HOME}",
        "%h%%",
        "`touch /canary`",
        "$(touch /canary)",
        "#x",
        ";",
    ]
)
@given(values=VALUES)
def test_systemd_reads_back_what_was_meant(host: Host, templates: Templates, values: list[str]) -> None:
    environment = {f"V_{number}": value for number, value in enumerate(values)}
    place = "/run/odd %h $x place/environment"
    host.write(place, templates.render("ollama-environment.j2", {"environment": environment}))
    # A dollar begins a variable in arguments; not in a program's path, which is all that our own units hold.
    words = [value for value in values if "$" not in value]
    line = " ".join(unit_word(word) for word in ["/usr/bin/python3", "/opt/dump.py", *words])
    host.write(UNIT, f"[Service]\nType=oneshot\nEnvironmentFile={unit_path(place)}\nExecStart={line}\n")
    host.run("rm -f /run/dumped; systemctl daemon-reload; systemctl start quoting.service")
    arguments, seen = json.loads(host.read("/run/dumped"))
    assert seen == environment
    assert arguments == words
    assert not host.exists("/canary")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=VALUES)
def test_login_shell_reads_back_what_was_meant(host: Host, templates: Templates, values: list[str]) -> None:
    environment = {f"V_{number}": value for number, value in enumerate(values)}
    rendered = templates.render("ollama-profile.sh.j2", {"scope": "system", "environment": environment})
    host.write("/etc/profile.d/quoting.sh", rendered)
    for shell in ("bash", "sh"):
        host.run([shell, "-lc", "rm -f /run/dumped; exec python3 /opt/dump.py"])
        assert json.loads(host.read("/run/dumped"))[1] == environment
    assert not host.exists("/canary")
