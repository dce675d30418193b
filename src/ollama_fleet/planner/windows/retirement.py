"""What goes when a Windows host leaves the fleet, what is put back, and what stays since it is not ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ollama_fleet.planner.items.windows.firewall import WindowsFirewall
from ollama_fleet.planner.layout import MARK, Layout
from ollama_fleet.planner.prune import HALF
from ollama_fleet.planner.retirement import Models, models_going, models_of, models_staying
from ollama_fleet.planner.sizes import size_words
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows.before import BeforeWindows
from ollama_fleet.planner.windows.plan import variable_names
from ollama_fleet.planner.windows.state import WindowsRule
from ollama_fleet.spec.hosts import HostSpec


@dataclass(frozen=True, slots=True)
class WindowsRetirement:
    """What is to be taken off a host. Empty `goes` is a host that has nothing of ours."""

    layout: Layout
    tasks: tuple[str, ...]
    """Names of our scheduled tasks."""
    rules: tuple[WindowsRule, ...]
    """Of ours, to be removed."""
    rules_back: tuple[WindowsRule, ...]
    """Made by hand and adopted: as they are to be."""
    variables: Mapping[str, str | None]
    """Values to set; None removes."""
    links: tuple[str, ...]
    """Startup links to put back."""
    releases: tuple[str, ...]
    models: Models
    models_whole: bool
    """The models directory goes with all that is in it."""
    directories: tuple[str, ...]
    """Those made by us, deepest first: they go if nothing is left in them."""
    goes: tuple[str, ...]
    stays: tuple[str, ...]


def windows_retirement(
    spec: HostSpec, state: HostState, layout: Layout, *, keep_models: bool = False, all_models: bool = False
) -> WindowsRetirement:
    """Decide what goes. Arguments as for `retirement` of the other hosts."""
    before = BeforeWindows.of(state, layout)
    windows = state.windows
    there = ("", *state.instances)
    own = [layout.for_instance(name) if name else layout for name in there]
    tasks = tuple(
        one.task for one in own if windows is not None and windows.task_of(one.instance) is not None
    )
    rules = WindowsFirewall((spec.listen.port,), (), layout, present=False).leftovers(state)
    made = tuple(rule for rule in rules if rule.name.startswith(f"{MARK}-"))
    adopted = tuple(_as_before(rule, before) for rule in rules if rule not in made)
    ours = bool(tasks) or layout.state in state.files
    variables = _variables(spec, state, before) if ours else {}
    links = (
        tuple(link for link in before.links if all(s.startup_link != link for s in windows.setups))
        if windows
        else ()
    )
    releases = tuple(
        name for name, there in sorted(state.release.versions.items()) if there.stamp or HALF.fullmatch(name)
    )
    models = models_of(spec, state, keep_models=keep_models, all_models=all_models)
    made_by_us = [path for path in layout.places() if path in before.absent and path in state.files]
    whole = models.all_go and layout.models in made_by_us
    goes = [
        *(
            f"service {one.service.removesuffix('.service')}: stopped, the task \\Fleet\\{one.task} removed"
            for one in own
            if one.task in tasks
        ),
        *(f"firewall rule {rule.display!r}" for rule in made),
        *(f"firewall rule {rule.display!r}, made by hand: as it was before" for rule in adopted),
        *(_variable_words(name, value) for name, value in variables.items()),
        *(f"{link}, which is put back" for link in links),
        *(f"release {name} ({size_words(state.release.versions[name].size)})" for name in releases),
        *models_going(models, state),
        *([f"directory {layout.models} with all that is in it"] if whole else []),
        *([f"directory {layout.state} with all that is in it"] if layout.state in state.files else []),
    ]
    return WindowsRetirement(
        layout=layout,
        tasks=tasks,
        rules=made,
        rules_back=adopted,
        variables=variables,
        links=links,
        releases=releases,
        models=models,
        models_whole=whole,
        directories=tuple(
            sorted({*made_by_us, layout.releases, layout.root}, key=lambda p: (-p.count("\\"), p))
        ),
        goes=tuple(goes),
        stays=tuple(_stays(state, layout, models, variables)),
    )


def _as_before(rule: WindowsRule, before: BeforeWindows) -> WindowsRule:
    """The rule as somebody has made it; where nobody knows, as it is, but no longer marked as ours."""
    noted = next((known for known in before.rules if known.name == rule.name), None)
    return noted or replace(rule, description="")


def _variables(spec: HostSpec, state: HostState, before: BeforeWindows) -> dict[str, str | None]:
    there = state.windows.variables if state.windows else {}
    names = dict.fromkeys(
        [*(name for name in sorted(variable_names(spec)) if name in there), *before.variables]
    )
    return {
        name: before.variables.get(name) for name in names if there.get(name) != before.variables.get(name)
    }


def _variable_words(name: str, value: str | None) -> str:
    return f"variable {name}" if value is None else f"variable {name}: back to {value}"


def _stays(
    state: HostState, layout: Layout, models: Models, variables: Mapping[str, str | None]
) -> Iterator[str]:
    windows = state.windows
    for setup in windows.setups if windows else ():
        yield f"{setup.program}, which is not ours"
    for name in sorted(windows.variables if windows else ()):
        if name not in variables:
            yield f"variable {name}, which is not ours"
    yield from models_staying(models, layout)
