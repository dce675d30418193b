"""A model as one host asks for it, and what is left of it on given devices: the second ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from ollama_fleet.spec.errors import KeyPath, SpecError, SpecErrors, Wrong, counted
from ollama_fleet.spec.forms import Candidate, Forms
from ollama_fleet.spec.merge import Layer, Origin, leaves, merge, nested, origin_of
from ollama_fleet.spec.names import AUTO, CPU
from ollama_fleet.spec.parameters import ParameterValue
from ollama_fleet.spec.values import Duration
from ollama_fleet.spec.yaml_source import Document

DEFAULT_TEMPLATE = "default"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a placement must reach at least; ``max_vram``, in bytes, is what it may take at most."""

    gpu_percent: int | None = None
    layers: int | None = None
    tokens_per_second: float | None = None
    max_vram: int | None = None


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model for given devices, with nothing left to the ladders.

    - ``candidates`` are the forms to choose among: one, or several for ``quantization: auto``, lists and
      ``size: auto``.
    - ``ordered``: the candidates stand in the user's order of preference; else the planner has its own.
    - ``num_gpu`` is ``None`` where the engine is to choose, ``"auto"`` where the planner is.
    - ``num_ctx_min`` is the least context to take where ``num_ctx`` does not fit.
    - ``origin`` leads from a key (``num_ctx``, ``parameters.stop``) to the line that gave it; a key that is
      not in it has its default.
    - ``remarks`` say what of ``per_gpu`` was not taken, and why.
    """

    name: str
    from_: str
    candidates: tuple[Candidate, ...]
    ordered: bool
    num_ctx: int
    num_ctx_min: int
    num_gpu: int | Literal["auto"] | None
    modelfile: str
    parameters: Mapping[str, ParameterValue]
    system: str | None
    template: str | None
    preload: bool
    keep_alive: Duration | None
    origin: Mapping[str, Origin] = field(repr=False)
    remarks: tuple[str, ...] = ()
    expect: Expected | None = None

    @property
    def size_open(self) -> bool:
        """Whether the planner chooses among sizes of a family."""
        return len({candidate.size for candidate in self.candidates}) > 1

    @property
    def left_open(self) -> bool:
        """Whether something is left for the planner to choose."""
        return len(self.candidates) > 1 or self.num_gpu == "auto" or self.num_ctx_min < self.num_ctx


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A model that a host shall serve; what it is made of depends on the devices it lands on.

    ``for_devices`` is the way to its values.
    """

    _ladder: ModelLadder = field(repr=False)
    _asked: KeyPath

    @property
    def name(self) -> str:
        """The name that the model gets."""
        return self._ladder.name

    @property
    def from_(self) -> str:
        """What it is made from, as written."""
        return self._ladder.forms.from_

    @property
    def asked_at(self) -> Origin:
        """The line that asks for it."""
        return origin_of(self._ladder.document, self._asked)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of devices that the model has settings of their own for."""
        return tuple(self._ladder.per_gpu)

    @property
    def per_gpu_keys(self) -> frozenset[str]:
        """The keys that depend on the device."""
        layers = self._ladder.per_gpu.values()
        return frozenset(str(path[0]) for layer in layers for path in leaves(layer.settings))

    def for_devices(self, kinds: Sequence[str]) -> ResolvedModel:
        """The model on devices of these kinds, one per device; none means the CPU.

        Of ``per_gpu`` only that is taken in which all kinds agree; the rest is in ``remarks``. Hosts that say the
        same of a model get the same object.
        Raises SpecErrors where a placement cannot be made of what was said.
        """
        return self._ladder.resolved(kinds)


@dataclass(frozen=True, slots=True)
class ModelLadder:
    """What stands in the file of a model for a host, shared by all hosts that say nothing of their own."""

    name: str
    document: Document = field(repr=False)
    forms: Forms = field(repr=False)
    model: Layer = field(repr=False)
    per_gpu: Mapping[str, Layer] = field(repr=False)
    host: Layer = field(repr=False)
    _resolved: dict[tuple[str, ...], ResolvedModel] = field(default_factory=dict, repr=False, compare=False)

    def resolved(self, kinds: Sequence[str]) -> ResolvedModel:
        """The model on devices of these kinds. Raises SpecErrors."""
        distinct = tuple(dict.fromkeys(kinds)) or (CPU,)
        known = distinct if any(kind in self.per_gpu for kind in distinct) else ()
        found = self._resolved.get(known)
        if found is None:
            found = self._resolved[known] = self._worked_out(distinct)
        return found

    def _worked_out(self, kinds: Sequence[str]) -> ResolvedModel:
        agreed, remarks = self._agreed(kinds)
        merged = merge([self.model, agreed, self.host])
        settings: Mapping[str, Any] = merged.settings
        quantization = settings.get("quantization")
        problems: list[SpecError] = []
        candidates: tuple[Candidate, ...] = ()
        key = "size"
        try:
            sizes = self.forms.sizes(settings.get("size"))
            key = "quantization"
            candidates = self.forms.candidates(sizes, quantization)
            key = "num_gpu"
            if settings.get("size") == AUTO and settings.get("num_gpu", AUTO) not in (0, AUTO, "engine"):
                raise Wrong("a number of layers is that of one size", "write num_gpu: auto, or a size")
        except Wrong as wrong:
            problems.append(self.document.error(merged.sources[(key,)], wrong.message, wrong.hint))
        if "num_ctx" not in settings:
            problems.append(self._no_context(kinds))
        if problems:
            raise SpecErrors(problems)
        num_gpu = settings.get("num_gpu", "engine")
        return ResolvedModel(
            name=self.name,
            from_=self.forms.from_,
            candidates=candidates,
            ordered=isinstance(quantization, tuple),
            num_ctx=settings["num_ctx"],
            num_ctx_min=min(settings.get("num_ctx_min", settings["num_ctx"]), settings["num_ctx"]),
            num_gpu=None if num_gpu == "engine" else num_gpu,
            modelfile=settings.get("modelfile", DEFAULT_TEMPLATE),
            parameters=MappingProxyType(dict(settings.get("parameters", {}))),
            system=settings.get("system"),
            template=settings.get("template"),
            preload=settings.get("preload", False),
            keep_alive=settings.get("keep_alive"),
            origin=merged.origins(self.document),
            remarks=tuple(remarks),
            expect=Expected(**settings["expect"]) if settings.get("expect") else None,
        )

    def _agreed(self, kinds: Sequence[str]) -> tuple[Layer, list[str]]:
        """What ``per_gpu`` says alike for all kinds, and a remark for each key in which they differ."""
        place: KeyPath = (*self.model.path, "per_gpu", kinds[0])
        said = [leaves(self.per_gpu[kind].settings) if kind in self.per_gpu else {} for kind in kinds]
        overridden = leaves(self.host.settings)
        agreed: dict[KeyPath, object] = {}
        remarks: list[str] = []
        for path in dict.fromkeys(path for one in said for path in one):
            if all(path in one and one[path] == said[0].get(path) for one in said):
                agreed[path] = said[0][path]
            elif path not in overridden:
                key = ".".join(map(str, path))
                remarks.append(f"{key} of per_gpu is not taken: {counted(kinds)} do not agree in it")
        return Layer(place, nested(agreed)), remarks

    def _no_context(self, kinds: Sequence[str]) -> SpecError:
        on = f" on {counted(kinds)}" if self.per_gpu and list(kinds) != [CPU] else ""
        return self.document.error(
            self.model.path,
            f"num_ctx is missing{on}: Ollama's own default depends on the VRAM it finds",
            "write num_ctx, such as 8192",
            key=True,
        )
