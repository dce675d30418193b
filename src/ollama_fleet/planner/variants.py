"""Names of models where several servers of one host have them: they share one directory, so a name is one model.

Where all servers make the same of a model it has its own name. Where they do not, that is the name of the form which
follows from no device, with no choice for its kind and nothing left open, or else of the only one that several kinds of
devices have in common. Every other form has a tag of its own: the kind of the devices that it is made for, or, where
that does not tell the forms apart, the instance's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.decision import Decision
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.spec.model_request import ResolvedModel
from ollama_fleet.spec.names import CPU


class Made(Protocol):
    """A model as asked for and as decided, on one instance."""

    @property
    def resolved(self) -> ResolvedModel:
        """As asked for."""
        ...

    @property
    def decision(self) -> Decision:
        """As decided."""
        ...


Placed = tuple[str, Sequence[Device], Sequence[Made]]
"""Name of an instance, its devices, its models."""


def names_of(instances: Sequence[Placed]) -> list[tuple[ModelName, ...]]:
    """Return, for each instance and each of its models, the name that means the same wherever it stands.

    Raises:
        PlanError: a name that is made up here is that of another model of the host.
    """
    forms: dict[str, list[tuple[Any, list[int]]]] = {}
    for number, (_, _, models) in enumerate(instances):
        for model in models:
            known = forms.setdefault(model.resolved.name, [])
            made = _form(model)
            same = next((found for form, found in known if form == made), None)
            if same is None:
                known.append((made, [number]))
            else:
                same.append(number)
    tags: dict[tuple[str, int], str] = {}
    for name, known in forms.items():
        if len(known) > 1:
            for users, tag in _tags(name, [found for _, found in known], instances):
                tags.update({(name, number): tag for number in users})
    _check(forms, tags)
    return [
        tuple(_named(model.resolved.name, tags.get((model.resolved.name, number))) for model in models)
        for number, (_, _, models) in enumerate(instances)
    ]


def tagged(name: str, tag: str) -> ModelName:
    """Return the name of a form of a model."""
    stem, _, own = name.partition(":")
    return ModelName.parse(f"{stem}:{own}-{tag}" if own else f"{stem}:{tag}")


def _named(name: str, tag: str | None) -> ModelName:
    return ModelName.parse(name) if tag is None else tagged(name, tag)


def _form(model: Made) -> Any:
    """All that the model which is made depends on."""
    asked, decided = model.resolved, model.decision
    return (
        decided.candidate,
        (decided.num_ctx, decided.num_gpu, decided.num_batch),
        (asked.modelfile, asked.system, asked.template, dict(asked.parameters)),
    )


def _tags(
    name: str, forms: Sequence[Sequence[int]], instances: Sequence[Placed]
) -> Iterator[tuple[Sequence[int], str]]:
    """The tag of each form that gets one; a form is given by the numbers of the instances that have it."""
    written = [users for users in forms if _as_written(name, instances[users[0]])]
    special = [users for users in forms if users not in written]
    kinds = [sorted({_kind(instances[number][1]) for number in users}) for users in special]
    shared = [users for users, found in zip(special, kinds, strict=True) if len(found) > 1]
    for users, found in zip(special, kinds, strict=True):
        if not written and shared == [users]:
            continue  # what several kinds of devices have in common keeps the plain name
        yield users, found[0] if len(found) == 1 and kinds.count(found) == 1 else instances[users[0]][0]


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
