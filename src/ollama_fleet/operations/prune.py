"""Removing what nobody declares any more, after everything else has been proven."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import PurePosixPath
from shlex import quote

from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.listed import by_name
from ollama_fleet.api.through import is_connected, server_of
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.operations.context import StepFailed, look, mark_changed, step
from ollama_fleet.operations.readiness import LOST, ONLY, wait_until_ready
from ollama_fleet.operations.shell import script
from ollama_fleet.operations.windows import running
from ollama_fleet.planner.items.prune import Pruned, PrunedFile, PrunedModel, PrunedRelease
from ollama_fleet.planner.layout import Layout, Scope
from ollama_fleet.planner.sizes import size_words
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe.fact import ProbeFailed, forget, probe
from ollama_fleet.probe.read import ProbeError
from ollama_fleet.probe.request import ProbeRequest


@operation()
def prune(
    wanted: Sequence[Pruned],
    listen: tuple[str, int] = ("127.0.0.1", 11434),
    scope: Scope = "system",
    models_dir: str | None = None,
    unit: str = ONLY,
    beside: Sequence[tuple[str, int]] = (),
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Remove models, releases and files, and tell how many bytes that has freed.

    Models go through the server's API, which keeps every layer that another model uses.

    Args:
        wanted: what goes.
        listen: the server's address and port.
        scope: for the whole system, or inside the account's home.
        models_dir: where models lie, if not in Ollama's default place.
        unit: that of the server.
        beside: address and port of other servers of the host, which may have a model in memory that goes.
    """
    state, layout = look(scope, models_dir)
    there = [item for item in wanted if item.differences(state)]
    if not there:
        host.noop("nothing to prune")
        return
    mark_changed(host)
    models = [item for item in there if isinstance(item, PrunedModel)]
    if models:
        yield step(_deleter(models, state, listen, scope, unit, beside), "prune")
    if scope == "windows":
        gone = [
            running.remove_release(layout, item.version) for item in there if isinstance(item, PrunedRelease)
        ]
        yield from (StringCommand(lines) for lines in gone)
    elif lines := [*_files(there, scope), *_releases(there, layout)]:
        yield script(*lines)
    yield step(_teller(there, _bytes(state), scope, models_dir), "prune")


def _deleter(
    models: Sequence[PrunedModel],
    state: HostState,
    listen: tuple[str, int],
    scope: Scope,
    unit: str,
    beside: Sequence[tuple[str, int]],
) -> Callable[[Host], None]:
    def run(at: Host) -> None:
        try:
            for other in beside:
                with server_of(at, *other) as server:
                    for item in models:
                        _unload(server, item.model, models, state)
            with server_of(at, *listen) as server:
                wait_until_ready(at, server, scope, unit=unit)
                for item in models:
                    _delete(server, item.model, models, state)
        except ApiError as error:
            raise StepFailed(str(error) if is_connected(at) else LOST) from error

    return run


def _delete(server: Ollama, model: ModelName, going: Sequence[PrunedModel], state: HostState) -> None:
    """Delete a model; its memory is given back first, unless that is the memory of a model that stays."""
    _unload(server, model, going, state)
    server.delete(model.short)
    if model in by_name(server.tags()):
        raise StepFailed(f"{model.short} is still there after the server has deleted it")


def _unload(server: Ollama, model: ModelName, going: Sequence[PrunedModel], state: HostState) -> None:
    if model in by_name(server.loaded()) and not _shares_weights(model, going, state):
        server.load(model.short, 0)


def _shares_weights(model: ModelName, going: Sequence[PrunedModel], state: HostState) -> bool:
    """Whether a model that stays is made of the same weights: servers load them once for both."""
    gone = {item.model for item in going}
    weights = _weights(model, state)
    return any(
        weights & _weights(stored.name, state) for stored in state.store.models if stored.name not in gone
    )


def _weights(model: ModelName, state: HostState) -> set[str]:
    manifest = state.store.manifest(model)
    return set() if manifest is None else {layer.digest for layer in manifest.layers_of("model")}


def _files(there: Sequence[Pruned], scope: Scope) -> list[str]:
    paths = [item.path for item in there if isinstance(item, PrunedFile)]
    if not paths:
        return []
    lines = [f"rm -f {' '.join(map(quote, paths))}"]
    if any(PurePosixPath(path).suffix == ".conf" for path in paths):
        lines.append(f"systemctl {'--user ' if scope == 'user' else ''}daemon-reload")
    return lines


def _releases(there: Sequence[Pruned], layout: Layout) -> list[str]:
    lines = []
    for item in there:
        if isinstance(item, PrunedRelease):
            path = f"{layout.releases}/{item.version}"
            # Under a name that says so, should this be cut off; the next run then finishes it.
            going = path if item.version.endswith((".old", ".new")) else f"{path}.old"
            if going != path:
                lines.append(f"rm -rf {quote(going)} && mv -T {quote(path)} {quote(going)}")
            lines.append(f"rm -rf {quote(going)}")
    return lines


def _bytes(state: HostState) -> int:
    return sum(state.store.blob_sizes.values()) + sum(item.size for item in state.release.versions.values())


def _teller(
    there: Sequence[Pruned], before: int, scope: Scope, models_dir: str | None
) -> Callable[[Host], None]:
    """Read the host again: what was to go is gone, and this is how much lighter it is."""

    def run(at: Host) -> None:
        forget(at)
        try:
            state, _ = probe(at, ProbeRequest(Layout.of(scope, models_dir)))
        except (ProbeFailed, ProbeError) as error:
            raise StepFailed(str(error) or "the host could not be read after pruning") from error
        if left := [item.name for item in there if item.differences(state)]:
            raise StepFailed(f"still there: {', '.join(left)}")
        names = ", ".join(item.name for item in there)
        at.log(f"pruned {names}: {size_words(max(0, before - _bytes(state)))} freed")

    return run
