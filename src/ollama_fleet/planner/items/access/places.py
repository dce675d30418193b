"""Where the front door lies on a host. It is the whole system's: there is none in a home, and none on Windows."""

from __future__ import annotations

from dataclasses import dataclass

FOLDER = "/etc/ollama-fleet/access"
CERTIFICATE = f"{FOLDER}/certificate.pem"
KEY = f"{FOLDER}/key.pem"
ACME_ROOT = f"{FOLDER}/acme-ca.pem"
"""The root of an ACME authority that the system does not know."""
USER = "ollama-access"
"""Its own user, not the one of the package: another site that the host serves must not read the tokens."""
UNIT_NAME = "ollama-fleet-access.service"
UNIT = f"/etc/systemd/system/{UNIT_NAME}"
STATE = "/var/lib/ollama-fleet-access"
"""The proxy's own: its certificate authority is below."""
AUTHORITY = f"{STATE}/caddy/pki/authorities/local/root.crt"
"""What clients have to trust where the certificates come from the host itself."""
RUNTIME = "/run/ollama-fleet-access"
ADMIN = f"unix/{RUNTIME}/admin.sock"
"""Caddy's own interface, by which it takes a new configuration; in a folder that only the proxy may enter."""
DUE = "/var/lib/ollama-fleet/access-due"
"""There from the moment that a file of the door is replaced until the proxy has read it, and has its certificates."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy of the distribution's: its program, and its own files; the package has the proxy's name.

    ``tokens`` is root's, and readable by the proxy's group alone, in which is nobody but the proxy.
    """

    program: str
    config: str
    tokens: str


PROXIES = {
    "caddy": Proxy("/usr/bin/caddy", f"{FOLDER}/Caddyfile", f"{FOLDER}/tokens.caddy"),
    "nginx": Proxy("/usr/sbin/nginx", f"{FOLDER}/nginx.conf", f"{FOLDER}/tokens.nginx"),
}
CONFIGS = tuple(proxy.config for proxy in PROXIES.values())

PUBLIC = (*CONFIGS, CERTIFICATE, ACME_ROOT, UNIT)
"""Files whose content is compared."""
SECRET = (*(proxy.tokens for proxy in PROXIES.values()), KEY)
"""Files of which only a hash leaves the host."""
ALL = (*PUBLIC, *SECRET)
