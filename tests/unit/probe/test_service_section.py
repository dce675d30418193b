"""systemd's own words about several units, and the process behind ours."""

from __future__ import annotations

import base64

from ollama_fleet.planner.state import OtherModels, OtherServer
from ollama_fleet.probe.sections import others
from ollama_fleet.probe.sections.service import parse, parse_instances

SHOWN = """\
MainPID=734
Id=ollama.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no
FragmentPath=/etc/systemd/system/ollama.service

MainPID=0
Id=nftables.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled

MainPID=0
Id=firewalld.service
LoadState=not-found
ActiveState=inactive
UnitFileState=
""".splitlines()


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


def test_units_are_told_apart() -> None:
    service, units = parse(SHOWN)
    assert (service.load, service.active, service.enabled, service.pid) == (
        "loaded",
        "active",
        "enabled",
        734,
    )
    assert units["nftables.service"]["ActiveState"] == "active"
    assert units["firewalld.service"]["ActiveState"] == "inactive"


def test_environment_of_the_process() -> None:
    environ = [
        "environment",
        "plain OLLAMA_HOST=[::]:11434",
        "plain A=b=c d",
        "plain EMPTY=",
        "hashed TOKEN 12ab",
    ]
    service, _ = parse([*SHOWN, "runs_as ollama", "program /opt/a b (deleted)", *environ])
    assert (service.load, service.active, service.enabled) == ("loaded", "active", "enabled")
    assert service.runs_as == "ollama"
    assert service.program == "/opt/a b (deleted)"
    assert service.environment == {"OLLAMA_HOST": "[::]:11434", "A": "b=c d", "EMPTY": ""}
    assert service.environment_hashes == {"TOKEN": "12ab"}


def test_process_that_ended_while_it_was_looked_at() -> None:
    service, _ = parse([*SHOWN, "runs_as "])
    assert service.runs_as == ""
    assert service.environment is None


def test_no_systemd_at_all() -> None:
    service, units = parse([""])
    assert (service.load, service.active, service.pid) == ("not-found", "inactive", 0)
    assert units == {}


def test_foreign_drop_in() -> None:
    text = b"[Service]\nEnvironment=OLLAMA_HOST=0.0.0.0\n"
    service, _ = parse([*SHOWN, f"foreign /etc/systemd/system/ollama.service.d/a.conf {encoded(text)}"])
    assert service.foreign_drop_ins == {"/etc/systemd/system/ollama.service.d/a.conf": text.decode()}


def test_process_of_a_script_counts_only_without_a_unit() -> None:
    supervised, _ = parse(["", "supervised 99", "environment", "plain A=b"])
    assert (supervised.load, supervised.active, supervised.pid) == ("supervised", "active", 99)
    assert parse([*SHOWN, "supervised 99"])[0].pid == 734


def test_other_servers_and_their_models() -> None:
    lines = [
        "other 12 unit=llm.service listen=0.0.0.0:11434",
        "other 13 unit= listen=",
        "store 3 2048 /data/my models",
    ]
    servers, stores = others.parse(lines)
    assert servers == (OtherServer(12, "llm.service", "0.0.0.0:11434"), OtherServer(13, "", ""))
    assert stores == (OtherModels("/data/my models", 3, 2 << 20),)


def test_each_of_several_servers_has_its_own_state() -> None:
    lines = [
        *SHOWN,
        "instance rtx-4090",
        "Id=ollama@rtx-4090.service",
        "ActiveState=active",
        "UnitFileState=enabled",
        "MainPID=41",
        "runs_as ollama",
        "environment",
        "plain OLLAMA_HOST=0.0.0.0:11434",
        "hashed TOKEN abc",
        "instance cpu",
        "Id=ollama@cpu.service",
        "ActiveState=failed",
        "MainPID=0",
    ]
    found = parse_instances(lines)

    assert found["rtx-4090"].active == "active"
    assert found["rtx-4090"].enabled == "enabled"
    assert found["rtx-4090"].environment == {"OLLAMA_HOST": "0.0.0.0:11434"}
    assert found["cpu"].active == "failed"
    assert found["cpu"].environment is None
    assert parse(lines) == parse(SHOWN)
