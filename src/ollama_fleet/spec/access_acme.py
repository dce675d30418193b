"""Certificates by ACME for a front door: whom they are asked of, and what that takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ollama_fleet.spec.addresses import Listen
from ollama_fleet.spec.errors import KeyPath, Wrong, show
from ollama_fleet.spec.values import parse_url

PORT = 443
"""Where an authority looks in the challenge that needs no other port than the door's (TLS-ALPN-01, RFC 8737)."""
PUBLIC = "https://acme-v02.api.letsencrypt.org/directory"
"""Let's Encrypt."""
EMAIL_PATTERN = r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$"
SERVER_PATTERN = r"^https://[A-Za-z0-9.:/_~%+,=\[\]-]+$"
_NOT_PUBLIC = ("local", "localhost", "lan", "internal", "home.arpa", "test", "invalid", "example", "onion")
"""Ends of names that belong to nobody on the internet (RFC 6761, 6762, 8375, and by habit)."""

Refuse = Callable[[KeyPath, str, str], None]
"""Tells a mistake: the key, what is wrong, what to do."""


@dataclass(frozen=True, slots=True)
class AcmeSpec:
    """Of whom certificates are asked: the URL of the authority's directory.

    ``ca`` is a file of the machine that deploys, with the roots that the authority's own certificate and those that it
    gives lead to; None where the roots of each system do.
    """

    server: str = PUBLIC
    email: str | None = None
    ca: str | None = None

    @property
    def public(self) -> bool:
        """The authority comes from the internet."""
        return self.server == PUBLIC


def parse_email(value: object) -> str:
    """Where the authority writes to."""
    if not isinstance(value, str) or len(value) > 254 or not re.fullmatch(EMAIL_PATTERN, value):
        raise Wrong(f"{show(value)} is no address for mail", "write NAME@DOMAIN")
    return value


def parse_server(value: object) -> str:
    """The URL of an authority's directory."""
    return parse_url(value, ("https",))


def check_acme(door: Mapping[str, Any], at: Listen, wrong: Refuse) -> None:
    """What does not go together with certificates by ACME; `at` is where the door listens."""
    if door.get("tls") != "acme":
        if door.get("acme"):
            wrong(("access", "acme"), "nothing is asked for by ACME", "write tls: acme, or acme: null")
        return
    if at.port != PORT:
        wrong(
            ("access", "listen" if "listen" in door else "tls"),
            f"the authority looks at port {PORT}, and the door listens on port {at.port}",
            f"write access.listen: '[::]:{PORT}'",
        )
    names: tuple[str, ...] = door.get("names", ())
    if not names:
        wrong(
            ("access", "tls"),
            "a certificate by ACME is for DNS names, and there is none",
            "write access.names: [gpu-01.example.org]",
        )
    public = door.get("acme", {}).get("server", PUBLIC) == PUBLIC
    unfit = next(filter(None, (_unfit(name, public=public) for name in names)), None)
    if unfit is not None:
        wrong(("access", "names"), *unfit)


def _unfit(name: str, *, public: bool) -> tuple[str, str] | None:
    """Why no certificate can be had for a name, and what to do."""
    if _is_address(name):
        return f"{name} is an address, and a certificate by ACME is for DNS names", "leave it out"
    if name.endswith("."):
        return f"{show(name)} ends in a dot", f"write {name.rstrip('.')}"
    lower = name.lower()
    if public and ("." not in name or any(lower.endswith(f".{end}") for end in _NOT_PUBLIC)):
        return (
            f"for {show(name)} no public authority gives a certificate",
            "write a name of a domain of yours, or an authority of your own as access.acme.server",
        )
    return None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
