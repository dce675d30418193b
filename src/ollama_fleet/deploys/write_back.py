"""Putting what was found back into fleet.yaml: where the ladder says that it counts, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ollama_fleet.artifacts.atomic_file import replace_file
from ollama_fleet.checks.trial_steps import Tuned
from ollama_fleet.deploys.source import published
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.spec.edit import CannotEdit, Value, edited
from ollama_fleet.spec.errors import KeyPath, SpecErrors
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.names import CPU


def with_results(text: str, path: Path, spec: HostSpec, kinds: Sequence[str], tuned: Iterable[Tuned]) -> str:
    """Return the text of a fleet file with the results of a host in it.

    A value goes where the host has its own already, else to the model's `per_gpu` of the host's one kind of GPU, else
    to the host.

    Args:
        text: of the file.
        path: of the file.
        spec: the host.
        kinds: its GPUs; none is the CPU.
        tuned: what was found; what has no result is passed over.

    Raises:
        CannotEdit: the file does not let it be written there; one line.
    """
    changes: dict[KeyPath, Value] = {}
    wanted: dict[str, tuple[int, int]] = {}
    for one in tuned:
        name = one.model
        if one.num_gpu is None or one.num_ctx is None or one.error:
            continue
        request = spec.model(name)
        resolved = request.for_devices(kinds)
        wanted[name] = one.num_gpu, one.num_ctx
        for key, value, now in (
            ("num_gpu", one.num_gpu, resolved.num_gpu),
            ("num_ctx", one.num_ctx, resolved.num_ctx),
        ):
            if value != now:
                origin = resolved.origin.get(key)
                own = origin is not None and str(origin.path).startswith(f"hosts.{spec.name}.")
                changes[_place(spec, name, kinds, own=own, key=key)] = value
    if not changes:
        return text
    after = edited(text, changes)
    _check(after, path, spec, kinds, wanted)
    return after


def save(path: Path, text: str) -> None:
    """Write a fleet file in one step. Raises OSError."""
    replace_file(path, text.encode("utf-8"))


def _place(spec: HostSpec, model: str, kinds: Sequence[str], *, own: bool, key: str) -> KeyPath:
    distinct = set(kinds) or {CPU}
    if own or len(distinct) > 1 or not distinct <= {CPU, *catalogue()}:
        return ("hosts", spec.name, "models", model, key)
    return ("models", model, "per_gpu", next(iter(distinct)), key)


def _check(
    text: str, path: Path, spec: HostSpec, kinds: Sequence[str], wanted: dict[str, tuple[int, int]]
) -> None:
    """What was written must be what the host then gets."""
    try:
        fleet = Fleet.parse(
            text, catalogue().keys(), file=str(path), folder=path.absolute().parent, published=published
        )
        host = fleet.host(spec.name)
        for name, values in wanted.items():
            resolved = host.model(name).for_devices(kinds)
            if (resolved.num_gpu, resolved.num_ctx) != values:
                raise CannotEdit(f"something else in the file decides num_gpu of {name} on {spec.name}")
    except SpecErrors as error:
        raise CannotEdit(str(error.errors[0])) from None
