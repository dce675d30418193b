"""The rule of ours in Windows Defender Firewall, by its cmdlets: netsh speaks the machine's language."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from ipaddress import ip_network

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.operations.context import look, mark_changed
from ollama_fleet.operations.windows.script import powershell
from ollama_fleet.planner.items.windows.firewall import DESCRIPTION, PROFILES, WindowsFirewall
from ollama_fleet.planner.windows.addresses import written
from ollama_fleet.planner.windows.quoting import array, literal


@operation()
def allow(
    port: int, sources: Sequence[str], present: bool = True, models_dir: str | None = None
) -> Generator[StringCommand, None, None]:
    """Let these networks reach a TCP port; a rule made after the tutorial is adopted, others are not touched.

    Args:
        port: TCP port, 1 to 65535.
        sources: networks such as `192.168.1.0/24` or `fd00::/64`; `0.0.0.0/0` and `::/0` are everybody.
        present: False takes away what this operation has put there.
        models_dir: where models lie, if not below ProgramData (only read, to share one probe).

    Raises:
        ValueError: a source is not a network, or the port is none.
    """
    state, layout = look("windows", models_dir)
    if not 1 <= port <= 65535:
        raise ValueError(f"{port} is no TCP port")
    wanted = WindowsFirewall((port,), tuple(str(ip_network(source)) for source in sources), layout, present)
    if not wanted.differences(state):
        host.noop(f"port {port} is open to those who may" if present else "no rules")
        return
    mark_changed(host)
    lines = [f"Remove-NetFirewallRule -Name {literal(rule.name)}" for rule in wanted.leftovers(state)]
    if present:
        there = wanted.managed(state)
        name = literal(wanted.rule if there is None else there.name)
        if there is None:
            lines.append(
                f"New-NetFirewallRule -Name {name} -DisplayName {literal(wanted.display)} -Direction Inbound "
                f"-Action Allow -Protocol TCP -LocalPort {literal(str(port))} | Out-Null"
            )
        lines.append(
            f"Set-NetFirewallRule -Name {name} -NewDisplayName {literal(wanted.display)} "
            f"-Description {literal(DESCRIPTION)} -Profile {array(PROFILES)} -Direction Inbound -Action Allow "
            f"-Protocol TCP -LocalPort {literal(str(port))} -RemoteAddress {array(written(wanted.sources))} "
            "-Enabled True"
        )
    yield powershell(*lines)
