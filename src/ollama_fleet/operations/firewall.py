"""Rules of ours in the firewall that a host already has."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from ipaddress import ip_network
from shlex import quote

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.operations.context import look, mark_changed
from ollama_fleet.operations.shell import script, write_file
from ollama_fleet.planner.items.firewall import WantedFirewall
from ollama_fleet.planner.layout import MARK
from ollama_fleet.planner.state import FirewallRule, HostState


@operation()
def allow(
    port: int, sources: Sequence[str], models_dir: str | None = None
) -> Generator[StringCommand, None, None]:
    """Let these networks reach a TCP port, and nobody else; other people's rules are not touched.

    A firewall that is missing or off is left so.

    Args:
        port: TCP port, 1 to 65535.
        sources: networks such as `192.168.1.0/24` or `fd00::/64`; `0.0.0.0/0` is everybody.
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).

    Raises:
        ValueError: a source is not a network.
    """
    state, layout = look("system", models_dir)
    wanted = WantedFirewall(port, tuple(str(ip_network(source)) for source in sources), layout)
    if not wanted.differences(state):
        host.noop(f"port {port} is open to {', '.join(wanted.sources) or 'nobody'}")
        return
    mark_changed(host)
    if state.firewall.backend == "ufw":
        yield script(*_ufw_commands(wanted, state))
    else:
        yield script(*_nftables_commands(wanted, state))


def _ufw_commands(wanted: WantedFirewall, state: HostState) -> list[str]:
    want = wanted.ufw_rules(state.firewall)
    mine = [rule for rule in state.firewall.rules if rule.ours]
    there = {_key(rule) for rule in mine}
    kept = {_key(rule) for rule in want} & there
    denies = {_key(rule) for rule in want if rule.action == "deny"}
    if len(kept) < len(want):
        # ufw appends, and takes the first rule that matches: a deny must come after what is added now.
        kept -= denies
    gone = [rule for rule in mine if _key(rule) not in kept]
    new = [rule for rule in want if _key(rule) not in kept]
    return [
        *(f"ufw --force delete {_ufw_words(rule)}" for rule in gone),
        *(f"ufw {_ufw_words(rule)} comment {quote(MARK)}" for rule in new),
    ]


def _key(rule: FirewallRule) -> tuple[int, str, str]:
    return (rule.port, rule.action, rule.source)


def _ufw_words(rule: FirewallRule) -> str:
    return f"{rule.action} proto tcp from {quote(rule.source)} to any port {rule.port}"


def _nftables_commands(wanted: WantedFirewall, state: HostState) -> list[str]:
    layout = wanted.layout
    unit = layout.firewall_unit.rsplit("/", 1)[1]
    return [
        write_file(
            layout.firewall_script,
            wanted.nft_script(state.firewall.chains),
            mode=0o755,
            owner="root",
            group="root",
        ),
        write_file(layout.firewall_unit, wanted.nft_unit(), mode=0o644, owner="root", group="root"),
        "systemctl daemon-reload",
        f"systemctl enable --quiet {unit}",
        f"systemctl restart {unit}",
    ]
