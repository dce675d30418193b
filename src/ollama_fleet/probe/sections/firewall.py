"""The firewall in charge: which one, whether it is on, and the rules about our port.

ufw's rules are read from its files and nftables' from the kernel: both are quick and neither is localised.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any

from ollama_fleet.planner.items.firewall import ANYWHERE, TABLE
from ollama_fleet.planner.layout import MARK
from ollama_fleet.planner.state import FirewallRule, FirewallState
from ollama_fleet.probe.request import ProbeRequest

FILES = ("/etc/ufw/ufw.conf", "/etc/default/ufw", "/etc/ufw/user.rules", "/etc/ufw/user6.rules")
UFW_TUPLE = re.compile(
    r"^### tuple ### (?P<action>\w+) (?P<protocol>\w+) (?P<port>\S+) \S+ \S+ (?P<source>\S+) (?P<direction>\S+)"
    r"(?: comment=(?P<comment>[0-9a-f]+))?\s*$"
)


def script(request: ProbeRequest) -> str:
    """Print ufw's files if it is installed, and the kernel's rules as JSON unless ufw has made them."""
    if request.layout.scope == "user":
        return ""
    files = "\n".join(
        f'[ -r {path} ] && echo "file {index} $(base64 <{path} | tr -d "\\n")"'
        for index, path in enumerate(FILES)
    )
    return f"""
{files}
grep -qs '^ENABLED=yes' {FILES[0]} || ! command -v nft >/dev/null 2>&1 ||
  echo "nft $(nft -j list ruleset 2>/dev/null | base64 | tr -d '\\n')"
"""


def parse(lines: list[str], units: Mapping[str, Mapping[str, str]]) -> FirewallState:
    """Decide which firewall is in charge and read its rules; ufw wins over firewalld over nftables."""
    files: dict[str, str] = {}
    ruleset: list[dict[str, Any]] | None = None
    for line in lines:
        tag, _, rest = line.partition(" ")
        if tag == "file":
            index, _, encoded = rest.partition(" ")
            files[FILES[int(index)]] = base64.b64decode(encoded).decode(errors="replace")
        elif tag == "nft" and rest:
            ruleset = json.loads(base64.b64decode(rest)).get("nftables", [])
    if not lines:
        return FirewallState()

    def is_active(unit: str) -> bool:
        return units.get(unit, {}).get("ActiveState") == "active"

    if _setting(files.get("/etc/ufw/ufw.conf", ""), "ENABLED") == "yes":
        return _ufw(files)
    if is_active("firewalld.service"):
        return FirewallState("firewalld", active=True)
    if ruleset is not None:
        return _nftables(ruleset, service_active=is_active("nftables.service"))
    return FirewallState("none")


# -- ufw -------------------------------------------------------------------------------------------


def _setting(text: str, key: str) -> str:
    found = re.findall(rf'^\s*{key}\s*=\s*"?(\w*)"?', text, re.MULTILINE)
    return found[-1].lower() if found else ""


def _ufw(files: Mapping[str, str]) -> FirewallState:
    rules = [
        rule
        for path in ("/etc/ufw/user.rules", "/etc/ufw/user6.rules")
        for line in files.get(path, "").splitlines()
        for rule in _ufw_rules(line, six=path.endswith("6.rules"))
    ]
    policy = _setting(files.get("/etc/default/ufw", ""), "DEFAULT_INPUT_POLICY")
    return FirewallState("ufw", active=True, default_deny=policy in ("drop", "reject"), rules=tuple(rules))


def _ufw_rules(line: str, *, six: bool) -> Iterator[FirewallRule]:
    match = UFW_TUPLE.match(line)
    if match is None or not match["direction"].startswith("in") or not match["port"].isdigit():
        return
    comment = bytes.fromhex(match["comment"] or "").decode(errors="replace")
    source = match["source"]
    canonical = ANYWHERE[six] if source in ("0.0.0.0/0", "::/0", "any") else _canonical(source)
    action = "allow" if match["action"] in ("allow", "limit") else "deny"
    yield FirewallRule(int(match["port"]), canonical, action, ours=comment == MARK, text=line)  # type: ignore[arg-type]


def _canonical(source: str) -> str:
    try:
        return str(ip_network(source, strict=False))
    except ValueError:
        return source


# -- nftables --------------------------------------------------------------------------------------


def _nftables(ruleset: list[dict[str, Any]], *, service_active: bool) -> FirewallState:
    """Read tables by the kernel's own JSON.

    A chain of the host's own needs an opening only if it can refuse: by policy, or by a rule that drops,
    rejects or goes elsewhere.
    """
    chains: dict[str, dict[str, Any]] = {}
    rules: dict[str, list[dict[str, Any]]] = {}
    for entry in ruleset:
        if chain := entry.get("chain"):
            if chain.get("hook") == "input":
                chains[f"{chain['family']} {chain['table']} {chain['name']}"] = chain
        elif rule := entry.get("rule"):
            rules.setdefault(f"{rule['family']} {rule['table']} {rule['chain']}", []).append(rule)
    own = f"{TABLE} input"
    refusing = [
        place
        for place, chain in chains.items()
        if place != own and (chain.get("policy") == "drop" or any(map(_may_refuse, rules.get(place, []))))
    ]
    if not service_active and not chains:
        return FirewallState("none")
    loaded = {
        place: "\n".join(_text(rule) for rule in rules.get(place, []) if rule.get("comment") == MARK)
        for place in refusing
    }
    loaded["table"] = "\n".join(_text(rule) for rule in rules.get(own, []))
    return FirewallState(
        "nftables",
        active=True,
        default_deny=any(chains[place].get("policy") == "drop" for place in refusing),
        chains=tuple(refusing),
        loaded=loaded,
    )


def _may_refuse(rule: Mapping[str, Any]) -> bool:
    return any(
        verdict in part for part in rule.get("expr", []) for verdict in ("drop", "reject", "jump", "goto")
    )


def _text(rule: Mapping[str, Any]) -> str:
    """Write a rule as we would have written it; a rule that is not of our making comes out as JSON."""
    words = []
    for part in rule.get("expr", []):
        match = part.get("match")
        if match is not None and match.get("op") == "==":
            words.append(f"{_left(match['left'])} {_right(match['left'], match['right'])}")
        elif len(part) == 1 and (verdict := next(iter(part))) in ("accept", "drop"):
            words.append(verdict)
        elif "counter" not in part:
            words.append(json.dumps(part, sort_keys=True))
    if rule.get("comment"):
        words.append(f'comment "{rule["comment"]}"')
    return " ".join(words)


def _left(left: Mapping[str, Any]) -> str:
    if payload := left.get("payload"):
        return f"{payload.get('protocol')} {payload.get('field')}"
    if meta := left.get("meta"):
        key = str(meta.get("key"))
        return key if key in ("iif", "iifname") else f"meta {key}"
    return json.dumps(left, sort_keys=True)


def _right(left: Mapping[str, Any], right: object) -> str:
    if isinstance(right, dict) and (prefix := right.get("prefix")):
        return f"{prefix['addr']}/{prefix['len']}"
    if isinstance(right, str) and left.get("payload", {}).get("field") == "saddr":
        return _canonical(right)
    if isinstance(right, str) and left.get("meta", {}).get("key") == "iif":
        return f'"{right}"'
    return right if isinstance(right, str) else json.dumps(right, sort_keys=True)
