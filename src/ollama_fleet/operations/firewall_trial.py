"""Switching a firewall on by way of trial: unless it is told that contact was kept, the host itself ends it.

A unit on the host does it, so that nothing depends on the connection: it switches the firewall on, waits to be told,
and switches it off again if it is not. Cut off by a reboot, it switches it off at boot. Contact counts as kept once a
new SSH connection has come in after the firewall was on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from shlex import quote
from typing import TYPE_CHECKING

from paramiko.ssh_exception import SSHException
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.connectors.sshuserclient.client import SSHClient

from ollama_fleet.api.through import ssh_transport
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.operations.shell import write_file
from ollama_fleet.planner.items.firewall.switching import openings
from ollama_fleet.planner.layout import MARK

if TYPE_CHECKING:
    from ollama_fleet.planner.items.firewall.switching import Switchable

UNIT = f"{MARK}-firewall-trial.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
SCRIPT = "/var/lib/ollama-fleet/firewall-trial.sh"
FOLDER = "/run/ollama-fleet-firewall-trial"
PATIENCE = 45
"""Seconds that the host waits to be told, counted from when the firewall is on."""
PROOF = 30
"""Seconds within which a new connection has to come in."""
STARTING = 60
"""Seconds for the firewall to be on."""

ON: Mapping[str, tuple[str, str]] = {
    "ufw": ("ufw --force enable && systemctl enable --quiet ufw", "ufw --force disable"),
    "firewalld": ("systemctl enable --now --quiet firewalld", "systemctl disable --now --quiet firewalld"),
}
"""How each is switched on, and off again."""


def ssh_commands(there: Switchable) -> list[str]:
    """Return shell lines that let SSH in, before the firewall is on. They stay: without them SSH would be cut."""
    return [
        f"firewall-offline-cmd --zone={quote(zone)} --add-port={port}/tcp"
        if zone
        else f"ufw allow {port}/tcp comment SSH"
        for zone, port in openings(there)
    ]


def start(backend: str) -> list[str]:
    """Return shell lines that begin the trial and do not wait for it."""
    on, off = ON[backend]
    unit = f"""# Written by {MARK}.
[Unit]
Description=Switches {backend} on, and off again unless contact is kept
After=network.target {backend}.service

[Service]
ExecStart=/bin/sh {SCRIPT}

[Install]
WantedBy=multi-user.target
"""
    script = f"""#!/bin/sh
# Written by {MARK}; goes by itself.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
end() {{
  echo "$1" >{FOLDER}/state
  systemctl disable --quiet {UNIT}
  rm -f {UNIT_FILE} {SCRIPT}
  systemctl daemon-reload
  exit 0
}}
mkdir -p {FOLDER}
# There after a reboot only, since the script goes at its end.
if [ -e {SCRIPT}.begun ]; then rm -f {SCRIPT}.begun; {off}; end off; fi
: >{SCRIPT}.begun
sync
if ! {on}; then rm -f {SCRIPT}.begun; {off}; end failed; fi
echo on >{FOLDER}/state
left={PATIENCE}
while [ $left -gt 0 ]; do
  [ -e {FOLDER}/kept ] && rm -f {SCRIPT}.begun && end kept
  sleep 1
  left=$((left - 1))
done
{off}
rm -f {SCRIPT}.begun
end off
"""
    return [
        f"rm -rf {FOLDER} {SCRIPT}.begun",
        write_file(SCRIPT, script.encode(), mode=0o755, owner="root", group="root"),
        write_file(UNIT_FILE, unit.encode(), mode=0o644, owner="root", group="root"),
        "systemctl daemon-reload",
        f"systemctl enable --quiet {UNIT}",
        f"systemctl restart --no-block {UNIT}",
    ]


def prove(at: Host, backend: str) -> None:
    """Wait for the firewall to be on, come in anew, and tell the host so. Raises StepFailed where that fails."""
    if ssh_transport(at) is None:  # this machine itself: there is no contact that could be lost
        _await_on(at, backend)
    else:
        _await_new_connection(at, backend)
    _, told = _on_host(
        at,
        f"touch {FOLDER}/kept; for i in 1 2 3 4 5 6 7 8 9 10; do s=$(cat {FOLDER}/state);"
        ' [ "$s" = on ] || break; sleep 1; done; echo "$s"',
    )
    if told != "kept":
        raise StepFailed(
            f"{backend} is off again: the host was told too late that contact was kept; run it again"
        )


def _await_on(at: Host, backend: str) -> None:
    until = time.monotonic() + STARTING
    while time.monotonic() < until:
        _, told = _on_host(at, f"cat {FOLDER}/state")
        if told == "on":
            return
        _check(told, backend)
        time.sleep(0.5)
    raise StepFailed(f"{backend} was not on within {STARTING} s; the host switches it off again")


def _await_new_connection(at: Host, backend: str) -> None:
    """Come in until a connection has been made after the firewall was on."""
    on = refused = False
    until = time.monotonic() + STARTING
    why = ""
    while time.monotonic() < until:
        try:
            told = _come_in(at)
        except (OSError, SSHException, EOFError, ConnectError) as error:
            why = str(error) or type(error).__name__
            if not (on or refused):
                # It may well be on, and refuse us: no more waiting than the host itself does.
                refused, until = True, time.monotonic() + PROOF
        else:
            if told == "on" and on:
                return
            _check(told, backend)
            if told == "on":  # but this connection may have been made before
                on, until = True, time.monotonic() + PROOF
                continue
        time.sleep(0.5)
    raise StepFailed(
        f"contact was lost when {backend} was switched on ({why or 'no new connection came in'}); the host switches it "
        f"off again within {PATIENCE} s; see `journalctl -u {UNIT}` and the firewall's own rules there"
    )


def _check(told: str, backend: str) -> None:
    if told == "failed":
        raise StepFailed(f"{backend} could not be switched on; see `journalctl -u {UNIT}` on the host")
    if told == "off":
        raise StepFailed(f"{backend} is off again, since no contact was proved in time")


def _come_in(at: Host) -> str:
    """Make a new SSH connection and return what the trial says of itself; empty where it has not begun."""
    arguments = at.connector.make_paramiko_kwargs()  # type: ignore[attr-defined]
    name = arguments.pop("hostname")
    client = SSHClient()
    try:
        client.connect(name, **{**arguments, "timeout": 5, "banner_timeout": 10, "auth_timeout": 10})  # type: ignore[no-untyped-call]
        _, output, _ = client.exec_command(f"cat {FOLDER}/state 2>/dev/null", timeout=10)
        return output.read().decode(errors="replace").strip()
    finally:
        client.close()


def _on_host(at: Host, command: str) -> tuple[bool, str]:
    """Run something by the connection that is there; it may have been cut."""
    with suppress(OSError, SSHException, EOFError):
        done, output = at.run_shell_command(
            StringCommand(command), _sudo=bool(at.data.get("_sudo")), _timeout=20
        )
        return done, output.stdout_lines[-1].strip() if output.stdout_lines else ""
    return False, ""
