"""The front door's files, rendered: the proxy's configuration, its tokens, its certificate, its unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from pydantic import SecretStr

from ollama_fleet.planner.instance import Instance
from ollama_fleet.planner.items.access import NoAccess, WantedAccess, places
from ollama_fleet.planner.items.access.routes import ADMIN, BLOBS, CLIENT, expression, too_large
from ollama_fleet.planner.items.text_file import WantedFile
from ollama_fleet.planner.layout import MARK, Layout
from ollama_fleet.planner.render import Templates
from ollama_fleet.spec.access import AccessSpec
from ollama_fleet.spec.addresses import LOCAL, Listen
from ollama_fleet.spec.hosts import HostSpec

PRIVILEGED = 1024
"""Ports below it are root's."""


@dataclass(frozen=True, slots=True)
class AccessSecrets:
    """What the references of a front door stand for. Tokens are by the client's name."""

    tokens: Mapping[str, SecretStr] = field(default_factory=dict)
    admin_tokens: Mapping[str, SecretStr] = field(default_factory=dict)
    certificate: str | None = None
    key: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server of Ollama behind the door: `prefix` is nothing, or `/NAME`; `address` as `127.0.0.1:11434`."""

    prefix: str
    address: str


def access_of(
    spec: HostSpec,
    secrets: AccessSecrets | None,
    instances: Sequence[Instance],
    templates: Templates,
    layout: Layout,
) -> WantedAccess | NoAccess | None:
    """The front door of a host, or that there is none; None where there cannot be one. Raises RenderError."""
    if layout.scope != "system":
        return None
    if spec.access is None:
        return NoAccess()
    upstreams = [
        Upstream(f"/{instance.name}" if instance.name else "", str(Listen(spec.listen.host, instance.port)))
        for instance in instances
    ]
    return wanted_access(spec, spec.access, secrets or AccessSecrets(), upstreams, templates)


def wanted_access(
    spec: HostSpec,
    access: AccessSpec,
    secrets: AccessSecrets,
    upstreams: Sequence[Upstream],
    templates: Templates,
) -> WantedAccess:
    """Render a front door.

    Args:
        spec: the host, for its names.
        access: what was asked.
        secrets: tokens and the key.
        upstreams: the servers behind it.
        templates: of the configuration and the unit.

    Raises:
        RenderError: a template is missing or wrong.
    """
    values = {
        "port": access.listen.port,
        "bind": _bind(access),
        "sites": _sites(spec, access),
        "tls": access.tls,
        "first_name": door_names(spec, access)[0],
        "max_body": access.max_body,
        "too_large": too_large(access.max_body, [upstream.prefix for upstream in upstreams]),
        "upstreams": [_upstream(number, upstream) for number, upstream in enumerate(upstreams)],
        "known_elsewhere": _forbidden(upstreams),
        "privileged": access.listen.port < PRIVILEGED,
        "config": places.CONFIG,
        "tokens": places.TOKENS,
        "certificate": places.CERTIFICATE,
        "key": places.KEY,
        "program": places.PROGRAM,
        "user": places.USER,
        "admin": places.ADMIN,
        "state": places.STATE,
        "runtime": places.RUNTIME,
    }

    def rendered(path: str, template: str) -> WantedFile:
        return WantedFile(path, templates.render(template, values).encode(), "root", "root")

    def secret(path: str, content: str) -> WantedFile:
        return WantedFile(path, content.encode(), "root", places.USER, 0o640, secret=True)

    files = [
        rendered(places.CONFIG, "access-Caddyfile.j2"),
        secret(places.TOKENS, tokens_file(secrets)),
        rendered(places.UNIT, "access.service.j2"),
    ]
    if secrets.certificate is not None and secrets.key is not None:
        files.append(WantedFile(places.CERTIFICATE, secrets.certificate.encode(), "root", "root"))
        files.append(secret(places.KEY, secrets.key.get_secret_value()))
    return WantedAccess(
        tuple(files),
        scheme=access.scheme,
        address=str(access.listen.host),
        port=access.listen.port,
        token=next(iter(secrets.tokens.values()), None),
        prefix=upstreams[0].prefix if upstreams else "",
    )


def tokens_file(secrets: AccessSecrets) -> str:
    """Caddy's map from the whole header to a role and a name; two such headers at once are none of these.

    The name is the one that the access log tells as `user_id`.
    """
    lines = [
        f"# Written by {MARK}. Secret.",
        "map {http.request.header.Authorization} {fleet.role} {http.auth.user.id} {",
    ]
    for role, tokens in (("client", secrets.tokens), ("admin", secrets.admin_tokens)):
        for name, token in sorted(tokens.items()):
            lines.append(f'\t"Bearer {token.get_secret_value()}" {role} "{name}"')
    return "\n".join([*lines, '\tdefault none ""', "}", ""])


def door_names(spec: HostSpec, access: AccessSpec) -> tuple[str, ...]:
    """Names and addresses by which clients may come, the one that they are told first."""
    names = [*access.names]
    if spec.address != LOCAL:
        names.append(spec.address)
    if not access.listen.host.is_unspecified:
        names.append(str(access.listen.host))
    return tuple(dict.fromkeys([*names, spec.name]))


def _sites(spec: HostSpec, access: AccessSpec) -> list[str]:
    """Caddy's addresses: every name that it makes a certificate for, and whatever else a client may call it."""
    port = access.listen.port
    named = (
        [f"https://{in_url(name)}:{port}" for name in door_names(spec, access)]
        if access.tls == "internal"
        else []
    )
    return [*named, f"{access.scheme}://:{port}"]


def in_url(name: str) -> str:
    """A name or an address as it stands in a URL."""
    return f"[{name}]" if ":" in name else name


def _bind(access: AccessSpec) -> str | None:
    """What Caddy binds; None for all addresses of both families."""
    host = access.listen.host
    if host == ip_address("::"):
        return None
    return in_url(str(host))


def _upstream(number: int, upstream: Upstream) -> dict[str, object]:
    everybody, admins = ("client", "admin"), ("admin",)
    return {
        "number": number,
        "address": upstream.address,
        "prefix": upstream.prefix,
        "client": expression(CLIENT, everybody, upstream.prefix),
        "admin": expression(ADMIN, admins, upstream.prefix),
        "blobs": expression(BLOBS, admins, upstream.prefix),
    }


def _forbidden(upstreams: Sequence[Upstream]) -> str:
    """What a client with a token of its own is told it may not do, rather than that it is not there."""
    return " || ".join(f"({expression((*ADMIN, *BLOBS), ('client',), one.prefix)})" for one in upstreams)
