"""Names of models where several servers of one host have them: they share one directory, so a name is one model.

Where all servers make the same of a model it has its own name, and so has, where they do not, the form that follows
from no device: with no choice for its kind and nothing left open. Every other form has a tag of its own: the kind of
the devices that it is made for, or, where that does not tell the forms apart, the instance's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.placement import Placement

CPU = "cpu"

Placed = tuple[str, Sequence[Device], Sequence[Placement]]
"""Name of an instance, its devices, its placements."""


def named_apart(instances: Sequence[Placed]) -> list[tuple[Placement, ...]]:
    """Return the placements of each instance, under names that mean the same wherever they stand.

    Raises:
        PlanError: a name that is made up here is that of another model of the host.
    """
    forms: dict[str, list[tuple[dict[str, Any], list[int]]]] = {}
    for number, (_, _, placements) in enumerate(instances):
        for placement in placements:
            known = forms.setdefault(placement.resolved.name, [])
            made = _made(placement)
            for form, users in known:
                if form == made:
                    users.append(number)
                    break
            else:
                known.append((made, [number]))
    tags: dict[tuple[str, int], str] = {}
    for name, known in forms.items():
        if len(known) > 1:
            for same, tag in _tags(name, [users for _, users in known], instances):
                tags.update({(name, number): tag for number in same})
    _check(forms, tags)
    return [
        tuple(_renamed(placement, tags.get((placement.resolved.name, number))) for placement in placements)
        for number, (_, _, placements) in enumerate(instances)
    ]


def tagged(name: str, tag: str) -> ModelName:
    """Return the name of a form of a model."""
    stem, _, own = name.partition(":")
    return ModelName.parse(f"{stem}:{own}-{tag}" if own else f"{stem}:{tag}")


def _made(placement: Placement) -> dict[str, Any]:
    """What a placement makes, but for its name."""
    request = {key: value for key, value in placement.created.request.items() if key != "model"}
    return {"base": placement.base, "request": request}


def _tags(
    name: str, forms: Sequence[Sequence[int]], instances: Sequence[Placed]
) -> Iterator[tuple[Sequence[int], str]]:
    """The tag of each form that gets one; a form is given by the numbers of the instances that have it."""
    special = [users for users in forms if not _as_written(name, instances[users[0]])]
    kinds = [{_kind(instances[number][1]) for number in users} for users in special]
    apart = all(len(found) == 1 for found in kinds) and len(set.union(set(), *kinds)) == len(special)
    for users, found in zip(special, kinds, strict=True):
        yield users, found.pop() if apart else instances[users[0]][0]


def _as_written(name: str, placed: Placed) -> bool:
    """Whether nothing of the model follows from the devices: no choice for their kind, nothing left open."""
    resolved = next(one.resolved for one in placed[2] if one.resolved.name == name)
    of_kind = any(".per_gpu." in origin.path for origin in resolved.origin.values())
    return not of_kind and not resolved.left_open


def _kind(devices: Sequence[Device]) -> str:
    return "-".join(sorted(device.kind or "gpu" for device in devices)) or CPU


def _check(forms: dict[str, Any], tags: dict[tuple[str, int], str]) -> None:
    plain = {ModelName.parse(name): name for name in forms}
    for (name, _), tag in tags.items():
        other = plain.get(tagged(name, tag))
        if other is not None and other != name:
            raise PlanError(
                f"{name} becomes {other} on some instances, and that is another model; rename one"
            )


def _renamed(placement: Placement, tag: str | None) -> Placement:
    if tag is None:
        return placement
    name = tagged(placement.resolved.name, tag)
    created = placement.created
    request = {**created.request, "model": name.short}
    return replace(placement, created=replace(created, model=name, request=request))
