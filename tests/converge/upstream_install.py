"""What Ollama's own installation script leaves on a host, and an admin who has added to it."""

from __future__ import annotations

from converge.conftest import Release
from lab.host import Host

UNIT = """\
[Unit]
Description=Ollama Service
After=network-online.target

[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Group=ollama
Restart=always
RestartSec=3
Environment="PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

[Install]
WantedBy=default.target
"""
FOREIGN = "/etc/systemd/system/ollama.service.d/override.conf"
INSTALL = """
set -e
curl -fsS {url} -o /tmp/release
tar --zstd -xf /tmp/release -C /usr/local --no-same-owner
useradd -r -s /bin/false -U -m -d /usr/share/ollama ollama
usermod -a -G video ollama
mkdir -p "$(dirname {foreign})"
printf '[Service]\\nEnvironment=OLLAMA_KEEP_ALIVE=5m OLLAMA_NUM_PARALLEL=2\\n' >{foreign}
systemctl daemon-reload
systemctl enable --quiet ollama
systemctl start ollama
"""
UNTIL_IT_ANSWERS = "for i in $(seq 100); do curl -sf http://127.0.0.1:11434/ && exit; sleep 0.1; done; exit 1"


def install(host: Host, release: Release) -> None:
    """Regular files below /usr/local, a unit, and an admin's drop-in; the server runs."""
    host.write("/etc/systemd/system/ollama.service", UNIT)
    host.run(INSTALL.format(url=f"{release.source}/ollama-linux-amd64.tar.zst", foreign=FOREIGN), timeout=60)
