"""What keeps a host from having a plan."""

from __future__ import annotations


class PlanError(Exception):
    """One line: what is wrong, where it was written, and what to do."""
