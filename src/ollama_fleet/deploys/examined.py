"""What an examination brings back of one host. A file of its own, since importing `doctor` patches sockets."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.checks.doctor.diagnosis import Finding


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found on one host."""

    host: str
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Nothing stands in the way of an apply."""
        return all(finding.status != "problem" for finding in self.findings)
