"""Who may reach the port: rules of ours in the firewall that the host already has."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.layout import MARK, Layout
from ollama_fleet.planner.state import FileState, FirewallRule, FirewallState, HostState

ANYWHERE = ("0.0.0.0/0", "::/0")
TABLE = "inet ollama_fleet"

Network = IPv4Network | IPv6Network


def _saddr(source: str) -> str:
    network = ip_network(source)
    family = "ip" if network.version == 4 else "ip6"
    if network.prefixlen == 0:
        return f"meta nfproto {'ipv4' if network.version == 4 else 'ipv6'}"
    return f"{family} saddr {network}"


@dataclass(frozen=True, slots=True)
class WantedFirewall:
    """One TCP port open to `sources` (networks in canonical form) and to nobody else."""

    port: int
    sources: tuple[str, ...]
    layout: Layout
    kind: str = "firewall"

    @property
    def name(self) -> str:
        """The port it is about."""
        return f"port {self.port}"

    def differences(self, state: HostState) -> list[Difference]:
        """Compare our rules with the wanted ones; a firewall that is off or unknown is left alone."""
        firewall = state.firewall
        if not firewall.active:
            return []
        if firewall.backend == "ufw":
            return self._rule_differences("rule", self.ufw_rules(firewall), firewall.rules)
        if firewall.backend == "nftables":
            return self._nftables_differences(state)
        return []

    # -- ufw ---------------------------------------------------------------------------------------

    def ufw_rules(self, firewall: FirewallState) -> list[FirewallRule]:
        """Our rules in ufw's order; the closing deny stands only where ufw would let others in."""
        rules = [FirewallRule(self.port, source, "allow", ours=True) for source in self.sources]
        if not firewall.default_deny:
            rules += [
                FirewallRule(self.port, anywhere, "deny", ours=True)
                for anywhere in ANYWHERE
                if anywhere not in self.sources
            ]
        return rules

    def _rule_differences(
        self, aspect: str, wanted: list[FirewallRule], actual: tuple[FirewallRule, ...]
    ) -> list[Difference]:
        mine = {(rule.port, rule.action, rule.source) for rule in actual if rule.ours}
        want = {(rule.port, rule.action, rule.source) for rule in wanted}
        return [
            *(
                Difference(f"{aspect} {a} {p} from {s}", "present", "absent")
                for p, a, s in sorted(want - mine)
            ),
            *(
                Difference(f"{aspect} {a} {p} from {s}", "absent", "present")
                for p, a, s in sorted(mine - want)
            ),
        ]

    # -- nftables ----------------------------------------------------------------------------------

    def nft_table(self) -> list[str]:
        """The rules of our own table: what is not allowed there cannot get in, whatever others accept."""
        allow = [f'{_saddr(s)} tcp dport {self.port} accept comment "{MARK}"' for s in self.sources]
        return ['iif "lo" accept', *allow, f'tcp dport {self.port} drop comment "{MARK}"']

    def nft_openings(self, chain: str) -> list[str]:
        """Rules for the top of a chain of the host's own, `family table chain`, that may refuse packets."""
        family = chain.split(maxsplit=1)[0]
        return [
            f'{_saddr(s)} tcp dport {self.port} accept comment "{MARK}"'
            for s in self.sources
            if family == "inet" or (family == "ip") == (ip_network(s).version == 4)
        ]

    def nft_script(self, chains: tuple[str, ...]) -> bytes:
        """A script that puts all our rules in place, first removing what it put there before."""
        table = "\n".join(f"    {rule}" for rule in self.nft_table())
        openings = "\n".join(
            f"nft insert rule {chain} '{rule}'"
            for chain in chains
            for rule in reversed(self.nft_openings(chain))
        )
        return f"""#!/bin/sh
# Written by {MARK}; run at boot by {MARK}-firewall.service.
set -e
nft -f - <<'RULES'
table {TABLE}
delete table {TABLE}
table {TABLE} {{
  chain input {{
    type filter hook input priority -5; policy accept;
{table}
  }}
}}
RULES
nft -a list ruleset | while read -r word name rest; do
  case "$word $name $rest" in
    table*) family=$name; table=${{rest%% *}} ;;
    chain*) chain=$name ;;
    *'comment "{MARK}" # handle '*)
      [ "$family $table" = '{TABLE}' ] || nft delete rule "$family" "$table" "$chain" handle "${{rest##* }}" ;;
  esac
done
{openings}
""".encode()

    def nft_unit(self) -> bytes:
        """The unit that runs the script after the host's own rules, and again whenever those are reloaded."""
        return f"""# Written by {MARK}.
[Unit]
Description=Firewall rules of {MARK}
After=nftables.service
PartOf=nftables.service
Before=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {self.layout.firewall_script}
ExecReload=/bin/sh {self.layout.firewall_script}

[Install]
WantedBy=multi-user.target nftables.service
""".encode()

    def _nftables_differences(self, state: HostState) -> list[Difference]:
        firewall = state.firewall
        files = (
            (self.layout.firewall_script, self.nft_script(firewall.chains)),
            (self.layout.firewall_unit, self.nft_unit()),
        )
        found = []
        for path, content in files:
            found += compare(f"file {path}", "as rendered", _rendered(state.files.get(path), content))
        for place in ("table", *firewall.chains):
            loaded = firewall.loaded.get(place, "")
            rules = self.nft_table() if place == "table" else self.nft_openings(place)
            found += compare(f"rules loaded in {place}", _list(rules), _list(loaded.splitlines()))
        return found


def _rendered(there: FileState | None, content: bytes) -> str | None:
    if there is None:
        return None
    return "as rendered" if there.content == content else "altered"


def _list(rules: list[str]) -> str:
    return "; ".join(rules) or "none"
