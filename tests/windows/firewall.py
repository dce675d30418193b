"""Windows Defender Firewall, as the NetSecurity cmdlets show it. A stand-in: nothing is filtered."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network
from typing import Any

from windows.values import NotModelledError, PsEnum, PsObject, ThrownError, each, text

ENABLED = {"True": PsEnum("True", 1), "False": PsEnum("False", 2)}
ACTION = {"Allow": PsEnum("Allow", 2), "Block": PsEnum("Block", 4)}
DIRECTION = {"Inbound": PsEnum("Inbound", 1), "Outbound": PsEnum("Outbound", 2)}
PROFILES = {"Domain": 1, "Private": 2, "Public": 4}


@dataclass
class Rule:
    """A rule of the local store."""

    name: str
    display: str
    description: str = ""
    action: str = "Allow"
    direction: str = "Inbound"
    enabled: bool = True
    profiles: list[str] = field(default_factory=list)
    """None of them is Any."""
    protocol: str = "Any"
    ports: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    program: str = "Any"

    def shown(self) -> PsObject:
        """As Get-NetFirewallRule gives it."""
        number = sum(PROFILES[name] for name in self.profiles)
        return PsObject(
            "MSFT_NetFirewallRule",
            {
                "Name": self.name,
                "InstanceID": self.name,
                "DisplayName": self.display,
                "Description": self.description or None,
                "Action": ACTION[self.action],
                "Direction": DIRECTION[self.direction],
                "Enabled": ENABLED[str(self.enabled)],
                "Profile": PsEnum(", ".join(self.profiles) or "Any", number),
            },
        )

    def change(self, given: dict[str, Any]) -> None:
        """Set what the parameters of New- and Set-NetFirewallRule say."""
        for key, value in given.items():
            if key == "description":
                self.description = text(value)
            elif key in ("displayname", "newdisplayname"):
                self.display = text(value)
            elif key == "action":
                self.action = _word(text(value), ACTION)
            elif key == "direction":
                self.direction = _word(text(value), DIRECTION)
            elif key == "enabled":
                self.enabled = _word(text(value), ENABLED) == "True"
            elif key == "profile":
                words = [_word(text(item), {**PROFILES, "Any": 0}) for item in each(value)]
                self.profiles = [] if words == ["Any"] else sorted(words, key=PROFILES.__getitem__)
            elif key == "protocol":
                self.protocol = text(value).upper() if text(value).lower() in ("tcp", "udp") else text(value)
            elif key == "localport":
                self.ports = [text(item) for item in each(value)]
            elif key == "remoteaddress":
                self.addresses = [_address(text(item)) for item in each(value)]
            elif key == "program":
                self.program = text(value)
            else:
                raise NotModelledError(f"a rule's {key}")
        if self.ports and self.protocol not in ("TCP", "UDP"):
            raise ThrownError("The port is only valid if the protocol is TCP or UDP.")


def _word(word: str, known: dict[str, Any]) -> str:
    found = next((name for name in known if name.lower() == word.lower()), None)
    if found is None:
        raise ThrownError(f"Cannot convert value {word!r}; possible are {', '.join(known)}")
    return found


def _address(word: str) -> str:
    """An address as the firewall shows it: IPv4 networks with a mask."""
    if word.lower() in ("any", "localsubnet"):
        return {"any": "Any", "localsubnet": "LocalSubnet"}[word.lower()]
    try:
        network = ip_network(word, strict=False)
    except ValueError:
        raise ThrownError(f"The address {word!r} is invalid.") from None
    if network.prefixlen == 0:
        raise ThrownError("The address is invalid: a prefix of 0 is not accepted.")
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return network.with_netmask if isinstance(network, IPv4Network) else str(network)


@dataclass
class Firewall:
    """The local store and the profiles."""

    rules: dict[str, Rule] = field(default_factory=dict)
    enabled: bool = True
    local_rules: bool = True
    """False where a group policy shuts local rules out."""

    def find(self, given: dict[str, Any]) -> list[Rule]:
        """Rules by -Name or -DisplayName; all without either."""
        if "name" in given:
            names = [text(name).lower() for name in each(given["name"])]
            found = [rule for rule in self.rules.values() if rule.name.lower() in names]
        elif "displayname" in given:
            names = [text(name).lower() for name in each(given["displayname"])]
            found = [rule for rule in self.rules.values() if rule.display.lower() in names]
        else:
            return list(self.rules.values())
        if not found and text(given.get("erroraction")).lower() != "silentlycontinue":
            raise ThrownError("No MSFT_NetFirewallRule objects found")
        return found

    def new(self, given: dict[str, Any]) -> Rule:
        """New-NetFirewallRule."""
        wanted = dict(given)
        name = text(wanted.pop("name", f"{{{len(self.rules):08d}-0000-4000-8000-000000000000}}"))
        if name.lower() in {other.lower() for other in self.rules}:
            raise ThrownError("Cannot create a file when that file already exists.")
        rule = Rule(name, text(wanted["displayname"]))
        rule.change(wanted)
        self.rules[name] = rule
        return rule
