"""A model on a host with nothing left open: base, parameters and the digests that follow from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from ollama_fleet.artifacts import gojson
from ollama_fleet.artifacts.digests import CreatedModel, created_layers
from ollama_fleet.artifacts.lock import FileLock, Lock
from ollama_fleet.artifacts.manifest import ManifestError
from ollama_fleet.artifacts.model_config import ModelConfig
from ollama_fleet.artifacts.modelfile import Modelfile, ModelfileError, parse_modelfile
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.planner.decision import Decision
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.items.model import WantedBase, WantedImport, WantedModel
from ollama_fleet.planner.render import RenderError, Templates
from ollama_fleet.planner.state import HostState
from ollama_fleet.spec.forms import Candidate
from ollama_fleet.spec.model_request import ResolvedModel

OWNED = ("num_ctx", "num_gpu")
"""Parameters that the plan decides; a Modelfile template may not."""
IMPORT_NAMESPACE = "fleet-import"
KEPT_NAMESPACE = "fleet-kept"
"""Of the second names under which bases are kept while they are pulled anew."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One model on one host."""

    resolved: ResolvedModel
    decision: Decision
    base: WantedBase | WantedImport
    created: WantedModel

    @property
    def preload(self) -> bool:
        """Load it at the end of an apply."""
        return self.resolved.preload

    def renamed(self, name: ModelName) -> Placement:
        """The same under another name, where several servers of a host make different things of a model."""
        request = {**self.created.request, "model": name.short}
        return replace(self, created=replace(self.created, model=name, request=request))


def place(
    resolved: ResolvedModel,
    decision: Decision,
    host: str,
    lock: Lock,
    insecure: frozenset[str],
    templates: Templates,
    state: HostState,
) -> Placement:
    """Work out everything about a model on a host.

    Args:
        resolved: the model for the host's devices.
        decision: what was left open in it.
        host: its name, which templates may use.
        lock: digests of bases.
        insecure: registries spoken to by plain HTTP, as `HOST` or `HOST:PORT` in lower case.
        templates: Modelfiles among them, as `NAME.Modelfile.j2`.
        state: the host, for the layers of a base that the engine itself has written.

    Raises:
        NotLocked: a base is not in the lock.
        PlanError: the Modelfile template is missing or wrong.
    """
    chosen = decision.candidate
    if chosen.is_file:
        base: WantedBase | WantedImport = _import_of(chosen, lock.file(chosen.base))
    else:
        base = _base_of(chosen, lock, insecure)
    name = ModelName.parse(resolved.name)
    parsed = _modelfile(resolved, decision, host, base.model, templates)
    request = parsed.create_request(name.short, base.model.short)
    request["parameters"] = {**request.get("parameters", {}), **_owned(decision)}
    expected = _expected(base, lock, request, state)
    return Placement(resolved, decision, base, WantedModel(name, base.model, request, expected))


def _base_of(chosen: Candidate, lock: Lock, insecure: frozenset[str]) -> WantedBase:
    name = ModelName.parse(chosen.base)
    locked = lock.model(name)
    return WantedBase(
        model=name,
        digest=locked.digest,
        content=frozenset(locked.manifest().blobs),
        size=locked.size,
        insecure=name.host.lower() in insecure,
    )


def import_name(path: str, sha256: str) -> ModelName:
    """The name under which a GGUF file of the controller is imported: it carries the file's hash."""
    stem = re.sub(r"[^A-Za-z0-9_.-]", "-", PurePosixPath(path).stem)[:60].lstrip(".-") or "model"
    return ModelName.parse(f"{IMPORT_NAMESPACE}/{stem}:sha256-{sha256[:16]}")


def _import_of(chosen: Candidate, locked: FileLock) -> WantedImport:
    name = import_name(chosen.base, locked.sha256)
    return WantedImport(name, path=chosen.base, sha256=locked.sha256, size=locked.size)


def _owned(decision: Decision) -> dict[str, int]:
    """Parameters that the plan writes; those it leaves to the engine are left out."""
    owned = {"num_ctx": decision.num_ctx, "num_gpu": decision.num_gpu, "num_batch": decision.num_batch}
    return {name: value for name, value in owned.items() if value is not None}


def _modelfile(
    resolved: ResolvedModel, decision: Decision, host: str, base: ModelName, templates: Templates
) -> Modelfile:
    source = f"{resolved.modelfile}.Modelfile.j2"
    if source not in templates:
        known = sorted(
            name.removesuffix(".Modelfile.j2") for name in templates.names() if ".Modelfile." in name
        )
        where = resolved.origin.get("modelfile")
        raise PlanError(
            f"{where}: modelfile: there is no modelfiles/{source}; there are {', '.join(known)}"
            if where
            else f"there is no modelfiles/{source}; there are {', '.join(known)}"
        )
    values: Mapping[str, Any] = {
        "base": base.short,
        "model": resolved.name,
        "host": host,
        "quantization": decision.candidate.quantization,
        "num_ctx": decision.num_ctx,
        "num_gpu": decision.num_gpu,
        "parameters": dict(resolved.parameters),
        "system": resolved.system,
        "template": resolved.template,
    }
    try:
        parsed = parse_modelfile(templates.render(source, values), source=f"modelfiles/{source} (rendered)")
    except RenderError as error:
        raise PlanError(f"modelfiles/{error}") from error
    except ModelfileError as error:
        raise PlanError(str(error)) from error
    for parameter in OWNED:
        if parameter in parsed.parameters:
            raise PlanError(
                f"modelfiles/{source}: writes {parameter} by itself (line {parsed.line_of('PARAMETER', parameter)} as "
                f"rendered); the plan decides it: set {parameter} in fleet.yaml"
            )
    if parsed.from_ != base.short:
        raise PlanError(f"modelfiles/{source}: FROM is {parsed.from_!r}; write FROM {{{{ base }}}}")
    if parsed.adapters:
        raise PlanError(f"modelfiles/{source}: ADAPTER is not supported yet")
    return parsed


def _expected(
    base: WantedBase | WantedImport, lock: Lock, request: Mapping[str, Any], state: HostState
) -> CreatedModel | None:
    if isinstance(base, WantedBase):
        locked = lock.model(base.model)
        return created_layers(locked.manifest(), locked.params, request, locked.model_details())
    # What the engine makes of a GGUF is known only once it has made it.
    imported = state.store.manifest(base.model)
    if imported is None:
        return None
    params = imported.layer("params")
    blob = state.store.small_blobs.get(params.digest) if params else b"{}"
    try:
        config = ModelConfig.parse(state.store.small_blobs.get(imported.config.digest, b"{}"))
        return created_layers(imported, None if blob is None else _json_object(blob), request, config)
    except (ManifestError, ValueError):
        return None


def _json_object(blob: bytes) -> dict[str, Any]:
    parsed = gojson.decode(blob)
    if not isinstance(parsed, dict):
        raise ValueError("the params layer is no JSON object")
    return parsed
