"""The front door: a proxy that lets in who has a token."""

from ollama_fleet.planner.items.access.door import NoAccess, WantedAccess, listens_on

__all__ = ["NoAccess", "WantedAccess", "listens_on"]
