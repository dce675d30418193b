"""Where links lie that were taken out of a user's Startup folder, until they are put back."""

from __future__ import annotations

from hashlib import sha256

from ollama_fleet.planner.layout import Layout


def kept_link(layout: Layout, link: str) -> str:
    """Path of a Startup link that was put aside."""
    return layout.below(layout.state, f"startup-{sha256(link.casefold().encode()).hexdigest()[:16]}.lnk")
