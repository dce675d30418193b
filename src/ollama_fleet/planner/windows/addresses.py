"""Networks as Windows Defender Firewall takes and shows them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import collapse_addresses, ip_network

ANY = "Any"
_EVERYBODY = frozenset({"0.0.0.0/0", "::/0"})


def written(sources: Iterable[str]) -> list[str]:
    """Return what a rule's remote addresses are to be.

    Everybody of both families is `Any`. A prefix of 0 is not accepted, so everybody of one family is two halves.
    """
    networks = set(sources)
    if networks >= _EVERYBODY:
        return [ANY]
    found = []
    for source in sorted(networks):
        network = ip_network(source)
        halves = [network] if network.prefixlen else list(network.subnets())
        found += [str(half) for half in halves]
    return found


def rewritten(shown: Iterable[str]) -> list[str]:
    """Return what a rule's remote addresses must be set to, to be as `canonical` has told them."""
    found: list[str] = []
    for address in shown:
        try:
            found += written((address,))
        except ValueError:  # a word, or a range
            found.append(address)
    return found or [ANY]


def canonical(addresses: Iterable[str]) -> frozenset[str]:
    """Return one form for what is written and what is shown; words and ranges stay as they are."""
    fours, sixes, words = [], [], set()
    for address in addresses:
        try:
            network = ip_network(address, strict=False)
        except ValueError:
            words.add(address)
            continue
        if network.version == 4:
            fours.append(network)
        else:
            sixes.append(network)
    return frozenset([*words, *map(str, collapse_addresses(fours)), *map(str, collapse_addresses(sixes))])
