"""The firewall in charge of a host, as plain data: what is kept on disk, and what the kernel has loaded.

Of two firewalls that are both there, the one in charge is ufw before firewalld before the others. Rules of
nftables and those in the legacy tables of iptables may stand side by side: a packet must pass both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal

Network = IPv4Network | IPv6Network
Action = Literal["allow", "limit", "deny"]

Ports = tuple[tuple[int, int], ...]
"""First and last port of each range."""

ANYWHERE = ("0.0.0.0/0", "::/0")
ANY = "any"
"""A source that is everybody, of both families."""
ALL_PORTS = (1, 65535)


@dataclass(frozen=True, slots=True)
class FirewallRule:
    """One rule about TCP connections that come in, whoever made it."""

    action: Action
    source: str
    """A network in canonical form, or `any`; the raw text where it is something else, such as a set."""
    ports: Ports
    ours: bool = False
    plain: bool = True
    """Nothing but a source and a TCP port decides: no interface, no destination, no range."""
    text: str = ""
    """As the firewall's own command takes it."""
    place: str = ""
    """The zone or chain that it stands in, where there are several."""

    def covers(self, port: int) -> bool:
        """Whether the rule is about this port, perhaps among others."""
        return covers(self.ports, port)

    @property
    def key(self) -> tuple[Action, str, Ports]:
        """What makes two rules of ours the same."""
        return (self.action, self.source, self.ports)


@dataclass(frozen=True, slots=True)
class LoadedRule:
    """A rule in the kernel that says nothing but a verdict, a source and one TCP port."""

    action: Action
    source: str
    port: int


@dataclass(frozen=True, slots=True)
class Contact:
    """The SSH connection that read the host, as its sshd sees it."""

    client: str
    """Address that it comes from."""
    port: int
    """Port that it came in by."""

    def is_from(self, source: str) -> bool:
        """Whether it comes from a rule's source; also where that is none that can be understood."""
        return not networks(source) or any(
            network.version == ip_address(self.client).version and ip_address(self.client) in network
            for network in networks(source)
        )


@dataclass(frozen=True, slots=True)
class Listener:
    """Something that listens on a TCP port of an address which is not loopback."""

    port: int
    program: str
    """Its name; empty where it is not known."""


@dataclass(frozen=True, slots=True)
class FirewallState:
    """What every firewall has; by itself: none is there, or nobody could look."""

    backend: Literal["ufw", "nftables", "firewalld", "iptables", "windows", "none", "unknown"] = "unknown"
    active: bool = False
    rules: tuple[FirewallRule, ...] = ()
    """Rules that were understood, in the order in which each place tries them."""
    contact: Contact | None = None
    listeners: tuple[Listener, ...] = ()
    off: tuple[FirewallState, ...] = ()
    """Where nothing shuts anybody out but rules of ours: what could be switched on, best first, as it would be then."""

    @property
    def ssh_ports(self) -> tuple[int, ...]:
        """Ports by which people reach the host's sshd, as far as is known."""
        listening = {one.port for one in self.listeners if one.program == "sshd"}
        return tuple(sorted(listening | ({self.contact.port} if self.contact else set())))


@dataclass(frozen=True, slots=True)
class UfwState(FirewallState):
    """ufw, switched on by its configuration; `active` if its rules are loaded as well."""

    default_deny: bool = True
    """What no rule mentions is refused."""
    ipv6: bool = True
    """It keeps IPv6 rules; otherwise it refuses IPv6 altogether."""
    loaded: frozenset[LoadedRule] | None = None
    """Rules in the kernel; None where they could not be read."""


@dataclass(frozen=True, slots=True)
class NftablesState(FirewallState):
    """Rules in the kernel that no other firewall keeps, whoever loaded them."""

    refusing: Mapping[str, Ports] = field(default_factory=dict)
    """Base chains on the input hook that are not ours and may refuse packets, with the TCP ports it is about.

    A chain is written `family table chain`.
    """
    loaded: Mapping[str, str] = field(default_factory=dict)
    """Our rules as the kernel lists them, one a line: for each chain, and for `table`, our own table."""

    def chains(self, ports: Sequence[int]) -> tuple[str, ...]:
        """The chains that may refuse packets for one of these ports; the order does not depend on the kernel's."""
        return tuple(
            sorted(
                place
                for place, refused in self.refusing.items()
                if any(covers(refused, port) for port in ports)
            )
        )


@dataclass(frozen=True, slots=True)
class LegacyTable:
    """The filter table of one family, as iptables kept it before it learnt to write into nftables."""

    command: str
    """What speaks to it on this host: `iptables-legacy`, or `iptables` where there is no other."""
    policy: str = "ACCEPT"
    """What becomes of incoming packets that no rule decides about."""
    incoming: tuple[str, ...] = ()
    """The rules of INPUT, in order, as `-S` lists them, without the chain."""
    own: tuple[str, ...] | None = None
    """The same of our chain; None where there is none."""


@dataclass(frozen=True, slots=True)
class IptablesState(FirewallState):
    """Rules in the legacy tables that no other firewall keeps, whoever loaded them."""

    tables: Mapping[Literal[4, 6], LegacyTable] = field(default_factory=dict)
    """By IP version; one that this host cannot have is left out."""
    beside: NftablesState | None = None
    """nftables has rules as well."""


@dataclass(frozen=True, slots=True)
class FirewalldState(FirewallState):
    """firewalld, running; `rules` are those of its permanent configuration."""

    zones: tuple[str, ...] = ()
    """Zones that decide about packets now or after the next boot."""
    written: frozenset[str] = frozenset()
    """Zones of which a file says what they are; of others firewalld itself does."""
    refusing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Zones left alone, since they are there to refuse somebody: zone to the sources bound to it."""
    loaded: Mapping[str, tuple[LoadedRule, ...]] | None = None
    """For each zone in the kernel its first rules, in order; None where the kernel cannot be asked."""


def covers(ports: Ports, port: int) -> bool:
    """Whether a port is in one of the ranges."""
    return any(first <= port <= last for first, last in ports)


def networks(source: str) -> tuple[Network, ...]:
    """Return the networks that a rule's source stands for; none where it is something else."""
    if source == ANY:
        return tuple(ip_network(network) for network in ANYWHERE)
    try:
        return (ip_network(source),)
    except ValueError:
        return ()


def canonical(source: str) -> str:
    """Return a network in the one form in which networks are compared; other text as it is."""
    try:
        return str(ip_network(source, strict=False))
    except ValueError:
        return source
