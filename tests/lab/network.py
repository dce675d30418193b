"""Three networks in a namespace of the lab's own, IPv4 and IPv6, addresses set from outside.

A "switch" namespace holds one bridge per network. Every host has an interface on each, a client namespace
only on its own, and nothing forwards between them: what a client reaches, it reaches because the host lets
it. The machine that runs the tests has one interface on `lan`, the controller's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from .process import LabError, run
from .slot import Slot

NETWORKS = ("lan", "office", "outside")
"""`lan`: controller, registry, hosts. `office`: clients who may be allowed. `outside`: nobody is."""

CONTROLLER, REGISTRY, CLIENT, FIRST_HOST = 1, 2, 5, 10
"""Host part of an address, the same in every network and for both families."""

SWITCH = "switch"

_POOLS_4 = ("10.213.0.0/16", "172.29.0.0/16", "10.119.0.0/16")
_POOL_6 = "fd0f:1ee7:1ab0::/48"


@dataclass(frozen=True, slots=True)
class Network:
    """One of the lab's networks: /24 and /64."""

    name: str
    prefix4: IPv4Network
    prefix6: IPv6Network

    def address(self, number: int) -> str:
        """The IPv4 address of the machine with that number."""
        return str(self.prefix4[number])

    def address6(self, number: int) -> str:
        """The IPv6 address of the machine with that number."""
        return str(self.prefix6[number])


def plan_networks(slot: Slot) -> dict[str, Network]:
    """Choose prefixes for a slot that overlap with no route of this machine.

    Raises LabError where every pool is taken.
    """
    taken = _routes()
    pool_6 = ip_network(_POOL_6)
    for pool in _POOLS_4:
        fours = list(ip_network(pool).subnets(new_prefix=24))[slot.number * 4 :][: len(NETWORKS)]
        networks = {}
        for offset, (name, four) in enumerate(zip(NETWORKS, fours, strict=True)):
            six = IPv6Network((int(pool_6.network_address) + ((slot.number * 4 + offset) << 64), 64))
            assert isinstance(four, IPv4Network)
            networks[name] = Network(name, four, six)
        if not any(net.prefix4.overlaps(route) for net in networks.values() for route in taken):
            return networks
    raise LabError(f"no free prefix for a lab: {', '.join(_POOLS_4)} all overlap with routes of this machine")


def _routes() -> list[IPv4Network]:
    routes = json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]")
    found = []
    for route in routes:
        destination = route.get("dst", "default")
        if destination != "default" and route.get("type", "unicast") == "unicast":
            found.append(IPv4Network(destination, strict=False))
    return [network for network in found if network.prefixlen > 0]


def make_switch(slot: Slot, networks: dict[str, Network]) -> None:
    """Make the bridges, and the controller's interface on `lan` in this machine's own namespace."""
    switch = slot.netns(SWITCH)
    run(["ip", "netns", "add", switch])
    # Snooping without a querier loses neighbour discovery; a forwarding delay costs seconds per port.
    bridges = [
        f"link add name {name} type bridge forward_delay 0 stp_state 0 mcast_snooping 0\nlink set {name} up"
        for name in networks
    ]
    _batch(switch, ["link set lo up", *bridges])
    outer, inner = slot.controller_interface, "controller"
    lan = networks["lan"]
    run(["ip", "link", "add", "name", outer, "type", "veth", "peer", "name", inner, "netns", switch])
    _batch(switch, [f"link set {inner} master lan up"])
    _batch(None, _addresses(outer, lan, CONTROLLER))


def make_namespace(slot: Slot, name: str, number: int, networks: list[Network]) -> None:
    """Make the network namespace of a host or a client, with an interface called after each of `networks`."""
    netns, switch = slot.netns(name), slot.netns(SWITCH)
    run(["ip", "netns", "add", netns])
    ports = []
    for network in networks:
        port = port_name(number, network.name)
        ports.append(f"link add name {port} type veth peer name {network.name} netns {netns}")
        ports.append(f"link set {port} master {network.name} up")
    _batch(switch, ports)
    _batch(
        netns,
        ["link set lo up"]
        + [line for network in networks for line in _addresses(network.name, network, number)],
    )


def remove_namespace(slot: Slot, name: str) -> None:
    """Remove a machine's network namespace, and with it its cables."""
    run(["ip", "netns", "del", slot.netns(name)])


def port_name(number: int, network: str) -> str:
    """The switch's end of a cable."""
    return f"{network}{number}"


def set_cable(slot: Slot, number: int, networks: list[str], *, plugged: bool) -> None:
    """Plug or pull the cables of one machine at the switch."""
    state = "up" if plugged else "down"
    _batch(slot.netns(SWITCH), [f"link set {port_name(number, name)} {state}" for name in networks])


def _addresses(interface: str, network: Network, number: int) -> list[str]:
    return [
        f"addr add {network.address(number)}/{network.prefix4.prefixlen} dev {interface}",
        # An address under duplicate detection is useless for a second; nobody else is on this network.
        f"addr add {network.address6(number)}/{network.prefix6.prefixlen} dev {interface} nodad",
        f"link set {interface} up",
    ]


def _batch(netns: str | None, lines: list[str]) -> None:
    where = ["-n", netns] if netns else []
    run(["ip", *where, "-batch", "-"], stdin="\n".join(lines) + "\n")
