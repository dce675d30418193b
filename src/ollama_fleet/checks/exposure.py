"""What lets more people in, or lets them see more, than a careful administrator would: each with its remedy. Pure.

None of it stops an apply, since it may be wanted; it is told each time that somebody looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from ollama_fleet.artifacts.releases import ReleaseError
from ollama_fleet.checks.doctor.vulnerabilities import vulnerabilities_of
from ollama_fleet.planner.firewall_state import UfwState, networks
from ollama_fleet.planner.items.firewall import ANYWHERE
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.ollama_host import address_of
from ollama_fleet.planner.state import HostState
from ollama_fleet.spec.addresses import DEFAULT_LISTEN

ORIGINS = "OLLAMA_ORIGINS"
_EVERY_ORIGIN = re.compile(r"(https?://)?\*(:\*)?")
_ORIGINS_OF_OTHERS = re.compile(rf"{ORIGINS}=([^\s\"']*)")
READABLE_BY_ALL = 0o004
SHOWN = 2
"""Vulnerabilities that are named of a release that has many."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One thing that is open: which check found it, what it is, and what to do about it, one line each."""

    check: str
    text: str
    remedy: str


def exposures(
    state: HostState,
    layout: Layout,
    *,
    address: str,
    port: int,
    sources: Sequence[str],
    environment: Mapping[str, str],
    release: str,
) -> list[Exposure]:
    """Look at what is asked for and at what is there.

    Args:
        state: of the host.
        layout: with the home directory filled in.
        address: what the server is to listen on.
        port: on which port.
        sources: networks that may reach it; none where nothing says who.
        environment: the server's variables, as asked for.
        release: the version that is asked for.
    """
    return [
        *_port(state, address, port, sources),
        *_origins(state, environment),
        *_release(state, release),
        *_secrets(state, layout),
    ]


def readable_files(paths: Sequence[str]) -> list[Exposure]:
    """Say of secret files on this machine, those that everybody may read, what to do."""
    return [
        Exposure("secrets", f"everybody on this machine may read {path}", f"`chmod 600 {path}`")
        for path in paths
    ]


def _port(state: HostState, address: str, port: int, sources: Sequence[str]) -> Iterator[Exposure]:
    listen = (state.service.environment or {}).get("OLLAMA_HOST", f"{address}:{port}")
    if not _is_loopback(address):
        everybody = [source for source in sources if ip_network(source).prefixlen == 0]
        wide = f"fleet.yaml lets everybody reach port {port}" if everybody else ""
        if not state.firewall.active:
            guard = "no firewall" if state.firewall.backend != "unknown" else "no firewall that can be seen"
            wide = f"{guard} guards port {port}: whoever reaches the host may use and change its models"
        if wide:
            remedy = "write access: with tokens, or firewall.allow_from with a firewall that is on"
            yield Exposure("port", wide, remedy)
        yield from _opened_by_others(state, port, sources)
    for other in state.service.others:
        there = other.listen or str(DEFAULT_LISTEN)
        if there != listen and not _is_loopback(address_of(there)):
            owner = other.unit or f"process {other.pid}"
            yield Exposure(
                "port",
                f"another Ollama ({owner}) listens on {there}, beside the one of fleet.yaml",
                "stop it, or let it listen on 127.0.0.1",
            )


def _opened_by_others(state: HostState, port: int, sources: Sequence[str]) -> Iterator[Exposure]:
    """ufw takes the first rule that matches, whoever made it; in the other firewalls ours come first."""
    if not isinstance(state.firewall, UfwState) or set(ANYWHERE) <= set(sources):
        return
    for rule in state.firewall.rules:
        wide = any(network.prefixlen == 0 for network in networks(rule.source))
        if not rule.ours and rule.action != "deny" and rule.covers(port) and wide:
            yield Exposure(
                "port",
                f"a firewall rule of somebody else opens port {port} to everybody: {rule.text}",
                f"`ufw delete {rule.text}`",
            )


def _origins(state: HostState, environment: Mapping[str, str]) -> Iterator[Exposure]:
    remedy = "name the origins of the pages that may, or leave OLLAMA_ORIGINS out"
    asked = environment.get(ORIGINS, "")
    running = (state.service.environment or {}).get(ORIGINS, "")
    if _every_origin(asked) or _every_origin(running):
        where = "fleet.yaml sets" if _every_origin(asked) else "the running server has"
        yield Exposure("origins", f"{where} {ORIGINS} to *: any web page may use the models", remedy)
    for path, text in state.service.foreign_drop_ins.items():
        if any(_every_origin(value) for value in _ORIGINS_OF_OTHERS.findall(text)):
            yield Exposure("origins", f"{path} sets {ORIGINS} to *: any web page may use the models", remedy)


def _every_origin(value: str) -> bool:
    return any(_EVERY_ORIGIN.fullmatch(origin.strip()) for origin in value.split(","))


def _release(state: HostState, wanted: str) -> Iterator[Exposure]:
    there = state.release.current or (state.release.foreign.version if state.release.foreign else None)
    for version, words in ((wanted, "fleet.yaml asks for"), (there, "the host has")):
        if version is None or (version == wanted and words == "the host has"):
            continue
        try:
            found = vulnerabilities_of(version)
        except ReleaseError:
            continue
        if found:
            told = "; ".join(f"{one.cve}: {one.what} ({one.source})" for one in found[-SHOWN:])
            remedy = (
                f"ask for {found[-1].fixed} or newer" if version == wanted else f"an apply brings {wanted}"
            )
            yield Exposure("release", f"{words} Ollama {version}: {told}", remedy)


def _secrets(state: HostState, layout: Layout) -> Iterator[Exposure]:
    path = layout.environment
    there = state.files.get(path)
    if there is not None and there.kind == "file" and there.mode & READABLE_BY_ALL:
        text = f"everybody on the host may read {path}, which holds the server's variables and its secrets"
        yield Exposure("secrets", text, f"an apply mends it; at once: `chmod 600 {path}`")


def _is_loopback(address: str) -> bool:
    if address.startswith("localhost"):
        return True
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
