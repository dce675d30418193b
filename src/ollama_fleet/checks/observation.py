"""One look at a host while models come and go: the engine's log, the devices' memory, the host's clock.

It is one command. The log is the journal of the service, or the file that a supervisor script writes; only lines
that matter leave the host.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from shlex import quote

from paramiko.ssh_exception import SSHException
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host

from ollama_fleet.api.through import ssh_transport
from ollama_fleet.checks import windows_observation
from ollama_fleet.checks.engine_log import KEPT
from ollama_fleet.hardware.device import Device
from ollama_fleet.hardware.nvml import read_nvml
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe.read import PREAMBLE
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.sections import devices

MOST_LINES = 4000
TIMEOUT = 60
"""Seconds for the command; the journal of a busy server may be long."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen.

    - ``log`` holds the lines since the mark that was given, or since the service's start; None where there is no
      log that may be read.
    - ``mark`` stands for this moment in the log.
    - ``now`` is the host's clock, seconds since the epoch.
    """

    log: tuple[str, ...] | None
    mark: str
    now: int
    devices: tuple[Device, ...]
    device_error: str | None

    @property
    def used(self) -> int | None:
        """Bytes in use on all devices of their own memory; None where nobody can say."""
        own = [device for device in self.devices if not device.unified]
        if not own:
            return None
        used = [device.memory_total - device.memory_free for device in own if device.memory_free is not None]
        return sum(used) if len(used) == len(own) else None


def observe(at: Host, layout: Layout, state: HostState, since: str | None = None) -> Observation:
    """Look at a host.

    Args:
        at: connected.
        layout: with the home directory filled in.
        state: tells who keeps the server running; for one of several servers as that one sees the host.
        since: the `mark` of an earlier look; None for all since the service's start.

    Raises:
        StepFailed: the command could not be run.
    """
    if layout.scope == "windows":
        return _of_instance(_observe_windows(at, layout, since), layout, state)
    supervised = state.service.load == "supervised"
    log = _file_log(layout, since) if supervised else _journal(layout, since)
    command = "\n".join(
        [PREAMBLE, 'echo "now $(date +%s)"', log, devices.script(ProbeRequest(layout), usage=True), "true"]
    )
    try:
        done, output = at.run_shell_command(
            StringCommand(command), _sudo=bool(at.data.get("_sudo")), _timeout=TIMEOUT
        )
    except (OSError, SSHException, EOFError) as error:
        raise StepFailed(f"the log could not be read: {str(error) or type(error).__name__}") from error
    if not done:
        raise StepFailed("the log could not be read: the command failed")
    return _of_instance(_parse(at, output.stdout_lines), layout, state)


def _of_instance(seen: Observation, layout: Layout, state: HostState) -> Observation:
    """What was seen, of one of several servers with its own devices alone."""
    if not layout.instance:
        return seen
    there = {device.uuid: device for device in seen.devices}
    mine = [device.uuid for device in state.devices]
    return replace(seen, devices=tuple(there[uuid] for uuid in mine if uuid in there))


def _observe_windows(at: Host, layout: Layout, since: str | None) -> Observation:
    try:
        done, output = at.run_shell_command(
            StringCommand(windows_observation.script(layout, since)), _timeout=TIMEOUT
        )
    except (OSError, SSHException, EOFError) as error:
        raise StepFailed(f"the log could not be read: {str(error) or type(error).__name__}") from error
    if not done:
        raise StepFailed("the log could not be read: the command failed")
    seen = windows_observation.parse(output.stdout_lines)
    return Observation(seen.log, seen.mark, seen.now, seen.devices, seen.device_error)


def _parse(at: Host, lines: list[str]) -> Observation:
    tagged = [line.partition(" ") for line in lines]
    log = _of_this_start([text for tag, _, text in tagged if tag == "log"])
    values = {tag: text for tag, _, text in tagged if tag in ("now", "mark")}
    found, error = devices.parse([line for line in lines if not line.startswith("log ")])
    if ssh_transport(at) is None:
        # On this machine the driver's library tells the same without starting a program.
        reading = read_nvml()
        if reading.devices and reading.reason is None:
            found, error = tuple(reading.devices), None
    return Observation(
        log=None if "no-log" in lines else log,
        mark=values.get("mark", ""),
        now=int(values.get("now") or 0),
        devices=found,
        device_error=error,
    )


def _of_this_start(lines: list[str]) -> tuple[str, ...]:
    """Leave out what an earlier process wrote, where one file holds the log of all of them."""
    starts = [number for number, line in enumerate(lines) if 'msg="server config"' in line]
    return tuple(lines[starts[-1] :] if starts else lines)


def _journal(layout: Layout, since: str | None) -> str:
    system = layout.scope == "system"
    # Not `--user`, which looks into the account's own journal alone; many hosts keep but one for all.
    unit = "--unit" if system else "--user-unit"
    read = f"timeout 30 journalctl --quiet --no-pager --output=cat {unit}={quote(layout.service)}"
    show = f"systemctl {'' if system else '--user '}show --value {quote(layout.service)}"
    if since:
        which = f"--after-cursor={quote(since)}"
    elif system:
        # Without the log of an earlier start, which had other settings and perhaps other devices.
        which = '_SYSTEMD_INVOCATION_ID="$(' + f"{show} --property=InvocationID" + ')"'
    else:
        # An account's units all run under one invocation, that of its manager.
        which = '--since="$(' + f"{show} --property=ExecMainStartTimestamp" + ')"'
    return f"""
{"journalctl --sync 2>/dev/null" if system else ""}
mark=$({read} --lines=1 --show-cursor 2>/dev/null | sed -n 's/^-- cursor: //p')
if [ -n "$mark" ]; then
  echo "mark $mark"
  {read} {which} 2>/dev/null | grep -aE {quote(KEPT)} | tail -n {MOST_LINES} | sed 's/^/log /'
else
  echo no-log
fi
"""


def _file_log(layout: Layout, since: str | None) -> str:
    offset = int(since) + 1 if since else 1
    return f"""
if [ -r {quote(f"{layout.state}/server.log")} ]; then
  cd {quote(layout.state)} && echo "mark $(wc -c <server.log)"
  tail -c +{offset} server.log | grep -aE {quote(KEPT)} | tail -n {MOST_LINES} | sed 's/^/log /'
else
  echo no-log
fi
"""
