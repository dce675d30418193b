"""What a survey brings back of one host. A file of its own, since importing the survey patches sockets for gevent."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.state import HostState


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What was found of one host: its plan and state, or why there is none."""

    host: str
    plan: HostPlan | None
    state: HostState | None
    error: str | None
