"""What a probe should look at."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.items.access import places as door
from ollama_fleet.planner.layout import Layout


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """The layout whose places are looked at."""

    layout: Layout

    def paths(self) -> list[str]:
        """Files, links and directories whose state the planner compares, parents first."""
        own = [*self.layout.places(), self.layout.before, self.layout.unproven, self.layout.kept]
        if self.layout.scope == "system":
            own += [door.FOLDER, *door.ALL, door.STATE, door.DUE]
        return own

    def contents(self) -> list[str]:
        """Files whose bytes are compared."""
        layout = self.layout
        files = [layout.unit, layout.drop_in, layout.profile, layout.supervisor, layout.before]
        if layout.scope == "system":
            files += [layout.firewall_script, layout.firewall_unit, *door.PUBLIC]
            files += [layout.instance_unit, layout.instance_drop_in, layout.instance_note]
            files.append(layout.resume_hook)
        if layout.login_profile:
            files.append(layout.login_profile)
        return files

    def hashed(self) -> list[str]:
        """Files that may hold secrets: only their hashes leave the host."""
        return [self.layout.environment, *(door.SECRET if self.layout.scope == "system" else ())]
