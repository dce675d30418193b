"""A certificate authority that speaks ACME, on a host of the lab: Caddy's own server, with a root of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lab.host import Host

NAME = "ca.lab.test"
PORT = 9443
DIRECTORY = f"https://{NAME}:{PORT}/acme/local/directory"
UNIT = "authority"
STATE = "/var/lib/authority"
ROOT = f"{STATE}/caddy/pki/authorities/local/root.crt"

CADDYFILE = f"""
{{
	admin off
	skip_install_trust
	auto_https disable_redirects
}}
https://{NAME}:{PORT} {{
	tls internal
	acme_server
}}
"""


@dataclass
class Authority:
    """An ACME server; `host` needs no more than the lab's packages."""

    host: Host

    def install(self) -> None:
        """Bring Caddy, and start the server."""
        self.host.run("ln -sfn /dev/null /etc/systemd/system/caddy.service")
        self.host.run("apt-get update -qq && apt-get install -y -qq caddy", timeout=120)
        self.host.write("/etc/authority.caddy", CADDYFILE)
        self.start()

    def start(self) -> None:
        """Serve, and return once it does."""
        self.host.run(
            f"systemd-run --quiet --collect --unit={UNIT} --setenv=HOME={STATE} --setenv=XDG_DATA_HOME={STATE} "
            "/usr/bin/caddy run --adapter caddyfile --config /etc/authority.caddy"
        )
        serves = f"curl -sS --fail --cacert {ROOT} --resolve {NAME}:{PORT}:127.0.0.1 {DIRECTORY}"
        for _ in range(300):
            if self.host.run(serves, check=False).returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError(self.host.run(f"journalctl --no-pager -u {UNIT}").stdout)

    def stop(self) -> None:
        """Serve nobody."""
        self.host.run(f"systemctl stop {UNIT}")

    def root(self) -> str:
        """What its certificates lead to, in PEM."""
        return self.host.read(ROOT)


def know(host: Host, name: str, address: str) -> None:
    """Let a host find a name, as by DNS."""
    host.write("/etc/hosts", f"{host.read('/etc/hosts')}{address} {name}\n")
