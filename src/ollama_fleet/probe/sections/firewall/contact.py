"""What a firewall must not cut off: this connection, and whatever listens for others."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from ollama_fleet.planner.firewall_state import Contact, Listener

SCRIPT = """
pid=$$
while [ "${pid:-0}" -gt 1 ]; do
  # sudo drops the variable; the shell that called it still has it.
  told=$(tr '\\0' '\\n' 2>/dev/null <"/proc/$pid/environ" | sed -n 's/^SSH_CONNECTION=//p')
  [ -z "$told" ] || break
  pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
done
echo "ssh $(echo "$told" | base64 | tr -d '\\n')"
echo "listeners $(ss -Hltnp 2>/dev/null | base64 | tr -d '\\n')"
"""


def contact(told: str) -> Contact | None:
    """Read `CLIENT PORT SERVER PORT`; None where it is not that, as on the machine that deploys."""
    with suppress(ValueError, IndexError):
        words = told.split()
        return Contact(_address(words[0]), int(words[3]))
    return None


def listeners(told: str) -> tuple[Listener, ...]:
    """Read what `ss -Hltnp` lists: state, two queues, the local end, the other end, and processes."""
    found: dict[Listener, None] = {}
    for line in told.splitlines():
        with suppress(ValueError, IndexError):
            address, _, port = line.split()[3].rpartition(":")
            name = address.strip("[]").partition("%")[0]
            if name != "*" and ip_address(name).is_loopback:
                continue
            program = re.search(r'users:\(\("([^"]*)"', line)
            found[Listener(int(port), program[1] if program else "")] = None
    return tuple(sorted(found, key=lambda one: (one.port, one.program)))


def _address(text: str) -> str:
    """Without the interface of a link-local address; an IPv4 address in IPv6's clothes comes out as what it is."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
