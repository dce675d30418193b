"""The scheduled tasks that start the servers at boot, with nobody logged in: one for each server."""

from __future__ import annotations

PATH = "\\Fleet\\"
SHELL = "powershell.exe"


def all_tasks() -> str:
    """PowerShell for our tasks: that of the only server, `Ollama`, and those of several, `Ollama-NAME`."""
    found = f"Get-ScheduledTask -TaskPath '{PATH}' -TaskName 'Ollama*' -ErrorAction SilentlyContinue"
    ours = "$_.TaskName -eq 'Ollama' -or $_.TaskName -like 'Ollama-*'"
    return f"@({found} | Where-Object {{ {ours} }})"


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
