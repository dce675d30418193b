"""Models on a host: pulled from a registry, created from a base, loaded, removed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import IO

from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.api.client import BLOB_CHUNK, Ollama, Progress
from ollama_fleet.api.errors import ApiError, Refused
from ollama_fleet.api.out_of_memory import in_words
from ollama_fleet.api.through import is_connected, server_of
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.operations.context import StepFailed, look, mark_changed, mark_loaded, step
from ollama_fleet.operations.observer import observer_of
from ollama_fleet.operations.pull import pull_locked
from ollama_fleet.operations.readiness import LOST, ONLY, wait_until_ready
from ollama_fleet.operations.shell import script
from ollama_fleet.operations.windows import running
from ollama_fleet.planner.items.model import WantedBase, WantedImport, WantedLoaded, WantedModel
from ollama_fleet.planner.layout import Scope
from ollama_fleet.planner.state import HostState

Listen = tuple[str, int]


@operation()
def models(
    bases: Sequence[WantedBase | WantedImport],
    created: Sequence[WantedModel],
    folder: str = ".",
    listen: Listen = ("127.0.0.1", 11434),
    scope: Scope = "system",
    models_dir: str | None = None,
    unit: str = ONLY,
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Pull what is missing and create what is missing or different, each from its pristine base.

    Args:
        bases: models from registries and GGUF files, with locked digests.
        created: models made from them.
        folder: of the controller, for the paths of GGUF files.
        listen: the server's address and port.
        scope: whose models directory is compared.
        models_dir: where models lie, if not in Ollama's default place.
        unit: that of the server; of several on a host one does it all, so no two ever fetch the same.
    """
    state, layout = look(scope, models_dir)
    pulls = [base for base in bases if base.differences(state)]
    creates = [model for model in created if model.differences(state)]
    if not pulls and not creates:
        host.noop("models are as wanted")
        return
    mark_changed(host)
    if broken := _broken_blobs([item.model for item in (*pulls, *creates)], state):
        # A server takes a blob that is there for whole, and would never fetch or write it again.
        yield _removal([f"{layout.models}/blobs/{name}" for name in broken], scope)
    for base in pulls if host.state.is_executing else ():
        observer_of(host).expect(host, base.name, base.size)
    for base in pulls:
        yield _bring(base, folder, layout.models, listen, scope, unit)
    for wanted in creates:
        yield step(_creator(wanted, listen, scope, unit), f"create {wanted.name}", f"creating {wanted.name}")


@operation()
def load(
    wanted: Sequence[WantedLoaded],
    changed: Sequence[str] = (),
    listen: Listen = ("127.0.0.1", 11434),
    scope: Scope = "system",
    models_dir: str | None = None,
    unit: str = ONLY,
) -> Generator[FunctionCommand, None, None]:
    """Load models into memory.

    Args:
        wanted: the models to have in memory.
        changed: names of those to load in any case, since this run has changed them or restarted the server.
        listen: the server's address and port.
        scope: whose models directory is compared.
        models_dir: where models lie, if not in Ollama's default place.
        unit: that of the server.
    """
    state, _ = look(scope, models_dir)
    missing = [item for item in wanted if item.name in changed or item.differences(state)]
    if not missing:
        host.noop("models to preload are in memory, or may have left it")
        return
    mark_changed(host)
    mark_loaded(host, [item.name for item in missing])
    for item in missing:
        yield step(_loader(item, listen, scope, unit), f"load {item.name}", f"loading {item.name}")


@operation()
def model(
    model_name: str,
    present: bool = True,
    insecure: bool = False,
    listen: Listen = ("127.0.0.1", 11434),
    scope: Scope = "system",
    models_dir: str | None = None,
) -> Generator[FunctionCommand, None, None]:
    """Have a model of a registry on the host, whatever its digest, or not have it.

    Args:
        model_name: as `ollama pull` takes it.
        present: False removes it, with those of its layers that no other model uses.
        insecure: the registry speaks plain HTTP.
        listen: the server's address and port.
        scope: whose models directory is compared.
        models_dir: where models lie, if not in Ollama's default place.

    Raises:
        ModelNameError: `model_name` is no model name.
    """
    state, _ = look(scope, models_dir)
    wanted = ModelName.parse(model_name)
    if any(stored.name == wanted for stored in state.store.models) == present:
        host.noop(f"model {wanted.short} is {'present' if present else 'absent'}")
        return
    mark_changed(host)
    if present:
        yield step(
            _calling(listen, scope, lambda server, at: _pull(server, at, wanted.short, insecure)),
            f"pull {wanted.short}",
            f"pulling {wanted.short}",
        )
    else:
        yield step(
            _calling(listen, scope, lambda server, _: server.delete(wanted.short)), f"remove {wanted.short}"
        )


