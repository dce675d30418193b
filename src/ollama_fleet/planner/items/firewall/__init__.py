"""Who may reach the port: rules of ours in the firewall that the host already has."""

from ollama_fleet.planner.firewall_state import ANYWHERE
from ollama_fleet.planner.items.firewall.wanted import WantedFirewall

__all__ = ["ANYWHERE", "WantedFirewall"]
