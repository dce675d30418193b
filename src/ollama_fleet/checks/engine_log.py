"""What the engine's own log says of a load: layers on GPUs, and the buffers that it allocated.

Three generations write it in three ways; facts from the sources of v0.9.6, v0.24.0 and v0.32.15:

- llama.cpp inside (to 0.24) or as llama-server (from 0.30): `load_tensors: offloaded 33/33 layers to GPU`,
  `llama_kv_cache: CUDA0 KV buffer size = 1024.00 MiB`. Sizes are exact to a hundredth of a MiB. llama-server first
  tries out what fits, and prints the same lines for it, so the last of each counts.
- Ollama's own engine (to 0.24): `msg="offloaded 33/33 layers to GPU"`, `msg="kv cache" device=CUDA0 size="1.0 GiB"`,
  rounded to a tenth of their unit; to 0.10 with `buffer=` and `buffer_type=` for the device.
- Releases to 0.10 estimate beforehand: `msg=offload layers.model=33 layers.offload=33`; it is taken where the engine
  itself says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

MIB = 2**20

Term = Literal["weights", "kv", "compute"]
HOST = "host"
"""The place of everything that is in the host's memory."""

KEPT = (
    "starting |offload|buffer size|model weights|kv cache|compute graph|overflowing|server config|"
    "inference compute| started in |KV_CACHE|level=WARN|level=ERROR|"
    "out of memory|failed to allocate|unable to allocate|allocating "
)
"""What a line must contain to matter here, as an extended regular expression for grep."""

_PAIR = re.compile(r'([A-Za-z_][\w.]*)=("(?:[^"\\]|\\.)*"|\S*)')
_BLOB = re.compile(r"--model .*?sha256[-:]([0-9a-f]{64})")
_AHEAD = re.compile(r"kv cache type|KV_CACHE_TYPE|quantized kv cache")
"""Warnings about the load that is about to start."""
_STARTS = ("starting llama server", "starting runner", "starting llama-server")
_OFFLOADED = re.compile(r"offloaded (\d{1,5})/(\d{1,5}) layers to GPU")
_BUFFER = re.compile(
    r"([A-Za-z_]\w*):\s+(\S+)\s+(model|KV|compute|output|RS|LoRA) buffer size\s*=\s*(\d{1,9}(?:\.\d+)?) MiB"
)
_OVERFLOW = re.compile(r"common_params_fit_impl:\s+-\s+.+:\s+\d+ layers \(\s*(\d{1,5}) overflowing\)")
_KINDS: Mapping[str, Term] = {
    "model": "weights",
    "LoRA": "weights",
    "KV": "kv",
    "RS": "kv",
    "compute": "compute",
    "output": "compute",
}
_WORDS: Mapping[str, Term] = {"model weights": "weights", "kv cache": "kv", "compute graph": "compute"}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d+)?) (B|KiB|MiB|GiB)")
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_CONFIG_KEY = re.compile(r"(?:^| )([A-Z][A-Z0-9_]+|https?_proxy|no_proxy):")


@dataclass(frozen=True, slots=True)
class Terms:
    """Bytes in one place."""

    weights: int = 0
    kv: int = 0
    compute: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.compute


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """One load of one model file.

    - ``blob`` is the hex digest of the file; ``offloaded`` of ``layers`` are on GPUs, None where nothing said so
      (a build for the CPU says nothing).
    - ``overflowing`` layers count as offloaded although a part of them is on the host (experts of a MoE model).
    - ``places`` are `CUDA0`, `ROCm1` … and `host`; ``exact``: their sizes are not rounded.
    - ``warnings`` are the messages of the engine's and the server's warnings and errors since the start.
    """

    blob: str
    offloaded: int | None
    layers: int | None
    overflowing: int
    places: Mapping[str, Terms]
    exact: bool
    started: bool
    warnings: tuple[str, ...] = ()

    @property
    def devices(self) -> dict[str, Terms]:
        """The places that are GPUs, by name."""
        return {name: self.places[name] for name in sorted(self.places) if name != HOST}

    @property
    def vram(self) -> int:
        """Bytes on all GPUs."""
        return sum(terms.total for terms in self.devices.values())

    @property
    def full(self) -> bool | None:
        """Whether all layers are wholly on GPUs; None where nothing said so."""
        if self.offloaded is None or self.layers is None:
            return None
        return self.offloaded >= self.layers and not self.overflowing


@dataclass(frozen=True, slots=True)
class ComputeDevice:
    """A device that the server found at its start; `library` is `cpu` where it found no GPU."""

    id: str
    library: str
    description: str


@dataclass(frozen=True, slots=True)
class ServerStart:
    """What the server said when it started; None and () where that is no longer in the log."""

    config: Mapping[str, str] | None = None
    """Variables as the server understood them."""
    devices: tuple[ComputeDevice, ...] = ()


