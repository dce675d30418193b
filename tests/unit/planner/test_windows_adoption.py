"""What OllamaSetup has installed: adopted where it is the version asked for, its tray app stopped in any case."""

from __future__ import annotations

from ollama_fleet.planner.items.release import Archive
from ollama_fleet.planner.items.windows.desktop_app import NoDesktopApp
from ollama_fleet.planner.items.windows.release import WindowsRelease
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import ForeignBinary, HostState, Platform, ReleaseState
from ollama_fleet.planner.windows.addresses import canonical, written
from ollama_fleet.planner.windows.state import SetupInstall, WindowsState

PLATFORM = Platform("amd64", "Windows", "fleet", "", 0, "C:\\", frozenset(), False, False, False, False)
PROGRAM = "C:\\Users\\a\\AppData\\Local\\Programs\\Ollama\\ollama.exe"
RELEASE = WindowsRelease("0.24.0", (Archive("x.zip", "/x.zip", "0" * 64, 1),), Layout.of("windows"))


def there(version: str, *, link: str | None = None, tray_apps: int = 0) -> HostState:
    return HostState(
        PLATFORM,
        release=ReleaseState(foreign=ForeignBinary(PROGRAM, version)),
        windows=WindowsState(setups=(SetupInstall(PROGRAM, version, link, False),), tray_apps=tray_apps),
    )


def test_the_version_asked_for_is_adopted() -> None:
    assert RELEASE.differences(there("0.24.0")) == []
    assert RELEASE.program(there("0.24.0")) == PROGRAM


def test_another_version_is_left_beside_ours() -> None:
    assert [found.aspect for found in RELEASE.differences(there("0.23.0"))] == ["version", "in use"]
    assert RELEASE.program(there("0.23.0")).startswith("C:\\Program Files\\ollama-fleet\\releases\\0.24.0")


def test_the_tray_app_is_drift() -> None:
    assert NoDesktopApp().differences(there("0.24.0")) == []
    found = NoDesktopApp().differences(there("0.24.0", link="C:\\x\\Ollama.lnk", tray_apps=1))
    assert [difference.aspect for difference in found] == ["running", "Startup link"]


def test_networks_are_the_same_as_written_and_as_shown() -> None:
    assert written(["0.0.0.0/0", "::/0"]) == ["Any"]
    assert written(["0.0.0.0/0"]) == ["0.0.0.0/1", "128.0.0.0/1"]
    assert canonical(["192.168.1.0/255.255.255.0"]) == canonical(written(["192.168.1.0/24"]))
    assert canonical(written(["0.0.0.0/0"])) == {"0.0.0.0/0"}
