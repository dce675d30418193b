"""The front door's files as nginx reads them: the values of its configuration, and its tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

from ollama_fleet.planner.access_parts import AccessSecrets, Upstream, in_url
from ollama_fleet.planner.items.access.routes import ADMIN, BLOBS, CLIENT, line_pattern
from ollama_fleet.planner.layout import MARK
from ollama_fleet.spec.access import AccessSpec


def nginx_values(access: AccessSpec, upstreams: Sequence[Upstream]) -> dict[str, object]:
    """What the template `access-nginx.conf.j2` needs beside what all proxies need."""
    return {
        "listens": _listens(access),
        "upstreams": [_upstream(number, upstream) for number, upstream in enumerate(upstreams)],
        "blobs": f"^(?:{'|'.join(re.escape(upstream.prefix) for upstream in upstreams)})/api/blobs/",
    }


def nginx_tokens(secrets: AccessSecrets) -> str:
    """Maps from the whole header to a role and a name.

    They are patterns, since nginx compares words without their case; two such headers at once it refuses by itself.
    """
    roles, names = [], []
    for role, tokens in (("client", secrets.tokens), ("admin", secrets.admin_tokens)):
        for name, token in sorted(tokens.items()):
            header = f"~^Bearer {re.escape(token.get_secret_value())}\\z"
            roles.append(f'\t"{header}" {role};')
            names.append(f'\t"{header}" "{name}";')
    lines = [f"# Written by {MARK}. Secret."]
    for variable, found in (("role", roles), ("client", names)):
        lines += [f"map $http_authorization $fleet_{variable} {{", *found, '\tdefault "";', "}"]
    return "\n".join([*lines, ""])


def _listens(access: AccessSpec) -> list[str]:
    host, port = access.listen.host, access.listen.port
    if host == ip_address("::"):
        return [str(port), f"[::]:{port}"]
    return [f"{in_url(str(host))}:{port}"]


def _upstream(number: int, upstream: Upstream) -> dict[str, object]:
    everything = ((CLIENT, "client|admin"), ((*ADMIN, *BLOBS), "admin"))
    return {
        "number": number,
        "address": upstream.address,
        "prefix": upstream.prefix,
        "escaped": re.escape(upstream.prefix),
        "open": [line_pattern(routes, roles, upstream.prefix) for routes, roles in everything],
        "forbidden": line_pattern((*ADMIN, *BLOBS), "client", upstream.prefix),
    }