def _broken_blobs(names: Sequence[ModelName], state: HostState) -> list[str]:
    """File names of blobs that these models have on disk in another size than their manifests say."""
    sizes = state.store.blob_sizes
    manifests = (manifest for name in names if (manifest := state.store.manifest(name)) is not None)
    broken = {
        digest
        for found in manifests
        for digest, size in found.blobs.items()
        if sizes.get(digest, size) != size
    }
    return sorted(digest.replace(":", "-") for digest in broken)


def _removal(paths: Sequence[str], scope: Scope) -> StringCommand:
    if scope == "windows":
        return StringCommand(running.remove_files(path.replace("/", "\\") for path in paths))
    return script(*(f"rm -f {quote(path)}" for path in paths))


def _calling(
    listen: Listen, scope: Scope, act: Callable[[Ollama, Host], None], unit: str = ONLY
) -> Callable[[Host], None]:
    def run(at: Host) -> None:
        with server_of(at, *listen) as server:
            wait_until_ready(at, server, scope, unit=unit)
            try:
                act(server, at)
            except ApiError as error:
                raise StepFailed(str(error) if is_connected(at) else LOST) from error

    return run


def _bring(
    base: WantedBase | WantedImport, folder: str, models_dir: str, listen: Listen, scope: Scope, unit: str
) -> FunctionCommand:
    if isinstance(base, WantedImport):
        path = Path(folder) / Path(base.path).expanduser()
        return step(
            _calling(listen, scope, lambda server, at: _import(server, at, base, path), unit),
            f"import {base.path}",
            f"importing {base.path}",
        )

    def pull(server: Ollama, at: Host) -> None:
        pull_locked(server, at, base, models_dir, _teller(at, base.name))
        observer_of(at).complete(at, base.name)

    return step(_calling(listen, scope, pull, unit), f"pull {base.name}", f"pulling {base.name}")


def _pull(server: Ollama, at: Host, name: str, insecure: bool) -> None:
    server.pull(name, insecure=insecure, told=_teller(at, name))
    observer_of(at).complete(at, name)


def _import(server: Ollama, at: Host, base: WantedImport, path: Path) -> None:
    digest = f"sha256:{base.sha256}"
    try:
        with path.open("rb") as file:
            if (actual := hashlib.file_digest(file, "sha256").hexdigest()) != base.sha256:
                raise StepFailed(f"{path} has sha256 {actual}, locked is {base.sha256}")
            file.seek(0)
            if not server.has_blob(digest):
                server.upload_blob(digest, _watched(file, at, base))
    except OSError as error:
        raise StepFailed(f"{path}: {error.strerror}") from error
    observer_of(at).complete(at, base.name)
    server.create({"model": base.model.short, "files": {path.name: digest}}, told=_sayer(at, base.name))


def _watched(file: IO[bytes], at: Host, base: WantedImport) -> Iterator[bytes]:
    """A file's bytes, telling those who watch how much has been sent."""
    observer, sent = observer_of(at), 0
    while chunk := file.read(BLOB_CHUNK):
        observer.transfer(at, base.name, "sending", base.sha256, sent, base.size)
        yield chunk
        sent += len(chunk)


def _creator(wanted: WantedModel, listen: Listen, scope: Scope, unit: str) -> Callable[[Host], None]:
    return _calling(
        listen, scope, lambda server, at: server.create(wanted.request, told=_sayer(at, wanted.name)), unit
    )


def _loader(item: WantedLoaded, listen: Listen, scope: Scope, unit: str) -> Callable[[Host], None]:
    return _calling(listen, scope, lambda server, _: _load(server, item), unit)


def _load(server: Ollama, item: WantedLoaded) -> None:
    try:
        server.load(item.model.short, item.keep_alive_value)
    except Refused as error:
        if (said := in_words(error)) == str(error):
            raise
        raise StepFailed(f"{item.name}: {said}") from error


def _teller(at: Host, name: str) -> Callable[[Progress], None]:
    """Hand on to those who watch what a server tells of a pull."""
    observer = observer_of(at)

    def tell(line: Progress) -> None:
        piece = (line.digest or line.status) if line.total else ""
        observer.transfer(at, name, line.status, piece, line.completed, line.total)

    return tell


def _sayer(at: Host, name: str) -> Callable[[Progress], None]:
    """The same of a create, whose bytes come from nowhere: what it says, and its share of that."""
    observer = observer_of(at)

    def tell(line: Progress) -> None:
        share = f" {line.completed / line.total:.0%}" if line.total else ""
        observer.transfer(at, name, f"{line.status}{share}", "", 0, 0)

    return tell
