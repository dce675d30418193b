"""A Windows host by the literal command: from nothing, a second time, after drift of each managed thing."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

from converge.command_runs import Run
from converge.fleet_directory import FleetDirectory
from windows.conftest import CANARY, HOST, MODELS, NEWER, ROOT, VERSION
from windows.host import WindowsHost

KEY = r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment"
SERVE = f"{ROOT}\\state\\serve.ps1"
RULE = "Get-NetFirewallRule -DisplayName '{0}' -ErrorAction SilentlyContinue"


def port_of(fleet: FleetDirectory) -> int:
    return int(fleet.document["hosts"][HOST]["listen"].rpartition(":")[2])


def answer(fleet: FleetDirectory, path: str) -> dict[str, object]:
    url = f"http://127.0.0.1:{port_of(fleet)}{path}"
    with urllib.request.urlopen(url, timeout=10) as response:
        found: dict[str, object] = json.loads(response.read())
        return found


def test_second_apply_changes_nothing_by_one_command(
    first: Run, desk_fleet: FleetDirectory, windows_host: WindowsHost
) -> None:
    assert {"file", "release", "service", "variable"} <= {item.split()[0] for item in first.items(HOST)}
    mark = windows_host.mark()
    second = desk_fleet.apply()
    assert second.code == 0, str(second)
    assert second.changed(HOST) == set(), str(second)
    assert len(windows_host.commands(mark)) == 1
    assert windows_host.missing() == []


def test_what_a_user_finds(first: Run, desk_fleet: FleetDirectory, windows_host: WindowsHost) -> None:
    assert answer(desk_fleet, "/api/version") == {"version": VERSION}
    shown = windows_host.run(f'reg query "{KEY}" /v OLLAMA_HOST').stdout
    assert f"REG_SZ    0.0.0.0:{port_of(desk_fleet)}" in shown
    assert windows_host.path(f"{MODELS}\\manifests").is_dir()
    display = RULE.format(f"ollama {port_of(desk_fleet)}")
    profile = windows_host.powershell(f"{display} | ForEach-Object {{ [string]$_.Profile }}")
    assert profile.strip() == "Domain, Private, Public"
    address = windows_host.powershell(
        f"{display} | Get-NetFirewallAddressFilter | ForEach-Object {{ $_.RemoteAddress }}"
    )
    assert address.split() == ["127.0.0.0/255.0.0.0", "fd00::/64"]


def test_values_reach_the_server_as_they_are(first: Run, windows_host: WindowsHost) -> None:
    servers = [
        Path(f"/proc/{pid.name}/environ").read_bytes()
        for pid in Path("/proc").iterdir()
        if pid.name.isdigit() and f"{windows_host.prefix}".encode() in _read(pid / "cmdline")
    ]
    environment = [dict(e.split(b"=", 1) for e in server.split(b"\0") if b"=" in e) for server in servers]
    assert [e[b"FLEET_CANARY"].decode() for e in environment if b"FLEET_CANARY" in e] == [CANARY]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_drift_of_each_thing_is_named_and_repaired(
    first: Run, desk_fleet: FleetDirectory, windows_host: WindowsHost
) -> None:
    port = port_of(desk_fleet)
    manifest = next(windows_host.path(f"{MODELS}\\manifests").rglob("reasoner/latest"))
    manifest.unlink()
    windows_host.run(f'reg add "{KEY}" /v OLLAMA_MODELS /t REG_SZ /d "E:\\elsewhere" /f')
    windows_host.powershell(
        f"""[Environment]::SetEnvironmentVariable('OLLAMA_NUM_PARALLEL', '4', 'Machine')
        Set-NetFirewallRule -Name 'ollama-fleet-{port}' -RemoteAddress @('Any') -Profile @('Private') -Enabled False
        New-NetFirewallRule -Name 'ollama-fleet-1234' -DisplayName 'old' -Direction Inbound -Action Allow `
          -Protocol TCP -LocalPort '1234' | Out-Null
        Disable-ScheduledTask -TaskPath '\\Fleet\\' -TaskName 'Ollama' | Out-Null""".replace("`\n", "")
    )
    script = windows_host.path(SERVE)
    script.write_bytes(script.read_bytes() + b"# by hand\r\n")
    library = windows_host.path(f"{ROOT}\\releases\\{VERSION}\\lib\\ollama\\ggml-base.dll")
    library.write_bytes(b"other")

    dry = desk_fleet.dry()

    assert dry.code == 0, str(dry)
    assert dry.items(HOST) >= {
        f"firewall port {port}",
        f"file {SERVE}",
        f"release {VERSION}",
        "service ollama",
        "model reasoner:latest",
    }
    told = "\n".join(dry.told(HOST))
    for line in (
        "variable OLLAMA_MODELS: value: E:\\elsewhere → " + MODELS,
        "variable OLLAMA_NUM_PARALLEL: value: 4 → absent",
        f"firewall port {port}: from: Any → 127.0.0.0/8, fd00::/64",
        f"firewall port {port}: profiles: Private → Domain, Private, Public",
        f"firewall port {port}: enabled: no → yes",
        f"firewall port {port}: rule ollama-fleet-1234: present → absent",
        "service ollama: enabled: no → yes",
        f"file {SERVE}: content: altered → as rendered",
        f"release {VERSION}: files: altered → as unpacked",
        "model reasoner:latest: model: absent → present",
    ):
        assert line in told
    assert desk_fleet.drift().code == 2

    applied = desk_fleet.apply()

    assert windows_host.missing() == []
    assert applied.code == 0, str(applied)
    assert desk_fleet.drift().code == 0
    assert library.read_bytes() != b"other"


