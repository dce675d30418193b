"""What the files of a front door are made from, whichever proxy: its secrets, its names, the servers behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from ollama_fleet.spec.access import AccessSpec
from ollama_fleet.spec.addresses import LOCAL
from ollama_fleet.spec.hosts import HostSpec


@dataclass(frozen=True, slots=True)
class AccessSecrets:
    """What the references of a front door stand for. Tokens are by the client's name."""

    tokens: Mapping[str, SecretStr] = field(default_factory=dict)
    admin_tokens: Mapping[str, SecretStr] = field(default_factory=dict)
    certificate: str | None = None
    key: SecretStr | None = None
    acme_ca: str | None = None
    """Roots of the authority that certificates are asked of, in PEM; None where those of each system do."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server of Ollama behind the door: `prefix` is nothing, or `/NAME`; `address` as `127.0.0.1:11434`."""

    prefix: str
    address: str


def door_names(spec: HostSpec, access: AccessSpec) -> tuple[str, ...]:
    """Names and addresses by which clients may come, the one that they are told first.

    With certificates by ACME these are the names that are asked for, and no others.
    """
    if access.tls == "acme":
        return access.names
    names = [*access.names]
    if spec.address != LOCAL:
        names.append(spec.address)
    if not access.listen.host.is_unspecified:
        names.append(str(access.listen.host))
    return tuple(dict.fromkeys([*names, spec.name]))


def in_url(name: str) -> str:
    """A name or an address as it stands in a URL."""
    return f"[{name}]" if ":" in name else name
