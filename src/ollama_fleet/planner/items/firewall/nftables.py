"""nftables: a table of our own that refuses all others, and openings in the host's chains that might refuse.

A packet must pass every table, so a verdict to drop is the last word and one to accept is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.firewall_state import NftablesState
from ollama_fleet.planner.layout import MARK

TABLE = "inet ollama_fleet"
CHAIN_HEAD = "type filter hook input priority -5; policy accept;"
"""Before the chains of everybody else, which stand at 0; a packet that we drop is not seen there."""

DELETE_MARKED = f"""nft -a list ruleset | while read -r word name rest; do
    case "$word $name $rest" in
      table*) family=$name; table=${{rest%% *}} ;;
      chain*) chain=$name ;;
      *'comment "{MARK}" # handle '*)
        [ "$family $table" = '{TABLE}' ] || echo "delete rule $family $table $chain handle ${{rest##* }}" ;;
    esac
  done"""
"""Shell that prints what removes every rule of ours from chains that are not ours."""


def table(ports: Sequence[int], sources: Sequence[str]) -> list[str]:
    """The rules of our own table: what is not allowed there cannot get in, whatever others accept."""
    rules = ['iif "lo" accept']
    for port in ports:
        rules += [f'{_saddr(source)} tcp dport {port} accept comment "{MARK}"' for source in sources]
        rules.append(f'tcp dport {port} drop comment "{MARK}"')
    return rules


def openings(ports: Sequence[int], sources: Sequence[str], chain: str) -> list[str]:
    """Rules for the top of a chain of the host's own, `family table chain`, that may refuse packets."""
    family = chain.split(maxsplit=1)[0]
    return [
        f'{_saddr(source)} tcp dport {port} accept comment "{MARK}"'
        for port in ports
        for source in sources
        if family == "inet" or (family == "ip") == (ip_network(source).version == 4)
    ]


def loading(ports: Sequence[int], sources: Sequence[str], chains: Sequence[str]) -> str:
    """Shell that puts all our rules in place, first removing what it put there before.

    Our own table changes in one step, and so do all other chains; a chain that has gone is passed over.
    """
    rules = "\n".join(f"    {rule}" for rule in table(ports, sources))
    inserts = "\n".join(_inserts(chain, openings(ports, sources, chain)) for chain in chains)
    return f"""nft -f - <<'RULES'
table {TABLE}
delete table {TABLE}
table {TABLE} {{
  chain input {{
    {CHAIN_HEAD}
{rules}
  }}
}}
RULES
{{
  {DELETE_MARKED}
{inserts}
}} | nft -f -
"""


def differences(
    ports: Sequence[int], sources: Sequence[str] | None, state: NftablesState
) -> list[Difference]:
    """Compare the rules in the kernel; what is on disk is compared elsewhere.

    Args:
        ports: TCP ports.
        sources: who may reach it; None for no rules of ours at all.
        state: what the kernel has loaded.
    """
    if sources is None:
        return _unwanted(state.loaded, ())
    chains = state.chains(ports)
    own = [CHAIN_HEAD, *table(ports, sources)]
    found = compare("rules loaded in table", _list(own), _list(state.loaded.get("table", "").splitlines()))
    for chain in chains:
        loaded = state.loaded.get(chain, "").splitlines()
        found += compare(f"rules loaded in {chain}", _list(openings(ports, sources, chain)), _list(loaded))
    return found + _unwanted(state.loaded, ("table", *chains))


def _unwanted(loaded: Mapping[str, str], wanted_places: Sequence[str]) -> list[Difference]:
    return [
        Difference(f"rules loaded in {place}", "none", _list(rules.splitlines()))
        for place, rules in loaded.items()
        if rules and place not in wanted_places
    ]


def _inserts(chain: str, rules: Sequence[str]) -> str:
    lines = [f"    echo 'insert rule {chain} {rule}'" for rule in reversed(rules)]
    if not lines:
        return f"  : nothing for {chain}"
    return "\n".join([f"  if nft list chain {chain} >/dev/null 2>&1; then", *lines, "  fi"])


def _saddr(source: str) -> str:
    network = ip_network(source)
    if network.prefixlen == 0:
        return f"meta nfproto {'ipv4' if network.version == 4 else 'ipv6'}"
    return f"{'ip' if network.version == 4 else 'ip6'} saddr {network}"


def _list(rules: Sequence[str]) -> str:
    return "; ".join(rules) or "none"
