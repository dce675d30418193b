"""What a host must show after a change before the change counts and the next hosts get it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.listed import by_name
from ollama_fleet.checks.placement import try_placement
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.placement import Placement

TRIED_FOR = "1m"
"""How long a model that is not to be preloaded stays, should nobody take it out of memory."""


def gate(server: Ollama, plan: HostPlan, placements: Collection[Placement]) -> str | None:
    """Return what is wrong with a host's server, or None: its version, and each placement's load, answer and place.

    Models that are not to be preloaded come first and leave memory again, unless they were there already, so that
    in the end the memory holds what it should. The first failure ends it: the host is to go back soon.

    Args:
        server: of the host, already answering.
        plan: of the host.
        placements: those that the change may have touched.
    """
    try:
        version = server.version()
        if version != plan.release.version:
            return f"the server says version {version}, wanted {plan.release.version}"
        there = by_name(server.loaded())
        keep = {item.model: item.keep_alive_value for item in plan.loaded}
        for placement in sorted(placements, key=lambda placement: placement.created.model in keep):
            model = placement.created.model
            tried = try_placement(server, placement, keep_alive=keep.get(model, TRIED_FOR), partly=False)
            if not tried.ok:
                return "; ".join(tried.failures)
            if model not in keep and model not in there:
                with contextlib.suppress(ApiError):
                    server.unload(placement.created.name)
    except ApiError as error:
        return str(error)
    return None
