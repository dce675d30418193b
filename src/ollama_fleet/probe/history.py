"""The records of applies on a host, read with one command."""

from __future__ import annotations

from dataclasses import replace

from pyinfra.api.facts import FactBase

from ollama_fleet.planner.layout import Layout, Scope
from ollama_fleet.planner.record import KEPT, Record
from ollama_fleet.planner.windows.quoting import literal
from ollama_fleet.probe.shell import word

MARKER = "@@ollama-fleet history"


class ApplyHistory(FactBase[list[Record]]):
    """Records of applies, oldest first; one that is neither finished nor at work has the outcome `interrupted`."""

    def command(self, scope: Scope = "system") -> str:
        """Return the script for a scope."""
        layout = Layout.of(scope)
        if scope == "windows":
            return _of_windows(layout)
        lock = word(layout.apply_lock)
        return f"""
echo '{MARKER}'
if [ -e {lock} ] && ! flock -n {lock} true; then echo at-work; fi
cd {word(layout.history)} 2>/dev/null || exit 0
for file in $(ls | grep '[.]json$' | tail -n {KEPT}); do echo "record $(head -n 1 "$file")"; done
exit 0"""

    def process(self, output: list[str]) -> list[Record]:
        """Read the lines; what is no record of a known version is passed over."""
        return read(list(output))


def _of_windows(layout: Layout) -> str:
    lock, history = literal(layout.apply_lock), literal(layout.history)
    return f"""
'{MARKER}'
if ([IO.File]::Exists({lock})) {{
  try {{
    $held = [IO.File]::Open({lock}, 'OpenOrCreate', 'ReadWrite', 'None')
    $held.Close()
  }} catch {{ 'at-work' }}
}}
$records = @(Get-ChildItem -LiteralPath {history} -File -Force -ErrorAction SilentlyContinue |
  ForEach-Object {{ $_.FullName }})
[Array]::Sort($records, [StringComparer]::Ordinal)
foreach ($record in $records) {{
  if ($record -like '*.json') {{
    'record ' + [Text.Encoding]::UTF8.GetString([IO.File]::ReadAllBytes($record)).Trim()
  }}
}}"""


def read(lines: list[str]) -> list[Record]:
    """Return the records among the lines; the last is at work only while the host is locked."""
    records = []
    for line in lines:
        if line.startswith("record "):
            try:
                records.append(Record.parse(line.removeprefix("record ")))
            except ValueError:
                continue
    at_work = "at-work" in lines
    return [
        record
        if record.outcome != "started" or (at_work and number == len(records))
        else replace(record, outcome="interrupted")
        for number, record in enumerate(records, start=1)
    ]
