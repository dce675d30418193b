"""The scheduled task that starts the server at boot, with nobody logged in."""

from __future__ import annotations

PATH, NAME = "\\Fleet\\", "Ollama"
SHELL = "powershell.exe"


def arguments(script: str) -> str:
    """What the task gives to PowerShell to run the script that starts the server."""
    return f'-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{script}"'


def definition(script: str) -> dict[str, str]:
    """What must be so of the task, in the words of Get-ScheduledTask.

    SYSTEM, at boot, for good (the default is three days), at normal priority (the default is below it), on batteries
    too, and again where it ends.
    """
    return {
        "execute": SHELL,
        "arguments": arguments(script),
        "user": "SYSTEM",
        "trigger": "MSFT_TaskBootTrigger",
        "time limit": "PT0S",
        "priority": "4",
        "on batteries": "True",
        "restarts": "999",
    }
