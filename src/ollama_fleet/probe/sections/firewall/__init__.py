"""The firewall in charge: which one, whether it is on, and the rules about TCP ports.

ufw's and firewalld's rules are read from their files, and all are looked for in the kernel: both are quick, and
neither is localised, unlike the commands of ufw (0.2 s) and firewalld (0.3 s).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ollama_fleet.planner.firewall_state import FirewallState, NftablesState
from ollama_fleet.planner.items.firewall.at_boot import NAME
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.sections.firewall import contact, firewalld, iptables, nftables, ufw
from ollama_fleet.probe.sections.firewall.ruleset import Ruleset

FILES = (*ufw.FILES, *firewalld.FILES)
TOOLS = ("ufw", "firewall-offline-cmd", "nft")


def script(request: ProbeRequest) -> str:
    """Print the firewalls' files; then ufw's chains if it is on, else all that the kernel has loaded."""
    if request.layout.scope == "user":
        return ""
    return f"""
echo looked
for path in {" ".join(FILES)}; do
  [ -f "$path" ] && [ -r "$path" ] && echo "file $path $(base64 <"$path" | tr -d '\\n')"
done
if grep -qs '^ENABLED=[yY][eE][sS]' {ufw.FILES[0]}; then
  for six in '' 6; do
    loaded=$(ip${{six}}tables -S ufw$six-user-input 2>/dev/null) &&
      echo "ufw$six $(echo "$loaded" | base64 | tr -d '\\n')"
  done
else
  command -v nft >/dev/null 2>&1 && echo "nft $(nft -j list ruleset 2>/dev/null | base64 | tr -d '\\n')"
  {iptables.script(request.layout)}
fi
{contact.SCRIPT}
for tool in {" ".join(TOOLS)}; do command -v $tool >/dev/null 2>&1 && echo "installed-$tool"; done
"""


def parse(lines: list[str], units: Mapping[str, Mapping[str, str]]) -> FirewallState:
    """Decide which firewall is in charge and read its rules; ufw wins over firewalld over the others."""
    files, texts = _told(lines)
    if "looked" not in texts:
        return FirewallState()
    found = _in_charge(files, texts, units)
    return replace(
        found,
        contact=contact.contact(texts.get("ssh", "")),
        listeners=contact.listeners(texts.get("listeners", "")),
        off=tuple(_off(files, texts, found)) if _shuts_nobody_out(found, units) else (),
    )


def _shuts_nobody_out(found: FirewallState, units: Mapping[str, Mapping[str, str]]) -> bool:
    """None is active, or there is nothing but chains that let all in, as ufw and Docker leave them, and our own."""
    if isinstance(found, NftablesState):
        return not found.refusing and units.get("nftables.service", {}).get("ActiveState") != "active"
    return not found.active


def _off(files: Mapping[str, str], texts: Mapping[str, str], found: FirewallState) -> Iterator[FirewallState]:
    if "installed-ufw" in texts:
        yield replace(ufw.parse(files, None, None), loaded=None)
    if "installed-firewall-offline-cmd" in texts:
        yield replace(firewalld.parse(files, None), active=False)
    if "installed-nft" in texts:
        yield found if isinstance(found, NftablesState) else NftablesState("nftables")


def _told(lines: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What the script printed: files by path, and the rest by tag."""
    files: dict[str, str] = {}
    texts: dict[str, str] = {}
    for line in lines:
        tag, _, rest = line.partition(" ")
        if tag == "file":
            path, _, encoded = rest.rpartition(" ")
            files[path] = _decode(encoded)
        else:
            texts[tag] = _decode(rest)
    return files, texts


def _in_charge(
    files: Mapping[str, str], texts: Mapping[str, str], units: Mapping[str, Mapping[str, str]]
) -> FirewallState:
    def is_active(unit: str) -> bool:
        return units.get(unit, {}).get("ActiveState") == "active"

    if ufw.is_on(files):
        return ufw.parse(files, texts.get("ufw"), texts.get("ufw6"))
    ruleset = Ruleset.parse(texts["nft"]) if texts.get("nft") else None
    if is_active("firewalld.service"):
        return firewalld.parse(files, ruleset)
    ours_active = is_active(NAME)
    legacy = iptables.parse(texts, ours_active=ours_active)
    if ruleset is None:
        return legacy or FirewallState("none")
    # A flush throws our rules away too. That our unit has loaded them tells that they belong there.
    loads = is_active("nftables.service") or (ours_active and legacy is None)
    found = nftables.parse(ruleset, loads=loads)
    return found if legacy is None else iptables.beside(legacy, found, loads=loads)


def _decode(encoded: str) -> str:
    return base64.b64decode(encoded).decode(errors="replace")
