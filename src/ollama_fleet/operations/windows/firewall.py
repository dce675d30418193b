"""The rules of ours in Windows Defender Firewall, by its cmdlets: netsh speaks the machine's language."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from ipaddress import ip_network

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.operations.context import look, mark_changed
from ollama_fleet.operations.windows.script import powershell
from ollama_fleet.planner.items.windows.firewall import DESCRIPTION, PROFILES, WindowsFirewall
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows.addresses import written
from ollama_fleet.planner.windows.quoting import array, literal


@operation()
def allow(
    port: int | Sequence[int],
    sources: Sequence[str],
    present: bool = True,
    models_dir: str | None = None,
) -> Generator[StringCommand, None, None]:
    """Let these networks reach a TCP port, or several; a rule made after the tutorial is adopted, others stay.

    Args:
        port: TCP port, 1 to 65535, or all that are to be open; our rules for others go.
        sources: networks such as `192.168.1.0/24` or `fd00::/64`; `0.0.0.0/0` and `::/0` are everybody.
        present: False takes away what this operation has put there.
        models_dir: where models lie, if not below ProgramData (only read, to share one probe).

    Raises:
        ValueError: a source is not a network, or the port is none.
    """
    state, layout = look("windows", models_dir)
    ports = (port,) if isinstance(port, int) else tuple(sorted(port))
    if wrong := [one for one in ports if not 1 <= one <= 65535]:
        raise ValueError(f"{wrong[0]} is no TCP port")
    wanted = WindowsFirewall(ports, tuple(str(ip_network(source)) for source in sources), layout, present)
    if not wanted.differences(state):
        host.noop(f"{wanted.name} is open to those who may" if present else "no rules")
        return
    mark_changed(host)
    lines = [f"Remove-NetFirewallRule -Name {literal(rule.name)}" for rule in wanted.leftovers(state)]
    for one in ports if present else ():
        if wanted.of_port(one, state):
            lines += _rule(wanted, one, state)
    yield powershell(*lines)


def _rule(wanted: WindowsFirewall, port: int, state: HostState) -> list[str]:
    """Make the rule of a port, or what has become ours, as it should be."""
    there = wanted.managed(port, state)
    name, display = literal(wanted.rule(port) if there is None else there.name), literal(wanted.display(port))
    lines = []
    if there is None:
        lines.append(
            f"New-NetFirewallRule -Name {name} -DisplayName {display} -Direction Inbound "
            f"-Action Allow -Protocol TCP -LocalPort {literal(str(port))} | Out-Null"
        )
    lines.append(
        f"Set-NetFirewallRule -Name {name} -NewDisplayName {display} "
        f"-Description {literal(DESCRIPTION)} -Profile {array(PROFILES)} -Direction Inbound -Action Allow "
        f"-Protocol TCP -LocalPort {literal(str(port))} -RemoteAddress {array(written(wanted.sources))} "
        "-Enabled True"
    )
    return lines
