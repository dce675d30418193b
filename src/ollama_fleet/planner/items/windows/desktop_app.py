"""The tray app of OllamaSetup, which would start a server of its own and update it."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.difference import Difference
from ollama_fleet.planner.state import HostState


@dataclass(frozen=True, slots=True)
class NoDesktopApp:
    """No tray app runs, and none is started when somebody logs in."""

    kind: str = "tray app"
    name: str = "ollama app.exe"

    def differences(self, state: HostState) -> list[Difference]:
        """Look for processes and Startup links."""
        if state.windows is None:
            return []
        found = [Difference("running", "no", "yes")] if state.windows.tray_apps else []
        links = [setup.startup_link for setup in state.windows.setups if setup.startup_link]
        return [*found, *(Difference("Startup link", "absent", link) for link in links)]
