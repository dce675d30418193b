"""Putting what was found back into fleet.yaml: where the ladder says that it counts, and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from ollama_fleet.artifacts.atomic_file import replace_file
from ollama_fleet.checks.trial_steps import Tuned
from ollama_fleet.deploys.source import published
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.spec.edit import CannotEdit, Value, edited
from ollama_fleet.spec.errors import KeyPath, SpecErrors, key_path
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.names import CPU

Result = tuple[int, int]
"""`num_gpu` and `num_ctx`."""


def with_results(
    text: str, path: Path, spec: HostSpec, tuned: Iterable[Tuned], shared: Collection[str] = ()
) -> str:
    """Return the text of a fleet file with the results of a host in it.

    A value goes where the host has its own already, else to the model's `per_gpu` of the server's one kind of GPU, else
    to the host. Where several servers of the host have the same kind of GPU, it is the smaller value that each of them
    can hold.

    Args:
        text: of the file.
        path: of the file.
        spec: the host.
        tuned: what was found; what has no result is passed over.
        shared: models that several servers of the host have, for all of which a value of the host would count.

    Raises:
        CannotEdit: the file does not let it be written there; one line.
    """
    changes: dict[KeyPath, Value] = {}
    wanted = _results(tuned)
    for (name, kinds), result in wanted.items():
        resolved = spec.model(name).for_devices(kinds)
        now = resolved.num_gpu, resolved.num_ctx
        for key, value, there in zip(("num_gpu", "num_ctx"), result, now, strict=True):
            if value != there:
                origin = resolved.origin.get(key)
                own = origin is not None and str(origin.path).startswith(f"hosts.{spec.name}.")
                place = _place(spec, name, kinds, own=own, key=key)
                if place[0] == "hosts" and name in shared:
                    raise _for_all(spec, place, own=own)
                changes[place] = value
    if not changes:
        return text
    after = edited(text, changes)
    _check(after, path, spec, wanted)
    return after


def _results(tuned: Iterable[Tuned]) -> dict[tuple[str, tuple[str, ...]], Result]:
    """What was found of a model on a kind of server: what holds on each of them, where there are several."""
    found: dict[tuple[str, tuple[str, ...]], Result] = {}
    for one in tuned:
        if one.num_gpu is None or one.num_ctx is None or one.error:
            continue
        key = one.model, tuple(sorted(one.kinds))
        num_gpu, num_ctx = found.get(key, (one.num_gpu, one.num_ctx))
        found[key] = min(num_gpu, one.num_gpu), min(num_ctx, one.num_ctx)
    return found


def _for_all(spec: HostSpec, place: KeyPath, *, own: bool) -> CannotEdit:
    hint = "take it out there, and it goes below per_gpu" if own else "write by hand what is to count where"
    return CannotEdit(f"{key_path(place)} would count for every instance of {spec.name}; {hint}")


def save(path: Path, text: str) -> None:
    """Write a fleet file in one step. Raises OSError."""
    replace_file(path, text.encode("utf-8"))


def _place(spec: HostSpec, model: str, kinds: Sequence[str], *, own: bool, key: str) -> KeyPath:
    distinct = set(kinds) or {CPU}
    if own or len(distinct) > 1 or not distinct <= {CPU, *catalogue()}:
        return ("hosts", spec.name, "models", model, key)
    return ("models", model, "per_gpu", next(iter(distinct)), key)


def _check(
    text: str, path: Path, spec: HostSpec, wanted: Mapping[tuple[str, tuple[str, ...]], Result]
) -> None:
    """What was written must be what the host then gets."""
    try:
        fleet = Fleet.parse(
            text, catalogue().keys(), file=str(path), folder=path.absolute().parent, published=published
        )
        host = fleet.host(spec.name)
        for (name, kinds), values in wanted.items():
            resolved = host.model(name).for_devices(kinds)
            if (resolved.num_gpu, resolved.num_ctx) != values:
                raise CannotEdit(f"something else in the file decides num_gpu of {name} on {spec.name}")
    except SpecErrors as error:
        raise CannotEdit(str(error.errors[0])) from None
