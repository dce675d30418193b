"""What `doctor` found, for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ollama_fleet.deploys.examined import Examined
from ollama_fleet.outputs.sizes import hosts_words

SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red"), "unknown": ("?", "dim")}


def print_diagnoses(out: Console, examined: Sequence[Examined]) -> None:
    """Print a line for each thing that was looked at, with what to do below it."""
    for host in examined:
        out.print(Text(host.host, "bold"))
        for finding in host.findings:
            sign, style = SIGNS[finding.status]
            line = Text("  ").append(sign, style).append(f" {finding.check}: {finding.found}")
            out.print(line, soft_wrap=True)
            if finding.remedy:
                out.print(Text(f"      → {finding.remedy}"), soft_wrap=True)
    sick = [host.host for host in examined if not host.healthy]
    verdict = f"in the way of an apply: {', '.join(sick)}" if sick else "nothing is in the way of an apply"
    out.print(
        Text(f"{hosts_words(len(examined))}: {verdict}", "bold red" if sick else "bold green"), soft_wrap=True
    )


def diagnoses_document(examined: Sequence[Examined]) -> dict[str, Any]:
    """Return the JSON of `doctor`, version 1."""
    return {
        "version": 1,
        "healthy": all(host.healthy for host in examined),
        "hosts": {
            host.host: {
                "healthy": host.healthy,
                "checks": [
                    {
                        "check": finding.check,
                        "status": finding.status,
                        "found": finding.found,
                        "remedy": finding.remedy or None,
                    }
                    for finding in host.findings
                ],
            }
            for host in examined
        },
    }
