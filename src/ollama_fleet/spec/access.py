"""The front door of a host as it was asked for: where it listens, its certificate, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from ollama_fleet.spec.access_acme import PUBLIC, AcmeSpec, Refuse, check_acme
from ollama_fleet.spec.addresses import Listen, parse_address, parse_listen
from ollama_fleet.spec.errors import KeyPath, Wrong, WrongParts, show
from ollama_fleet.spec.secret import SecretReference, parse_reference

Proxy = Literal["caddy", "nginx"]
Tls = Literal["internal", "certificate", "acme", "none"]
DEFAULT_DOOR = parse_listen("[::]:11443")
DEFAULT_MAX_BODY = 64 << 20
"""Bytes; pictures in a chat come in its body."""

_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
CLIENT_PATTERN = f"^{_CLIENT.pattern}$"
REFERENCE_PATTERN = "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"


@dataclass(frozen=True, slots=True)
class AccessSpec:
    """A front door.

    - ``certificate`` is a file of the machine that deploys, with its chain; ``key`` leads to its private key.
    - ``names`` are what the certificate of the proxy's own authority is for, beside the host's name and address, and
      all that one by ACME is for; the first is what clients are told.
    - ``acme`` is whom certificates are asked of, where ``tls`` is so.
    - ``tokens`` and ``admin_tokens`` lead from a client's name to where its token is found.
    - ``max_body`` is bytes; uploads of blobs by an administrator are not bound by it.
    """

    listen: Listen
    tls: Tls
    certificate: str | None
    key: SecretReference | None
    names: tuple[str, ...]
    tokens: Mapping[str, SecretReference]
    admin_tokens: Mapping[str, SecretReference]
    max_body: int
    proxy: Proxy = "caddy"
    acme: AcmeSpec | None = None

    @property
    def scheme(self) -> str:
        """Of its URL."""
        return "http" if self.tls == "none" else "https"


def build_access(settings: Mapping[str, Any] | None, folder: str) -> AccessSpec | None:
    """The front door out of a host's merged settings; None where there is none."""
    if not settings:
        return None
    certificate = _anchored(settings.get("certificate"), folder)
    return AccessSpec(
        listen=settings.get("listen", DEFAULT_DOOR),
        tls="certificate" if certificate else settings.get("tls", "internal"),
        certificate=certificate,
        key=settings.get("key"),
        names=settings.get("names", ()),
        tokens=MappingProxyType(dict(settings.get("tokens", {}))),
        admin_tokens=MappingProxyType(dict(settings.get("admin_tokens", {}))),
        max_body=settings.get("max_body", DEFAULT_MAX_BODY),
        proxy=settings.get("proxy", "caddy"),
        acme=_acme(settings.get("acme", {}), folder) if settings.get("tls") == "acme" else None,
    )


def _acme(settings: Mapping[str, Any], folder: str) -> AcmeSpec:
    return AcmeSpec(
        server=settings.get("server", PUBLIC),
        email=settings.get("email"),
        ca=_anchored(settings.get("ca"), folder),
    )


def _anchored(path: str | None, folder: str) -> str | None:
    """A file of the machine that deploys: beside fleet.yaml, where nothing else is said."""
    if path is None or path.startswith(("/", "~/")):
        return path
    return f"{folder.rstrip('/')}/{path.removeprefix('./')}"


def parse_secret(value: object) -> SecretReference:
    """A reference to a secret; a value itself is refused, and not repeated."""
    reference = parse_reference(value) if isinstance(value, str) else None
    if reference is None:
        raise Wrong("a secret does not stand in this file", "write env:NAME or file:PATH, where it is found")
    return reference


def parse_tokens(value: object) -> dict[str, SecretReference | None]:
    """Tokens by the name of the client that has it; ``null`` takes one away that a lower section gives."""
    if not isinstance(value, dict):
        raise Wrong(f"expected a map of clients, got {show(value)}", "write NAME: env:NAME_TOKEN")
    found: dict[str, SecretReference | None] = {}
    wrong: list[tuple[KeyPath, Wrong]] = []
    for name, reference in value.items():
        try:
            if not _CLIENT.fullmatch(str(name)):
                raise Wrong(f"{show(name)} is no name of a client", "use letters, digits, dots and dashes")
            found[str(name)] = None if reference is None else parse_secret(reference)
        except Wrong as error:
            wrong.append(((name,), error))
    if wrong:
        raise WrongParts(wrong)
    return found


def parse_names(value: object) -> tuple[str, ...]:
    """DNS names and addresses."""
    if not isinstance(value, list) or not value:
        raise Wrong(f"expected a list of names, got {show(value)}", "write names: [gpu-01.lan]")
    found = []
    for name in value:
        parsed = parse_address(name)
        if parsed.startswith("@"):
            raise Wrong(f"{show(name)} is no name for a certificate", "write a DNS name or an IP address")
        found.append(parsed)
    return tuple(dict.fromkeys(found))


def check_access(settings: Mapping[str, Any], listen: Listen, wrong: Refuse) -> None:
    """What of a front door does not go together with itself or with the host."""
    door: Mapping[str, Any] = settings.get("access") or {}
    if not door:
        return
    if settings.get("os") == "windows":
        wrong(("access",), "there is no front door on Windows", "write access: null at the host")
    elif settings.get("scope") == "user":
        wrong(("access",), "a front door needs root", "write access: null at the host, or scope: system")
    tokens, admins = door.get("tokens", {}), door.get("admin_tokens", {})
    if not tokens and not admins:
        wrong(("access",), "nobody has a token, so nobody gets in", "write tokens: {NAME: env:NAME_TOKEN}")
    for name in tokens:
        if name in admins:
            wrong(("access", "tokens", name), f"{show(name)} has an admin token too", "give it one of them")
    if not listen.is_loopback:
        wrong(
            ("listen",),
            f"{listen} goes round the front door",
            "write listen: 127.0.0.1:11434, and where others connect as access.listen",
        )
    at: Listen = door.get("listen", DEFAULT_DOOR)
    if at.port == listen.port:
        wrong(("access", "listen"), f"port {at.port} is Ollama's own", "give one of them another port")
    if bool(door.get("certificate")) != bool(door.get("key")):
        there, lacks = ("certificate", "key") if door.get("certificate") else ("key", "certificate")
        wrong(("access", there), f"there is a {there} and no {lacks}", f"write access.{lacks} too")
    elif door.get("certificate") and "tls" in door:
        wrong(("access", "tls"), "there is a certificate of your own", "leave tls out")
    elif door.get("proxy") == "nginx" and not door.get("certificate") and door.get("tls") != "none":
        wrong(
            ("access", "proxy"),
            "nginx makes no certificates",
            "write access.certificate and access.key, or leave proxy out: caddy makes its own",
        )
    else:
        check_acme(door, at, wrong)