def test_a_killed_server_is_started_and_one_comes_with_the_boot(
    first: Run, desk_fleet: FleetDirectory, windows_host: WindowsHost
) -> None:
    assert windows_host.run("shutdown /r /t 0").returncode == 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            answer(desk_fleet, "/api/version")
            break
        except OSError:
            time.sleep(0.2)
    windows_host.powershell(
        "foreach ($p in @(Get-CimInstance -ClassName Win32_Process -Filter 'Name = ''ollama.exe''')) "
        "{ Stop-Process -Id $p.ProcessId -Force }"
    )
    dry = desk_fleet.dry()
    assert dry.items(HOST) == {"service ollama"}, str(dry)
    assert desk_fleet.apply().code == 0
    assert answer(desk_fleet, "/api/version") == {"version": VERSION}


def test_doctor_finds_it_healthy_by_one_command(
    first: Run, desk_fleet: FleetDirectory, windows_host: WindowsHost
) -> None:
    mark = windows_host.mark()
    run = desk_fleet.run("ollama-fleet", "doctor", "--json")
    assert windows_host.missing() == [], str(run)
    assert run.code == 0, str(run)
    assert len(windows_host.commands(mark)) == 1
    checks = {one["check"]: one for one in run.document["hosts"][HOST]["checks"]}
    assert {
        name: checks[name]["status"] for name in ("rights", "system", "clock", "disk", "plan")
    } == dict.fromkeys(("rights", "system", "clock", "disk", "plan"), "ok")
    assert checks["rights"]["found"] == "DESK-7\\fleet, an administrator"
    assert checks["port"]["found"] == f"{port_of(desk_fleet)} is our own"


def test_doctor_names_what_is_in_the_way(
    first: Run, desk_fleet: FleetDirectory, windows_host: WindowsHost
) -> None:
    before = desk_fleet.document
    desk_fleet.change(
        models={"far": {"from": "models.nowhere.invalid/some/model", "num_ctx": 512}},
        hosts={HOST: {"models": ["far"], "listen": "0.0.0.0:9"}},
    )
    run = desk_fleet.run("ollama-fleet", "doctor", "--json")
    desk_fleet.document = before
    desk_fleet.write()
    assert windows_host.missing() == [], str(run)
    assert run.code == 1, str(run)
    checks = {one["check"]: one for one in run.document["hosts"][HOST]["checks"]}
    assert checks["dns"]["found"] == "models.nowhere.invalid has no address there"
    assert checks["port"]["found"] == "9 is free"
    assert checks["plan"]["status"] == "problem"


def test_upgrade_keeps_what_was_before_and_pruning_retires(
    first: Run, desk_fleet: FleetDirectory, windows_host: WindowsHost, releases: Path
) -> None:
    before = desk_fleet.document
    desk_fleet.change(release={"version": NEWER, "source": f"file://{releases / NEWER}"})
    desk_fleet.lock()
    upgraded = desk_fleet.apply()
    assert windows_host.missing() == []
    assert upgraded.code == 0, str(upgraded)
    assert answer(desk_fleet, "/api/version") == {"version": NEWER}
    assert windows_host.path(f"{ROOT}\\releases\\previous").read_text() == VERSION
    assert windows_host.path(f"{ROOT}\\releases\\{VERSION}\\ollama.exe").is_file()

    windows_host.path(f"{ROOT}\\releases\\0.1.0.old").mkdir()
    windows_host.path(f"{ROOT}\\releases\\0.1.0.old\\ollama.exe").write_bytes(b"x")
    desk_fleet.change(prune=True, models={"reasoner": {"preload": False}}, hosts={HOST: {"models": []}})
    pruned = desk_fleet.apply()
    assert windows_host.missing() == []
    assert pruned.code == 0, str(pruned)
    assert answer(desk_fleet, "/api/tags") == {"models": []}
    assert not windows_host.path(f"{ROOT}\\releases\\0.1.0.old").exists()
    desk_fleet.document = before
    desk_fleet.write()
    desk_fleet.lock()
    back = desk_fleet.apply()
    assert back.code == 0, str(back)
    assert answer(desk_fleet, "/api/version") == {"version": VERSION}
