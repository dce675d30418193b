"""Changing ufw's rules by ufw itself, which keeps its files and the kernel in step."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import join, quote

from ollama_fleet.planner.firewall_state import UfwState
from ollama_fleet.planner.items.firewall.ufw import changes
from ollama_fleet.planner.layout import MARK


def commands(ports: Sequence[int], sources: Sequence[str] | None, state: UfwState) -> list[str]:
    """Return shell lines that make our rules right; see `changes`."""
    needed = changes(ports, sources, state)
    lines = [f"ufw --force delete {join(rule.text.split())}" for rule in needed.remove]
    lines += [f"ufw {join(rule.text.split())} comment {quote(MARK)}" for rule in needed.add]
    return [*lines, "ufw reload"] if needed.reload else lines
