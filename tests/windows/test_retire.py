"""A Windows host that leaves the fleet is as it was: from nothing, and with what was adopted put back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from converge.command_runs import Run
from converge.fleet_directory import FleetDirectory
from ollama_sim.build import program
from windows.conftest import HOST, MODELS, ROOT, VERSION
from windows.host import WindowsHost
from windows.test_converge import answer, port_of

USER = "C:\\Users\\anna"
SETUP = f"{USER}\\AppData\\Local\\Programs\\Ollama"
LINK = f"{USER}\\AppData\\Roaming\\Microsoft\\Windows\\Start Menu\\Programs\\Startup\\Ollama.lnk"
RULES = """
$all = @(Get-NetFirewallRule | ForEach-Object {
  $address = @($_ | Get-NetFirewallAddressFilter | ForEach-Object { $_.RemoteAddress }) -join ','
  @{ name = $_.Name; display = $_.DisplayName; text = [string]$_.Description; on = [string]$_.Enabled;
     profile = [string]$_.Profile; from = $address }
})
ConvertTo-Json -InputObject $all -Compress -Depth 3
"""
VARIABLES = """
$found = @{}
foreach ($name in @([Environment]::GetEnvironmentVariables('Machine').Keys)) {
  if ($name -like 'OLLAMA_*') { $found[$name] = [Environment]::GetEnvironmentVariable($name, 'Machine') }
}
ConvertTo-Json -InputObject $found -Compress
"""
TASKS = """
Get-ScheduledTask -TaskPath '\\Fleet\\' -TaskName 'Ollama' -ErrorAction SilentlyContinue |
  ForEach-Object { $_.TaskName }
"""
PROCESSES = """
@(Get-CimInstance -ClassName Win32_Process -Filter 'Name = ''ollama.exe'' OR Name = ''ollama app.exe''' |
  ForEach-Object { $_.Name }) -join ','
"""


def settings(host: WindowsHost) -> dict[str, object]:
    """What is set on the host, by its own words."""
    return {
        "rules": json.loads(host.powershell(RULES)),
        "variables": json.loads(host.powershell(VARIABLES)),
        "task": host.powershell(TASKS).strip(),
    }


def is_empty(host: WindowsHost) -> bool:
    found = settings(host) == {"rules": [], "variables": {}, "task": ""}
    return found and not host.path(ROOT).exists() and not host.path(MODELS).exists()


def retire(fleet: FleetDirectory, *options: str) -> Run:
    return fleet.run("ollama-fleet", "retire", HOST, *options)


@pytest.fixture(scope="module")
def retired(first: Run, desk_fleet: FleetDirectory) -> Iterator[FleetDirectory]:
    """The host has nothing of ours; afterwards it is served again."""
    shown = retire(desk_fleet, "--dry")
    assert shown.code == 0, str(shown)
    for words in (
        "goes: service ollama: stopped, the task \\Fleet\\Ollama removed",
        f"goes: firewall rule 'ollama {port_of(desk_fleet)}'",
        "goes: variable OLLAMA_HOST",
        f"goes: release {VERSION} (",
        "goes: model reasoner:latest (",
        f"goes: directory {MODELS} with all that is in it",
    ):
        assert any(words in line for line in shown.text.splitlines()), str(shown)
    assert answer(desk_fleet, "/api/version") == {"version": VERSION}
    done = retire(desk_fleet, "-y")
    assert done.code == 0, str(done)
    yield desk_fleet
    run = desk_fleet.apply()
    assert run.code == 0, str(run)


def test_nothing_is_left_and_a_second_time_does_nothing(
    retired: FleetDirectory, windows_host: WindowsHost
) -> None:
    assert windows_host.missing() == []
    assert is_empty(windows_host)
    assert windows_host.powershell(PROCESSES).strip() == ""
    mark = windows_host.mark()
    again = retire(retired, "-y")
    assert again.code == 0, str(again)
    assert "nothing of ours is there" in again.text
    assert len(windows_host.commands(mark)) == 1


def test_what_was_adopted_is_put_back(
    retired: FleetDirectory, windows_host: WindowsHost, releases: Path
) -> None:
    port = port_of(retired)
    exe, link = windows_host.path(f"{SETUP}\\ollama.exe"), windows_host.path(LINK)
    for folder in (exe.parent, link.parent):
        folder.mkdir(parents=True)
    exe.write_bytes(program(VERSION, "amd64", {}))
    windows_host.path(f"{SETUP}\\ollama app.exe").write_bytes(b"idle")
    link.write_bytes(b"a link")
    windows_host.powershell(
        f"""[Environment]::SetEnvironmentVariable('OLLAMA_HOST', '0.0.0.0', 'Machine')
        [Environment]::SetEnvironmentVariable('OLLAMA_ORIGINS', '*', 'Machine')
        $open = @{{ Direction = 'Inbound'; Action = 'Allow'; Protocol = 'TCP'; Description = 'mine' }}
        $name = @{{ Name = '{{by-hand}}'; DisplayName = 'ollama {port}' }}
        New-NetFirewallRule @open @name -LocalPort '{port}' -Profile @('Private') | Out-Null
        New-NetFirewallRule @open -Name 'web' -DisplayName 'web' -LocalPort '80' | Out-Null
        [Environment]::SetEnvironmentVariable('OLLAMA_HOST', '127.0.0.1:{port}')
        Start-Process -FilePath '{SETUP}\\ollama.exe' -ArgumentList 'serve'
        Start-Process -FilePath '{SETUP}\\ollama app.exe'"""
    )
    before = settings(windows_host)

    run = retired.apply()

    assert windows_host.missing() == [], str(run)
    assert run.code == 0, str(run)
    assert any("of OllamaSetup is used as it is" in note for note in run.notes(HOST)), str(run)
    assert not windows_host.path(f"{ROOT}\\releases\\{VERSION}").exists()
    assert not link.exists()
    assert windows_host.powershell(PROCESSES).strip() == "ollama.exe"
    assert answer(retired, "/api/version") == {"version": VERSION}
    now = settings(windows_host)
    assert [rule["name"] for rule in now["rules"]] == ["{by-hand}", "web"]  # type: ignore[attr-defined]
    assert "OLLAMA_ORIGINS" not in now["variables"]  # type: ignore[operator]
    second = retired.apply()
    assert (second.code, second.changed(HOST)) == (0, set()), str(second)

    done = retire(retired, "-y")

    assert done.code == 0, str(done)
    assert windows_host.missing() == []
    assert f"stays: {SETUP}\\ollama.exe, which is not ours" in done.text
    assert settings(windows_host) == before
    assert (exe.is_file(), link.read_bytes()) == (True, b"a link")
    assert not windows_host.path(ROOT).exists()
    again = retire(retired, "-y")
    assert "nothing of ours is there" in again.text, str(again)

    # The next ones find a host without it.
    exe.unlink()
    link.unlink()
    windows_host.powershell(
        """Remove-NetFirewallRule -Name '{by-hand}'
        foreach ($name in @('OLLAMA_HOST', 'OLLAMA_ORIGINS')) {
          [Environment]::SetEnvironmentVariable($name, $null, 'Machine')
        }"""
    )