def parse_loads(lines: Iterable[str]) -> list[EngineLoad]:
    """Return the loads in a log, in order. Lines that mean nothing here are skipped, whatever they are.

    Loads of several models at the same time are written through each other; the lines then count for the later.
    """
    loads: list[_Reading] = []
    estimate: dict[str, str] = {}
    ahead: list[str] = []
    for line in lines:
        pairs = fields(line)
        message = pairs.get("msg", "")
        if message == "offload" or ("layers.offload" in pairs and "layers.model" in pairs):
            estimate = pairs  # it precedes the start
        elif message in _STARTS:
            blob = _BLOB.search(pairs.get("cmd", ""))
            if blob is not None:  # without a model the runner is started to look for GPUs
                loads.append(_Reading(blob[1], estimate, warnings=ahead))
            estimate, ahead = {}, []
        elif pairs.get("level") == "WARN" and _AHEAD.search(message):
            ahead.append(message)
        elif loads:
            loads[-1].take(line, message, pairs)
    return [load.done() for load in loads]


def last_load(lines: Iterable[str], blob: str) -> EngineLoad | None:
    """Return the last load of a model file, by its hex digest; None where the log holds none."""
    return next((load for load in reversed(parse_loads(lines)) if load.blob == blob), None)


def parse_start(lines: Iterable[str]) -> ServerStart:
    """Return what the server last said at a start."""
    config: Mapping[str, str] | None = None
    devices: tuple[ComputeDevice, ...] = ()
    for line in lines:
        if "server config" in line or "inference compute" in line:
            pairs = fields(line)
            if pairs.get("msg") == "server config":
                config, devices = go_map(pairs.get("env", "")), ()
            elif pairs.get("msg") == "inference compute":
                found = ComputeDevice(
                    pairs.get("id", ""),
                    pairs.get("library", ""),
                    pairs.get("description", "") or pairs.get("name", ""),
                )
                devices = (*devices, found)
    return ServerStart(config, devices)


def fields(line: str) -> dict[str, str]:
    """Return the pairs of a line in Go's slog text format; nothing for any other line."""
    if "msg=" not in line:
        return {}
    return {match[1]: _unquoted(match[2]) for match in _PAIR.finditer(line)}


def go_map(text: str) -> dict[str, str]:
    """Return a `map[KEY:value KEY:value]` as Go prints it. Values may hold blanks; keys are names of variables."""
    if not text.startswith("map[") or not text.endswith("]"):
        return {}
    inside = text[4:-1]
    found = list(_CONFIG_KEY.finditer(inside))
    ends = [*(match.start() for match in found), len(inside)][1:]
    return {match[1]: inside[match.end() : end] for match, end in zip(found, ends, strict=True)}


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub(
        r"\\(.)", lambda match: {"n": "\n", "t": "\t", "r": "\r"}.get(match[1], match[1]), value[1:-1]
    )


@dataclass
class _Reading:
    """One load while its lines are read."""

    blob: str
    estimate: Mapping[str, str]
    offloaded: tuple[int, int] | None = None
    overflowing: int = 0
    exact: dict[tuple[str, str, str], int] = field(default_factory=dict)
    rounded: dict[tuple[str, Term], int] = field(default_factory=dict)
    started: bool = False
    warnings: list[str] = field(default_factory=list)

    def take(self, line: str, message: str, pairs: Mapping[str, str]) -> None:
        if match := _OFFLOADED.search(line):
            self.offloaded = int(match[1]), int(match[2])
        if match := _OVERFLOW.search(line):
            self.overflowing = int(match[1])
        for component, place, kind, size in _BUFFER.findall(line):
            self.exact[component, place, kind] = round(float(size) * MIB)
        if message in _WORDS:
            place = pairs.get("device") or pairs.get("buffer") or pairs.get("buffer_type") or ""
            size_found = _SIZE.fullmatch(pairs.get("size", ""))
            if place and size_found:
                bytes_ = round(float(size_found[1]) * _UNITS[size_found[2]])
                self.rounded[place, _WORDS[message]] = bytes_
        elif " started in " in message:
            self.started = True
        elif pairs.get("level") in ("WARN", "ERROR") and message:
            self.warnings.append(message)

    def done(self) -> EngineLoad:
        offloaded = self.offloaded or self._estimated()
        places: dict[str, dict[str, int]] = {}
        for place, term, size in self._sizes():
            terms = places.setdefault(_place(place), {})
            terms[term] = terms.get(term, 0) + size
        return EngineLoad(
            blob=self.blob,
            offloaded=None if offloaded is None else offloaded[0],
            layers=None if offloaded is None else offloaded[1],
            overflowing=self.overflowing,
            places={name: Terms(**terms) for name, terms in places.items() if any(terms.values())},
            exact=bool(self.exact),
            started=self.started,
            warnings=tuple(dict.fromkeys(self.warnings)),
        )

    def _sizes(self) -> Iterator[tuple[str, Term, int]]:
        if self.exact:
            yield from ((place, _KINDS[kind], size) for (_, place, kind), size in self.exact.items())
        else:
            yield from ((place, term, size) for (place, term), size in self.rounded.items())

    def _estimated(self) -> tuple[int, int] | None:
        offload, layers = self.estimate.get("layers.offload", ""), self.estimate.get("layers.model", "")
        digits = re.fullmatch(r"\d{1,5}", offload) and re.fullmatch(r"\d{1,5}", layers)
        return (int(offload), int(layers)) if digits else None


def _place(name: str) -> str:
    """Return the GPU that a buffer is on, or `host`; as Ollama itself tells them apart."""
    if name in ("CPU", "BLAS") or name.startswith("CPU_") or name.endswith("_Host"):
        return HOST
    for suffix in ("_Mapped", "_REPACK", "_Private"):
        name = name.removesuffix(suffix)
    return name
