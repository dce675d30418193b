"""How much a broken server could reach: `systemd-analyze security` of our unit beside that of the upstream script.

0 is nothing, 10 everything; the aim is below 4.0. Needs systemd 250 or newer on this machine, but runs nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ollama_fleet.deploys.source import load_templates
from ollama_fleet.planner.layout import Layout

AIM = 4.0
UPSTREAM = """\
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
"""What the upstream install script is documented to write."""


def exposure(unit: str) -> float:
    """Return the score of a unit's text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ollama.service")
        path.write_text(unit)
        asked = ["systemd-analyze", "security", "--offline=true", "--no-pager", path]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return float(said.rpartition("ollama.service: ")[2].split()[0])


def ours() -> str:
    """Return the unit as it is written onto a host."""
    layout = Layout.of("system", "/srv/ollama/models")
    values = {
        "several": False,
        "scope": layout.scope,
        "binary": layout.binary,
        "service_user": layout.service_user,
        "service_group": layout.service_group,
        "service_home": layout.service_home,
        "models": layout.models,
    }
    return load_templates(Path()).render("ollama.service.j2", values)


def main() -> None:
    if shutil.which("systemd-analyze") is None:
        sys.exit("systemd-analyze is missing: install systemd")
    upstream, own = exposure(UPSTREAM), exposure(ours())
    print(f"exposure, 0 to 10: ours {own}, upstream {upstream}, ratio {own / upstream:.2f}; aim below {AIM}")


if __name__ == "__main__":
    main()
