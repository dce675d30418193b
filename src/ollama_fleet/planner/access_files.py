"""The front door's files, rendered: the proxy's configuration, its tokens, its certificate, its unit."""

from __future__ import annotations

from collections.abc import Sequence

from ollama_fleet.planner.access_caddy import caddy_tokens, caddy_values
from ollama_fleet.planner.access_nginx import nginx_tokens, nginx_values
from ollama_fleet.planner.access_parts import AccessSecrets, Upstream
from ollama_fleet.planner.instance import Instance
from ollama_fleet.planner.items.access import NoAccess, WantedAccess, places
from ollama_fleet.planner.items.text_file import WantedFile
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.render import Templates
from ollama_fleet.spec.access import AccessSpec
from ollama_fleet.spec.addresses import Listen
from ollama_fleet.spec.hosts import HostSpec

PRIVILEGED = 1024
"""Ports below it are root's."""


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
    proxy = places.PROXIES[access.proxy]
    values: dict[str, object] = {
        "proxy": access.proxy,
        "port": access.listen.port,
        "tls": access.tls,
        "acme": access.acme,
        "acme_root": places.ACME_ROOT if secrets.acme_ca is not None else None,
        "max_body": access.max_body,
        "privileged": access.listen.port < PRIVILEGED,
        "config": proxy.config,
        "tokens": proxy.tokens,
        "certificate": places.CERTIFICATE,
        "key": places.KEY,
        "program": proxy.program,
        "user": places.USER,
        "admin": places.ADMIN,
        "state": places.STATE,
        "runtime": places.RUNTIME,
    }
    if access.proxy == "nginx":
        template, tokens = "access-nginx.conf.j2", nginx_tokens(secrets)
        values |= nginx_values(access, upstreams)
    else:
        template, tokens = "access-Caddyfile.j2", caddy_tokens(secrets)
        values |= caddy_values(spec, access, upstreams)

    def rendered(path: str, template: str) -> WantedFile:
        return WantedFile(path, templates.render(template, values).encode(), "root", "root")

    def secret(path: str, content: str) -> WantedFile:
        return WantedFile(path, content.encode(), "root", places.USER, 0o640, secret=True)

    files = [
        rendered(proxy.config, template),
        secret(proxy.tokens, tokens),
        rendered(places.UNIT, "access.service.j2"),
    ]
    if secrets.certificate is not None and secrets.key is not None:
        files.append(WantedFile(places.CERTIFICATE, secrets.certificate.encode(), "root", "root"))
        files.append(secret(places.KEY, secrets.key.get_secret_value()))
    if secrets.acme_ca is not None:
        files.append(WantedFile(places.ACME_ROOT, secrets.acme_ca.encode(), "root", "root"))
    return WantedAccess(
        tuple(files),
        scheme=access.scheme,
        address=str(access.listen.host),
        port=access.listen.port,
        token=next(iter(secrets.tokens.values()), None),
        prefix=upstreams[0].prefix if upstreams else "",
        package=access.proxy,
        certified=access.names if access.tls == "acme" else (),
        roots=secrets.acme_ca,
    )
