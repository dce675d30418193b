"""Rules of ours in the firewall that a host already has."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from ipaddress import ip_network

from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.api.through import ssh_transport
from ollama_fleet.operations import firewall_at_boot, firewall_firewalld, firewall_trial, firewall_ufw
from ollama_fleet.operations.context import failing, look, mark_changed, step
from ollama_fleet.operations.shell import script
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.firewall_state import FirewalldState, IptablesState, NftablesState, UfwState
from ollama_fleet.planner.items.firewall import WantedFirewall, at_boot
from ollama_fleet.planner.items.firewall.switching import to_switch_on
from ollama_fleet.planner.state import HostState


@operation()
def allow(
    port: int | Sequence[int],
    sources: Sequence[str],
    present: bool = True,
    models_dir: str | None = None,
    enabled: bool = False,
    backend: str = "auto",
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Let these networks reach a TCP port, or several, and nobody else; other people's rules are not touched.

    ufw, firewalld, nftables or iptables, in this order, whichever is in charge. One that is missing or off is left so,
    unless it is asked for.

    Args:
        port: TCP port, 1 to 65535, or all that are to be open; what stands there for others goes.
        sources: networks such as `192.168.1.0/24` or `fd00::/64`; `0.0.0.0/0` is everybody.
        present: False takes away what this operation has put there, also for other ports.
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).
        enabled: where none is on, one is switched on; unless a new SSH connection comes in afterwards, the host itself
            switches it off again.
        backend: the one to be switched on: `ufw`, `firewalld` or `nftables`; `auto` is the first that is installed.

    Raises:
        ValueError: a source is not a network, or the port is none.
    """
    state, layout = look("system", models_dir)
    ports = (port,) if isinstance(port, int) else tuple(sorted(port))
    if wrong := [one for one in ports if not 1 <= one <= 65535]:
        raise ValueError(f"{wrong[0]} is no TCP port")
    if present and (taken := sorted({*ports} & {*state.firewall.ssh_ports})):
        yield failing(
            f"port {taken[0]} is where sshd listens; nobody would reach the host any more", "Firewall"
        )
        return
    switched = None
    if enabled:
        try:
            switched = to_switch_on(state.firewall, backend, by_ssh=ssh_transport(host) is not None)
        except PlanError as error:
            yield failing(str(error), "Firewall")
            return
    networks = tuple(str(ip_network(source)) for source in sources)
    wanted = WantedFirewall(ports, networks, layout, present, switched=switched)
    if not wanted.differences(state):
        host.noop(
            f"{wanted.name} is open to {', '.join(wanted.sources) or 'nobody'}" if present else "no rules"
        )
        return
    mark_changed(host)
    yield script(*commands_of(wanted, state))
    if switched is not None and switched.backend in firewall_trial.ON:
        yield script(*firewall_trial.ssh_commands(switched), *firewall_trial.start(switched.backend))
        name = switched.backend
        yield step(lambda at: firewall_trial.prove(at, name), "Firewall", f"switching {name} on")


def commands_of(wanted: WantedFirewall, state: HostState) -> list[str]:
    """Return shell lines that make our rules as wanted."""
    firewall, layout = wanted.switched or state.firewall, wanted.layout
    sources = wanted.sources if wanted.present else None
    if isinstance(firewall, NftablesState | IptablesState):
        return firewall_at_boot.commands(wanted.ports, sources, firewall, layout)
    commands = firewall_at_boot.removal(layout) if at_boot.leftovers(state.files, layout) else []
    if isinstance(firewall, UfwState) and (firewall.active or wanted.switched):
        commands += firewall_ufw.commands(wanted.ports, sources, firewall)
    elif isinstance(firewall, FirewalldState):
        commands += firewall_firewalld.commands(wanted.ports, sources, firewall)
    return commands
