"""What a host has and serves, seen without our own probe."""

from __future__ import annotations

import json
import time

from lab.host import Host

_ASK = (
    "import http.client; c = http.client.HTTPConnection('127.0.0.1', 11434, timeout=5);"
    "c.request('GET', '/api/version'); print(c.getresponse().read().decode())"
)


def version_served(host: Host, wait: float = 0.0) -> str:
    """The version that the host's server says it is; `none` where none answers within `wait` seconds."""
    deadline = time.monotonic() + wait
    while True:
        asked = host.run(["python3", "-c", _ASK], check=False)
        if asked.returncode == 0:
            return str(json.loads(asked.stdout)["version"])
        if time.monotonic() >= deadline:
            return "none"
        time.sleep(0.2)


def manifests(host: Host) -> set[str]:
    """The models on the host's disk, by path below `manifests/`."""
    return set(host.run("cd /srv/ollama/models/manifests && find . -type f").stdout.split())


def models_on_disk(host: Host) -> dict[str, str]:
    """sha256 by path of every manifest and every blob, but for what is still being fetched."""
    line = "cd /srv/ollama/models && find manifests blobs -type f ! -name '*-partial*' -exec sha256sum {} +"
    listed = (entry.split(maxsplit=1) for entry in host.run(line).stdout.splitlines())
    return {path: digest for digest, path in listed}
