"""A host looked at by other means than our own probe: its files, /proc, its firewall's own words, its port."""

from __future__ import annotations

import json
import sys
from typing import Any

from lab.client import Client
from lab.host import Host
from lab.snapshot import VOLATILE, Entry, snapshot

RECORDS = ("/var/lib/ollama-fleet/history", "/var/lib/ollama-fleet/before")
"""What applies tell about themselves: each adds to it."""
BACKUPS = ("/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-")

ASK = """
import http.client, json, sys
address, method, path, body = sys.argv[1:]
connection = http.client.HTTPConnection(address, 11434, timeout=3)
connection.request(method, path, body or None)
print(connection.getresponse().read().decode())
"""
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
except OSError as error:
    print("none", type(error).__name__)
else:
    print("connected")
"""


def ask(client: Client, address: str, path: str, body: object = None) -> str:
    """What the server at `address` answers a client of another network."""
    method = "GET" if body is None else "POST"
    argv = [sys.executable, "-c", ASK, address, method, path, "" if body is None else json.dumps(body)]
    return client.run(argv, check=True).stdout.strip()


def connects(client: Client, address: str, port: int = 11434) -> str:
    """`connected`, or `none` and why, after 3 s at most."""
    return client.run([sys.executable, "-c", CONNECT, address, str(port)], check=True).stdout.strip()


def main_pid(host: Host, unit: str = "ollama.service") -> int:
    """The process behind a unit; 0 for none."""
    return int(host.run(["systemctl", "show", "--value", "-p", "MainPID", unit]).stdout)


def process_environment(host: Host, pid: int) -> dict[str, str]:
    """The variables that a process was started with."""
    raw = host.run(["cat", f"/proc/{pid}/environ"]).stdout
    return dict(entry.split("=", 1) for entry in raw.split("\0") if "=" in entry)


def manifest(host: Host, models_dir: str, path: str) -> dict[str, Any]:
    """A manifest below `manifests/`."""
    parsed: dict[str, Any] = json.loads(host.read(f"{models_dir}/manifests/{path}"))
    return parsed


def layer(host: Host, models_dir: str, stored: dict[str, Any], kind: str) -> str:
    """The text of the one layer of a kind, such as `params`."""
    (digest,) = (
        entry["digest"]
        for entry in stored["layers"]
        if entry["mediaType"] == f"application/vnd.ollama.image.{kind}"
    )
    return host.read(f"{models_dir}/blobs/{digest.replace(':', '-')}")


def written(host: Host) -> dict[str, Entry]:
    """Everything that the host has on its disk beyond the image all hosts share."""
    return snapshot(host.container.directory / "disk/upper", (*VOLATILE, *BACKUPS, *RECORDS))
