"""The service's user and the groups that own GPU devices."""

from __future__ import annotations

from ollama_fleet.planner.items.account import DEVICE_GROUPS
from ollama_fleet.planner.layout import SERVICE_USER
from ollama_fleet.planner.state import Account
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.shell import words


def script(request: ProbeRequest) -> str:
    """Print passwd and group entries, and the group names of the user."""
    if request.layout.scope == "user":
        return ""
    return f"""
if entry=$(getent passwd {SERVICE_USER}); then
  echo "user $entry"
  echo "member $(id -gn {SERVICE_USER}) $(id -Gn {SERVICE_USER})"
fi
getent group {words((SERVICE_USER, *DEVICE_GROUPS))} | sed 's/^/group /'
"""


def parse(lines: list[str]) -> tuple[dict[str, Account], frozenset[str]]:
    """Return the accounts and the existing ones of the groups asked for."""
    user: list[str] = []
    member: list[str] = []
    groups = set()
    for line in lines:
        tag, _, rest = line.partition(" ")
        if tag == "user":
            user = rest.split(":")
        elif tag == "member":
            member = rest.split()
        elif tag == "group":
            groups.add(rest.split(":")[0])
    if not user or not member:
        return {}, frozenset(groups)
    account = Account(user[0], int(user[2]), member[0], frozenset(member[1:]), user[5])
    return {account.name: account}, frozenset(groups)
