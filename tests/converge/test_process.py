"""Which process is behind the port: one that a run left over, or somebody else's."""

from __future__ import annotations

import pytest

from converge.conftest import MakeFleet
from converge.drifts import SERVICE
from converge.outside_view import main_pid
from lab.fixtures import BootHost
from lab.host import Host

pytestmark = pytest.mark.lab

IMPOSTOR = """
import http.server, json
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"version": "0.24.0", "models": []}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", 11434), Answer).serve_forever()
"""
"""Not Ollama, but it says so."""
CUT_OFF = """#!/bin/sh
case "$*" in *daemon-reload*) kill -9 $PPID; exit 1 ;; esac
exec /usr/bin/systemctl.kept "$@"
"""
"""Ends the shell that is about to restart the server, as a broken connection may."""


@pytest.fixture
def host(new_host: BootHost) -> Host:
    return new_host()


def test_process_of_before_and_somebody_elses(host: Host, make_fleet: MakeFleet) -> None:
    fleet = make_fleet({"hosts": {host.name: {"address": host.address, "models": ["reasoner"]}}})
    host.write("/root/impostor.py", IMPOSTOR)
    host.run("systemd-run --quiet --unit=impostor python3 /root/impostor.py")
    host.run("for i in $(seq 50); do curl -sf http://127.0.0.1:11434/ && exit; sleep 0.1; done; exit 1")
    refused = fleet.apply()
    assert refused.code == 1, str(refused)
    (line,) = [line for line in refused.told(host.name) if "port 11434 is held by" in line]
    assert "impostor.service" in line
    host.run("systemctl stop impostor")
    assert fleet.apply().code == 0

    # As a run leaves it that replaces a binary which was altered by hand, and is killed before the restart.
    host.run(
        "cd /opt/ollama/*/bin && cp ollama new && echo >>new && mv new ollama && systemctl restart ollama"
    )
    host.run("mv /usr/bin/systemctl /usr/bin/systemctl.kept")
    host.write("/usr/bin/systemctl", CUT_OFF, 0o755)
    cut = fleet.apply()
    assert cut.code == 1, str(cut)
    host.run("mv /usr/bin/systemctl.kept /usr/bin/systemctl")
    old = main_pid(host)

    dry = fleet.dry()
    # Nor has what was changed passed its gate yet.
    assert dry.items(host.name) == {SERVICE, "rollout last change"}, str(dry)
    assert fleet.apply().code == 0
    assert main_pid(host) not in (0, old)
    assert fleet.drift().code == 0
