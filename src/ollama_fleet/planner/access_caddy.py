"""The front door's files as Caddy reads them: the values of its configuration, and its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from ollama_fleet.planner.access_parts import AccessSecrets, Upstream, door_names, in_url
from ollama_fleet.planner.items.access.routes import ADMIN, BLOBS, CLIENT, expression, too_large
from ollama_fleet.planner.layout import MARK
from ollama_fleet.spec.access import AccessSpec
from ollama_fleet.spec.hosts import HostSpec


def caddy_values(spec: HostSpec, access: AccessSpec, upstreams: Sequence[Upstream]) -> dict[str, object]:
    """What the template `access-Caddyfile.j2` needs beside what all proxies need."""
    return {
        "bind": _bind(access),
        "sites": _sites(spec, access),
        "first_name": door_names(spec, access)[0],
        "too_large": too_large(access.max_body, [upstream.prefix for upstream in upstreams]),
        "upstreams": [_upstream(number, upstream) for number, upstream in enumerate(upstreams)],
        "known_elsewhere": _forbidden(upstreams),
    }


def caddy_tokens(secrets: AccessSecrets) -> str:
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


def _sites(spec: HostSpec, access: AccessSpec) -> list[str]:
    """Caddy's addresses: every name that it makes a certificate for, and whatever else a client may call it."""
    port = access.listen.port
    named = (
        [f"https://{in_url(name)}:{port}" for name in door_names(spec, access)]
        if access.tls in ("internal", "acme")
        else []
    )
    return [*named, f"{access.scheme}://:{port}"]


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
