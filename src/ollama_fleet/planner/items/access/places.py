"""Where the front door lies on a host. It is the whole system's: there is none in a home, and none on Windows."""

from __future__ import annotations

FOLDER = "/etc/ollama-fleet/access"
CONFIG = f"{FOLDER}/Caddyfile"
TOKENS = f"{FOLDER}/tokens.caddy"
"""Root's, and readable by the proxy's group alone, in which is nobody but the proxy."""
CERTIFICATE = f"{FOLDER}/certificate.pem"
KEY = f"{FOLDER}/key.pem"
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
"""There from the moment that a file of the door is replaced until the proxy has read it."""
PROGRAM = "/usr/bin/caddy"
PACKAGE = "caddy"

PUBLIC = (CONFIG, CERTIFICATE, UNIT)
"""Files whose content is compared."""
SECRET = (TOKENS, KEY)
"""Files of which only a hash leaves the host."""
ALL = (*PUBLIC, *SECRET)
