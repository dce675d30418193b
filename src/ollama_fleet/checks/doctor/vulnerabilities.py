"""Known vulnerabilities of Ollama that a newer release has mended. A small table, not a scanner's database.

Versions are those of the repository's history, held against the advisories; each entry names its record. What has no
mended release is not in it, nor is that Ollama knows no passwords: an open port is refused elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.artifacts.releases import Version


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """One entry; `fixed` is the first release without it."""

    cve: str
    what: str
    fixed: str

    @property
    def source(self) -> str:
        """Its public record."""
        return f"https://nvd.nist.gov/vuln/detail/{self.cve}"


KNOWN = (
    Vulnerability("CVE-2024-28224", "web pages reach the API by DNS rebinding", "0.1.29"),
    Vulnerability("CVE-2024-37032", "a registry can write any file and run code", "0.1.34"),
    Vulnerability("CVE-2024-39720", "a GGUF file stops the server", "0.1.46"),
    Vulnerability("CVE-2024-39722", "whoever reaches the API learns which files exist", "0.1.46"),
    Vulnerability("CVE-2024-45436", "an archive unpacks outside its folder", "0.1.47"),
    Vulnerability("CVE-2025-1975", "a download stops the server", "0.5.8"),
    Vulnerability("CVE-2026-7482", "whoever reaches the API reads the server's memory", "0.17.1"),
)


def vulnerabilities_of(version: str) -> list[Vulnerability]:
    """Those of a release, in the order of their mending. Raises ReleaseError for what is no version."""
    there = Version.parse(version)
    return [entry for entry in KNOWN if there < Version.parse(entry.fixed)]
