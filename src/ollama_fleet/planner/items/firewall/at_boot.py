"""Rules that nobody else keeps on disk: a script that loads ours, and the unit that runs it at boot.

So it is for nftables and for the legacy tables of iptables. What the host has to load its own rules with, such as
`/etc/nftables.conf` or `netfilter-persistent`, is not touched: who saves there what is loaded would save rules that
others made for a while only. The unit runs after it, and again whenever those rules are loaded anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.firewall_state import IptablesState, NftablesState
from ollama_fleet.planner.items.firewall import iptables, nftables
from ollama_fleet.planner.layout import MARK, Layout
from ollama_fleet.planner.state import FileState

NAME = f"{MARK}-firewall.service"
LOADERS = "nftables.service netfilter-persistent.service iptables.service ip6tables.service"
LEGACY_LOADERS = "netfilter-persistent.service iptables.service ip6tables.service"


def script(ports: Sequence[int], sources: Sequence[str], state: NftablesState | IptablesState) -> bytes:
    """A script that puts all our rules in place, as often as it is run."""
    beside = state.beside if isinstance(state, IptablesState) else state
    parts = [f"#!/bin/sh\n# Written by {MARK}; run at boot by {NAME}.\nset -e\n"]
    if isinstance(state, IptablesState):
        parts.append(iptables.loading(ports, sources, state.tables))
    if beside is not None:
        parts.append(nftables.loading(ports, sources, beside.chains(ports)))
    return "".join(parts).encode()


def unit(layout: Layout, state: NftablesState | IptablesState) -> bytes:
    """The unit that runs the script after the host's own rules, and again whenever those are loaded anew."""
    followed = "nftables.service" if isinstance(state, NftablesState) else LEGACY_LOADERS
    if isinstance(state, IptablesState) and state.beside is not None:
        followed = LOADERS
    return f"""# Written by {MARK}.
[Unit]
Description=Firewall rules of {MARK}
After={LOADERS}
PartOf={followed}
ReloadPropagatedFrom={followed}
Before=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {layout.firewall_script}
ExecReload=/bin/sh {layout.firewall_script}

[Install]
WantedBy=multi-user.target {followed}
""".encode()


def differences(
    ports: Sequence[int],
    sources: Sequence[str] | None,
    state: NftablesState | IptablesState,
    files: Mapping[str, FileState],
    layout: Layout,
) -> list[Difference]:
    """Compare script and unit on disk, then the rules in the kernel; `sources` None for no rules of ours at all."""
    found = []
    if sources is None:
        found += leftovers(files, layout)
    else:
        contents = (
            (layout.firewall_script, script(ports, sources, state)),
            (layout.firewall_unit, unit(layout, state)),
        )
        for path, content in contents:
            found += compare(f"file {path}", "as rendered", _rendered(files.get(path), content))
    if isinstance(state, NftablesState):
        return found + nftables.differences(ports, sources, state)
    found += iptables.differences(ports, sources, state.tables)
    return found if state.beside is None else found + nftables.differences(ports, sources, state.beside)


def leftovers(files: Mapping[str, FileState], layout: Layout) -> list[Difference]:
    """Files of ours that would load rules at the next boot, where none are wanted."""
    paths = (layout.firewall_script, layout.firewall_unit)
    return [Difference(f"file {path}", "absent", "present") for path in paths if path in files]


def _rendered(there: FileState | None, content: bytes) -> str | None:
    if there is None:
        return None
    return "as rendered" if there.content == content else "altered"
