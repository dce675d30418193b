"""Changing firewalld's zones by its own command, in the running firewall and on disk, without a reload."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from ollama_fleet.planner.firewall_state import FirewalldState
from ollama_fleet.planner.items.firewall.firewalld import changes, rich_rule


def commands(ports: Sequence[int], sources: Sequence[str] | None, state: FirewalldState) -> list[str]:
    """Return shell lines that make our rules right; what is allowed is added before anything is taken away.

    A call takes 0.3 s, so there is one for each kind of change in a zone. A rule that is there already, or is not
    there, is no error to the command.
    """
    lines = []
    if not state.active:  # it does not run yet, so there is but what is on disk
        for zone in changes(ports, sources, state):
            options = [f"--add-rich-rule={quote(rich_rule(rule))}" for rule in zone.add]
            options += [f"--remove-rich-rule={quote(rich_rule(rule))}" for rule in zone.remove]
            if options:
                lines.append(f"firewall-offline-cmd --quiet --zone={quote(zone.zone)} {' '.join(options)}")
        return lines
    for zone in changes(ports, sources, state):
        for option, rules in (
            ("--add-rich-rule", zone.load),
            ("--permanent --add-rich-rule", zone.add),
            ("--remove-rich-rule", zone.unload),
            ("--permanent --remove-rich-rule", zone.remove),
        ):
            if rules:
                permanent, _, verb = option.rpartition(" ")
                words = " ".join(f"{verb}={quote(rich_rule(rule))}" for rule in rules)
                lines.append(
                    f"firewall-cmd --quiet {permanent} --zone={quote(zone.zone)} {words}".replace("  ", " ")
                )
    return lines
