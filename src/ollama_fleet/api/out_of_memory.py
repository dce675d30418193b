"""Running out of memory, recognised in the words of every engine: in errors, in streams, in logs.

The phrases are those of Ollama's own `llm/status.go`, of its schedulers (v0.9.6, v0.24.0, v0.32.15) and of
llama.cpp, which says by the name of the buffer what it was for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ollama_fleet.api.errors import Refused
from ollama_fleet.planner.memory import Estimate

MIB = 2**20

When = Literal["load", "late"]
Where = Literal["gpu", "host", "unknown"]
Term = Literal["weights", "kv", "compute", "growth"]
"""What was being allocated. `growth`: what an engine takes beside its buffers while it answers."""

_BENIGN = (
    "retrying without pipeline parallelism",
    "pinned memory",
    "host buffer for async uploads",
    "failed to allocate graph, reserving",
    "model layout did not fit, applying backoff",
    "evicting",
)
"""Said of a failure that the engine itself gets over."""

_HOST = (
    "requires more system memory",
    "too large for system",
    "signal: killed",
    "killed process",
    "oom-kill",
)
_GPU = (
    "out of memory",
    "out of device memory",
    "cudamalloc failed",
    "hipmalloc failed",
    "insufficient memory",
    "not enough memory",
    "erroroutof",
    "error_out_of",
    "cublas_status_alloc_failed",
    "memory layout cannot be allocated",
    "failed to commit memory for model",
    "reported out-of-memory",
)
_ANYWHERE = ("failed to allocate", "unable to allocate", "allocation failed")

_LIKELY = ("model runner has unexpectedly stopped", "may be due to resource limitations")
"""Said of every crash; memory is its usual reason, but not the only one."""

_TERMS: tuple[tuple[Term, re.Pattern[str]], ...] = (
    ("kv", re.compile(r"kv cache|kv_cache|rs cache|memory_recurrent", re.IGNORECASE)),
    (
        "compute",
        re.compile(
            r"compute (pp |tg )?buffers?|graph_reserve|gallocr|failed to allocate graph|output buffer"
            r"|compute graph",
            re.IGNORECASE,
        ),
    ),
    ("weights", re.compile(r"load_tensors|model_load|loading model|model weights", re.IGNORECASE)),
)
_SIZES = (
    (re.compile(r"allocating ([0-9.]+) MiB", re.IGNORECASE), MIB),
    (re.compile(r"buffer of size ([0-9.]+) MiB", re.IGNORECASE), MIB),
    (re.compile(r"buffer of size ([0-9]+)(?![0-9.])", re.IGNORECASE), 1),
)


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """What an engine said when memory ran out.

    - `term` is what was being allocated, `size` how many bytes of it at once; None where it was not said.
    - `words` is the line that says so. `certain` is False for words that are said of other crashes too.
    """

    when: When
    where: Where
    term: Term | None
    size: int | None
    words: str
    certain: bool = True


def out_of_memory(text: str, when: When = "load") -> OutOfMemory | None:
    """Find it in an error of the API or in lines of a log; None where memory was not the trouble.

    Args:
        text: of an error, or of a log from the start of a load on.
        when: `late` where the model was loaded and answered already.
    """
    lines = [line.strip() for line in re.split(r"[\n\r]|\\n", text) if line.strip()]
    sure = [line for line in lines if _said(line)]
    if not sure:
        likely = next((line for line in lines if any(words in line.lower() for words in _LIKELY)), None)
        return None if likely is None else OutOfMemory(when, "unknown", None, None, likely, certain=False)
    last = sure[-1]
    whole = "\n".join(sure)
    return OutOfMemory(when, _where(sure), _term(sure, lines, when), _size(whole), last)


def _said(line: str) -> bool:
    low = line.lower()
    if any(words in low for words in _BENIGN):
        return False
    return any(words in low for words in (*_HOST, *_GPU, *_ANYWHERE))


def _where(lines: Sequence[str]) -> Where:
    low = "\n".join(lines).lower()
    if any(words in low for words in (*_HOST, "cpu buffer")):
        return "host"
    return (
        "gpu"
        if any(words in low for words in _GPU) or re.search(r"(cuda|rocm|vulkan|mtl)\d", low)
        else "unknown"
    )


def _term(sure: Sequence[str], lines: Sequence[str], when: When) -> Term | None:
    # The line that names the buffer may be the one after that which says how much was asked of the device.
    for term, pattern in _TERMS[:2]:
        if any(pattern.search(line) for line in sure):
            return term
    if when == "late":
        return "growth"
    term, pattern = _TERMS[2]
    return term if any(pattern.search(line) for line in lines) else None


def _size(text: str) -> int | None:
    for pattern, unit in _SIZES:
        if found := pattern.search(text):
            return int(float(found[1]) * unit)
    return None


@dataclass(frozen=True, slots=True)
class Running:
    """How the model was to run when it ran out: what the advice is about."""

    num_ctx: int
    num_gpu: int | None = None
    kv_type: str = "f16"
    num_batch: int | None = None


def explained(found: OutOfMemory, estimate: Estimate | None = None, running: Running | None = None) -> str:
    """One line: what ran out, which term was larger than planned where that can be known, and what to change."""
    return f"{diagnosis(found, estimate)}; {', or '.join(advice(found, running))}"


def in_words(error: Exception, estimate: Estimate | None = None) -> str:
    """The text of an answer's error; where memory ran out, what that means, with the engine's own words behind it."""
    # A stream begins once the model is loaded.
    when: When = "late" if isinstance(error, Refused) and error.status is None else "load"
    found = out_of_memory(str(error), when)
    return str(error) if found is None else f"{explained(found, estimate)} ({found.words})"


def diagnosis(found: OutOfMemory, estimate: Estimate | None = None) -> str:
    """What ran out, and what was planned for it."""
    place = {"gpu": "the GPU ran out of memory", "host": "the host ran out of memory"}.get(
        found.where, "memory ran out"
    )
    when = "while it answered" if found.when == "late" else "while loading"
    said = f"{place} {when}"
    if not found.certain:
        said = f"the engine stopped {when}, most likely because memory ran out"
    if found.term is None:
        return said
    names = {"weights": "weights", "kv": "the cache", "compute": "the compute buffer"}
    if found.term == "growth":
        return f"{said}: it takes more with a filled context than right after loading"
    wanted = f" of {found.size / MIB:.0f} MiB" if found.size else ""
    said += f", at {names[found.term]}{wanted}"
    if estimate is None:
        return said
    planned = [int(getattr(device, found.term)) for device in estimate.devices]
    if found.where == "host":
        planned = [int(getattr(estimate.host, found.term))]
    if not any(planned):
        return said
    said += f", planned were {max(planned) / MIB:.0f} MiB"
    if found.size and found.size > max(planned):
        said += f", {(found.size - max(planned)) / MIB:.0f} MiB less"
    return said


def advice(found: OutOfMemory, running: Running | None = None) -> tuple[str, ...]:
    """What to change, what costs least first."""
    if found.where == "host":
        return ("take a smaller quantisation", "put more layers on the GPU (num_gpu)", "add memory or swap")
    smaller = "lower num_ctx"
    cache = None
    if running is None:
        layers = "lower num_gpu (`ollama-fleet tune` finds the largest that holds)"
        cache = "set OLLAMA_KV_CACHE_TYPE: q8_0"
    else:
        if running.num_ctx > 2048:
            smaller = f"lower num_ctx from {running.num_ctx}"
        if running.kv_type in ("f16", "f32", "bf16"):
            cache = f"set OLLAMA_KV_CACHE_TYPE: q8_0 (now {running.kv_type})"
        number = "" if running.num_gpu is None else f" from {running.num_gpu}"
        layers = f"lower num_gpu{number} (`ollama-fleet tune` finds the largest that holds)"
    quantisation = "take a smaller quantisation"
    batch = "lower num_batch" if running is None or (running.num_batch or 512) > 256 else None
    orders: dict[Term | None, tuple[str | None, ...]] = {
        "weights": (quantisation, layers, smaller),
        "kv": (smaller, cache, quantisation, layers),
        "compute": (batch, smaller, layers),
        "growth": (layers, smaller, cache),
        None: (smaller, cache, quantisation, layers),
    }
    return tuple(word for word in orders[found.term] if word)
