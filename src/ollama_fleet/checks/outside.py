"""The port as this machine sees it: open where it should be, and shut where it should not be.

This machine is the only place outside the host where anything of ours runs. What other networks see follows from
the firewall's rules, which are compared elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from pyinfra.api.host import Host

from ollama_fleet.api.through import ends, ssh_transport
from ollama_fleet.checks import reach
from ollama_fleet.checks.door import try_door
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.items.access import WantedAccess
from ollama_fleet.planner.state import HostState


@dataclass(frozen=True, slots=True)
class Look:
    """What is wrong, if anything, and what was or could not be tried; one line each."""

    problem: str | None
    told: str


def look(host: Host, plan: HostPlan, state: HostState, *, closed_too: bool) -> Look:
    """Try the port from here.

    Args:
        host: connected.
        plan: who should get through.
        state: whether a firewall is on.
        closed_too: also try a port that should be shut, which takes seconds where packets are dropped.
    """
    transport = ssh_transport(host)
    if transport is None:
        return Look(None, "the port was not tried from outside: the host is this machine")
    seen = ends(transport)
    if seen is None:
        return Look(
            None, "the port was not tried from outside: this machine sees the host only through another"
        )
    own, other = seen
    if isinstance(plan.access, WantedAccess) and not ip_address(plan.access.address).is_loopback:
        return _look_at_door(plan, state, plan.access, own, other, closed_too=closed_too)
    if plan.loopback_only:
        where, should_open, words = other, False, reach.LOOPBACK_ONLY
    else:
        where = other if ip_address(plan.address).is_unspecified else plan.address
        guarded = plan.firewall is not None and state.firewall.active
        should_open = not guarded or plan.firewall is None or reach.may_reach(own, plan.firewall.sources)
        words = reach.UNCOVERED
    if not should_open and not closed_too:
        return Look(None, f"the port was not tried from {own}, which should not get through")
    if should_open:
        problem = reach.greet(where, plan.port)
        if problem and plan.firewall is None:
            problem += "; without root no firewall is touched, ask an administrator to open the port"
    else:
        problem = reach.shut(where, plan.port, words)
    found = bool(problem) != should_open
    return Look(
        problem,
        f"tried from {own} alone: the port is {'open' if found else 'shut'}, "
        f"and should be {'open' if should_open else 'shut'}",
    )


def _look_at_door(
    plan: HostPlan, state: HostState, door: WantedAccess, own: str, other: str, *, closed_too: bool
) -> Look:
    """The server itself must be shut; its front door open to those who may knock."""
    where = other if ip_address(door.address).is_unspecified else door.address
    round_it = reach.shut(other, plan.port, reach.LOOPBACK_ONLY) if closed_too else None
    guarded = plan.firewall is not None and state.firewall.active
    may_knock = not guarded or plan.firewall is None or reach.may_reach(own, plan.firewall.sources)
    problem = None
    if may_knock:
        problem = try_door(door, where)
    elif closed_too:
        problem = reach.shut(where, door.port)
    should = "open" if may_knock else "shut"
    found = should if problem is None else "not as it should be"
    return Look(
        round_it or problem, f"tried from {own} alone: the front door is {found}, and should be {should}"
    )
