"""What an apply would change on a host, line by line: the same words in a dry run, an apply and `drift`."""

from __future__ import annotations

from collections.abc import Iterator

from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.state import HostState


def change_lines(plan: HostPlan, state: HostState) -> Iterator[str]:
    """Yield one line per aspect that differs, then what is only told."""
    for item, found in plan.differences(state):
        for difference in found:
            yield f"{item.kind} {item.name}: {difference}"
    for instance in plan.instances:
        service = instance.service
        if service.restart_because and instance.sees(state).service.active == "active":
            yield f"service {service.name}: restart for the new {', '.join(service.restart_because)}"
    for remark in plan.told:
        yield f"note: {remark}"
