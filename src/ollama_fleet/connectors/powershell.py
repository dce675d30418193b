"""Putting a script for PowerShell 5.1 on a command line that every shell leaves alone."""

from __future__ import annotations

import base64
import binascii

LONGEST_LINE = 8000
"""Characters; cmd.exe takes 8191."""
ERROR = "@@ollama-fleet-error "
"""Before a script's error message, which follows in base64: the console's code page would lose other scripts."""

_CALL = (
    "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -OutputFormat Text -EncodedCommand "
)
_READ_SCRIPT = (
    "& ([ScriptBlock]::Create([Text.Encoding]::UTF8.GetString("
    "[Convert]::FromBase64String([Console]::In.ReadLine()))))"
)
_FRAME = """$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
try {{ [Console]::OutputEncoding = New-Object -TypeName Text.UTF8Encoding -ArgumentList $false }} catch {{ }}
try {{
{script}
}} catch {{
[Console]::Error.WriteLine('{error}' + [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($_.Exception.Message)))
exit 1
}}"""


def framed(script: str) -> str:
    """The script, stopping at the first error, which is told in one line."""
    return _FRAME.format(script=script, error=ERROR)


def command_line(script: str) -> tuple[str, str]:
    """Return the line to execute and what to write first to its standard input.

    The line is letters, digits and hyphens, so it is the same to cmd, PowerShell and bash: which of them OpenSSH has
    for its default shell does not matter. A short script is on the line itself. A long one goes through standard
    input, as one line of base64; what follows it is the script's own input.
    """
    line = _CALL + _encoded(script)
    if len(line) <= LONGEST_LINE:
        return line, ""
    return _CALL + _encoded(_READ_SCRIPT), base64.b64encode(script.encode()).decode() + "\n"


def _encoded(script: str) -> str:
    return base64.b64encode(script.encode("utf-16-le")).decode()


def readable(line: str) -> str | None:
    """What a line of a script's standard error says to people; None for PowerShell's own packaging of it."""
    if line.startswith(ERROR):
        try:
            return base64.b64decode(line.removeprefix(ERROR), validate=True).decode().strip()
        except (binascii.Error, UnicodeDecodeError):
            return line
    if line.startswith(("#< CLIXML", "<Objs ")):
        return None
    return line
