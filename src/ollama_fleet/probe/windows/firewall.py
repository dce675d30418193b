"""Windows Defender Firewall: its profiles, and the inbound rules about TCP ports or ollama.exe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ollama_fleet.planner.layout import MARK
from ollama_fleet.planner.windows.addresses import canonical
from ollama_fleet.planner.windows.state import WindowsFirewallState, WindowsRule
from ollama_fleet.probe.request import ProbeRequest


def script(_: ProbeRequest) -> str:
    """Set `firewall`.

    The filters are read in three calls for all rules together: one call for each rule would take minutes. Only what
    names a port, ollama.exe or us is looked at closer.
    """
    return f"""
$rules = @{{}}
foreach ($filter in @(Get-NetFirewallPortFilter -Protocol TCP)) {{
  $ports = @($filter.LocalPort | ForEach-Object {{ [string]$_ }})
  if ($ports.Count -gt 0 -and $ports -notcontains 'Any') {{
    $rules[$filter.InstanceID] = @{{ ports = $ports; program = 'Any' }}
  }}
}}
foreach ($filter in @(Get-NetFirewallApplicationFilter)) {{
  if ($filter.Program -like '*\\ollama.exe') {{
    if (-not $rules[$filter.InstanceID]) {{ $rules[$filter.InstanceID] = @{{ ports = @('Any') }} }}
    $rules[$filter.InstanceID].program = [string]$filter.Program
  }} elseif ($filter.Program -ne 'Any' -and $rules[$filter.InstanceID]) {{
    $rules[$filter.InstanceID].program = [string]$filter.Program
  }}
}}
$shown = @(Get-NetFirewallRule | Where-Object {{
  [string]$_.Direction -eq 'Inbound' -and ($rules[$_.InstanceID] -or $_.Name -like '{MARK}-*')
}})
$addresses = @{{}}
foreach ($filter in @($shown | Get-NetFirewallAddressFilter)) {{
  $addresses[$filter.InstanceID] = @($filter.RemoteAddress | ForEach-Object {{ [string]$_ }})
}}
$profiles = @(Get-NetFirewallProfile -PolicyStore ActiveStore)
$r.firewall = @{{
  profiles = @($profiles | ForEach-Object {{
    $local = [string]$_.AllowLocalFirewallRules -ne 'False'
    @{{ name = $_.Name; on = ([string]$_.Enabled -eq 'True'); local = $local }}
  }})
  rules = @($shown | ForEach-Object {{
    @{{
      name = [string]$_.Name
      display = [string]$_.DisplayName
      description = [string]$_.Description
      action = [string]$_.Action
      enabled = ([string]$_.Enabled -eq 'True')
      profiles = [string]$_.Profile
      ports = @($rules[$_.InstanceID].ports)
      program = [string]$rules[$_.InstanceID].program
      sources = @($addresses[$_.InstanceID])
    }}
  }})
}}"""


def parse(found: Mapping[str, Any]) -> WindowsFirewallState:
    """Read `firewall`; rules are kept in the order of their names."""
    profiles = found["profiles"]
    rules = sorted((_rule(item) for item in found["rules"]), key=lambda rule: rule.name)
    return WindowsFirewallState(
        backend="windows",
        active=any(profile["on"] for profile in profiles),
        windows_rules=tuple(rules),
        local_rules=all(profile["local"] for profile in profiles),
    )


def _rule(item: Mapping[str, Any]) -> WindowsRule:
    return WindowsRule(
        name=str(item["name"]),
        display=str(item["display"]),
        description=str(item["description"]),
        allows=item["action"] == "Allow",
        enabled=bool(item["enabled"]),
        profiles=frozenset(name.strip() for name in str(item["profiles"]).split(",")),
        ports=tuple(str(port) for port in item["ports"] if port),
        sources=tuple(sorted(canonical(str(source) for source in item["sources"] if source))),
        program=str(item["program"] or "Any"),
    )
