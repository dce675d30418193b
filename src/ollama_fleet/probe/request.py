"""What a probe should look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from ollama_fleet.planner.layout import Layout


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """The layout whose places are looked at."""

    layout: Layout

    def paths(self) -> list[str]:
        """Files, links and directories whose state the planner compares, parents first."""
        layout = self.layout
        places = [
            layout.releases,
            layout.models,
            f"{layout.models}/blobs",
            f"{layout.models}/manifests",
            layout.state,
            layout.service_home,
            f"{layout.service_home}/.ollama",
            layout.environment,
            layout.restart_due,
            *self.contents(),
        ]
        found: dict[str, None] = {}
        for place in places:
            for parent in reversed(PurePosixPath(place).parents):
                if str(parent) not in (".", "~"):
                    found[str(parent)] = None
            found[place] = None
        return list(found)

    def contents(self) -> list[str]:
        """Files whose bytes are compared."""
        layout = self.layout
        files = [layout.unit, layout.drop_in, layout.profile, layout.supervisor]
        if layout.scope == "system":
            files += [layout.firewall_script, layout.firewall_unit]
        if layout.login_profile:
            files.append(layout.login_profile)
        return files
