"""What was seen of one placement, and what of it is wrong. Pure: nothing here asks anybody anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ollama_fleet.api.client import LoadedModel
from ollama_fleet.api.inference import Answer
from ollama_fleet.checks.engine_log import EngineLoad
from ollama_fleet.checks.placement import gpu_percent, silence
from ollama_fleet.planner.decision import Decision
from ollama_fleet.planner.memory import Estimate
from ollama_fleet.spec.model_request import Expected

MIB = 2**20

How = Literal["resident", "loaded", "failed"]
"""A placement was in memory already, was loaded for the check, or came to nothing."""
NOTICEABLE = 256 * MIB
"""Below it the figures of a device say nothing: drivers round, and desktops come and go."""
TRUE_SHARE = 0.5
"""Of what the API claims, so much must at least show on the devices; estimates are off by less."""
_KV_IGNORED = ("kv cache type", "KV_CACHE_TYPE", "quantized kv cache")


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that is not as it should be: which check found it, and one line for people."""

    check: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Evidence:
    """One placement as it was seen.

    - ``loaded`` is its line of `/api/ps`, under its own name or a sibling's of the same file and options.
    - ``log`` is its load in the engine's log; ``log_readable`` tells whether there is a log at all.
    - ``used_before`` and ``used`` are bytes in use on all devices before and after the load, ``claimed`` what
      `/api/ps` says of all models together; None where nobody measured it.
    - ``has_devices``: the host shows GPUs; ``file_size`` is that of the model file in bytes, ``trained`` the
      longest context that the model was trained for, in tokens.
    """

    name: str
    decision: Decision
    expected: Expected | None
    how: How
    answer: Answer | None = None
    loaded: LoadedModel | None = None
    log: EngineLoad | None = None
    log_readable: bool = True
    used_before: int | None = None
    used: int | None = None
    claimed: int | None = None
    has_devices: bool = True
    file_size: int | None = None
    trained: int | None = None
    compute: tuple[str, ...] = field(default=())
    """Libraries of the devices that the server found at its start: `CUDA`, `cpu` …"""

    @property
    def estimate(self) -> Estimate | None:
        """The prediction, where there is one."""
        return self.decision.estimate

    @property
    def grown(self) -> int | None:
        """Bytes by which the devices' memory grew with the load; None where it was not measured."""
        if self.used is None or self.used_before is None:
            return None
        return self.used - self.used_before

    @property
    def vram(self) -> int | None:
        """Bytes on GPUs, by the best witness: the devices, else the engine's log, else the API."""
        if self.grown is not None:
            return max(self.grown, 0)
        if self.log is not None and self.log.places:
            return self.log.vram
        return None if self.loaded is None else self.loaded.size_vram

    @property
    def percent(self) -> int | None:
        """The share on GPUs; where the log contradicts a claim of everything, by layers."""
        if self.loaded is None:
            return None
        claimed = gpu_percent(self.loaded)
        log = self.log
        if claimed == 100 and log is not None and log.full is False and log.layers:
            return min(round((log.offloaded or 0) / log.layers * 100), 99)
        return claimed


def failures(seen: Evidence) -> list[Failure]:
    """Everything that is wrong with a placement, most telling first."""
    found = [Failure("answer", text) for text in (silence(seen.name, seen.answer) if seen.answer else ())]
    for text in _offload(seen):
        found.append(Failure("offload", f"{seen.name}: {text}"))
    for text in _false_claim(seen):
        found.append(Failure("false-claim", f"{seen.name}: {text}"))
    for text in _context(seen):
        found.append(Failure("context", f"{seen.name}: {text}"))
    for text in seen.log.warnings if seen.log else ():
        if any(word in text for word in _KV_IGNORED):
            found.append(
                Failure(
                    "environment",
                    f"{seen.name}: OLLAMA_KV_CACHE_TYPE is not in effect, the engine says: {text}",
                )
            )
    for text in _expectations(seen):
        found.append(Failure("expect", f"{seen.name}: {text}"))
    return found


def remarks(seen: Evidence) -> list[str]:
    """What could not be looked at, so that silence is not taken for proof."""
    found = []
    if seen.loaded is None and seen.how != "failed":
        found.append("it is in no line of /api/ps: it had left before anybody could look")
    if not seen.log_readable:
        found.append("the engine's log cannot be read there, so layers are not known")
    elif seen.log is None:
        found.append("its load is no longer in the engine's log, so layers are not known")
    if seen.has_devices and seen.used is None:
        found.append("the devices do not tell how much of their memory is in use")
    return found


def _offload(seen: Evidence) -> Iterator[str]:
    planned = seen.estimate
    if seen.loaded is None or planned is None:
        return
    log = seen.log
    if not planned.layers_offloaded:
        if seen.decision.num_gpu == 0 and seen.loaded.size_vram > 0:
            yield f"it is planned for the CPU, and {gpu_percent(seen.loaded)} % of it are on GPUs"
        return
    wanted = f"planned are {planned.layers_offloaded} of {planned.layers_total} layers on GPUs"
    told = log is not None and log.offloaded is not None
    on_cpu = not (log.offloaded if log is not None and told else seen.loaded.size_vram)
    if on_cpu:
        found_none = bool(seen.compute) and set(seen.compute) == {"cpu"}
        why = (
            "; the server found no GPU when it started (library=cpu): look at the driver"
            if found_none
            else ""
        )
        yield f"CPU fallback: it runs on the CPU alone, {wanted}{why}"
    elif log is not None and log.offloaded is not None and log.layers is not None:
        if log.layers == planned.layers_total and log.offloaded < planned.layers_offloaded - _slack(
            seen, planned
        ):
            yield f"partial offload: {log.offloaded} of {log.layers} layers are on GPUs, {wanted}"
        elif planned.full and log.full is False:
            parts = f", and {log.overflowing} of them only in part" if log.overflowing else ""
            yield f"partial offload: {log.offloaded} of {log.layers} layers are on GPUs{parts}, {wanted}"
    elif planned.full and seen.loaded.size_vram < seen.loaded.size:
        yield f"partial offload: {gpu_percent(seen.loaded)} % of it are on GPUs, {wanted}"


def _slack(seen: Evidence, planned: Estimate) -> int:
    """Layers by which a prediction may be off: where the engine divides a model that does not fit wholly."""
    chosen_by_engine = seen.decision.num_gpu is None and not planned.full
    return max(planned.layers_total // 10, 1) if chosen_by_engine else 0


def _false_claim(seen: Evidence) -> Iterator[str]:
    """A claim of GPU memory that another witness contradicts."""
    loaded, log = seen.loaded, seen.log
    if loaded is None or loaded.size_vram <= 0:
        return
    claim = f"/api/ps says {gpu_percent(loaded)} % GPU"
    if gpu_percent(loaded) == 100 and log is not None and log.full is False:
        parts = f" ({log.overflowing} of them only in part)" if log.overflowing else ""
        yield f"false 100 % GPU: {claim}, the engine's log {log.offloaded} of {log.layers} layers{parts}"
    elif loaded.size == loaded.size_vram == seen.file_size and not (log and log.devices):
        yield f"false 100 % GPU: {claim}, but its figure is the size of the file: the server measured nothing"
    if not seen.has_devices:
        yield f"{claim}, and the host shows no GPU"
        return
    grown, used, claimed = seen.grown, seen.used, seen.claimed
    if grown is not None and _too_little(grown, loaded.size_vram):
        yield (
            f"{claim}, {_mib(loaded.size_vram)} of memory, but on the devices only {_mib(max(grown, 0))} more "
            "are in use than before it was loaded"
        )
    elif grown is None and used is not None and claimed is not None and _too_little(used, claimed):
        yield (
            f"/api/ps says that models have {_mib(claimed)} of GPU memory, but on the devices only "
            f"{_mib(used)} are in use"
        )


def _too_little(seen: int, claimed: int) -> bool:
    return claimed >= NOTICEABLE and seen < claimed * TRUE_SHARE


def _context(seen: Evidence) -> Iterator[str]:
    """Less context than planned is wrong; a server gives more by itself where a model sees pictures."""
    if seen.loaded is None or seen.loaded.context_length is None or seen.how == "failed":
        return
    wanted = min(seen.decision.num_ctx, seen.trained or seen.decision.num_ctx)
    if seen.loaded.context_length < wanted:
        yield f"its context is {seen.loaded.context_length} tokens, planned are {wanted}"


def _expectations(seen: Evidence) -> Iterator[str]:
    if seen.expected is None or seen.how == "failed":
        return
    for found in (
        _expected_share(seen, seen.expected),
        _expected_layers(seen, seen.expected),
        _expected_rate(seen, seen.expected),
        _expected_memory(seen, seen.expected),
    ):
        if found is not None:
            yield found


def _expected_share(seen: Evidence, expected: Expected) -> str | None:
    least, there = expected.gpu_percent, seen.percent
    if least is None or (there is not None and there >= least):
        return None
    told = "nothing tells how much it is" if there is None else f"it is {there} %"
    return f"expected are {least} % GPU, {told}"


def _expected_layers(seen: Evidence, expected: Expected) -> str | None:
    offloaded = None if seen.log is None else seen.log.offloaded
    if offloaded is None and seen.loaded is not None and seen.loaded.size_vram == 0:
        offloaded = 0
    if expected.layers is None or (offloaded is not None and offloaded >= expected.layers):
        return None
    told = "the engine's log does not tell how many are" if offloaded is None else f"{offloaded} are"
    return f"expected are {expected.layers} layers on GPUs, {told}"


def _expected_rate(seen: Evidence, expected: Expected) -> str | None:
    least = expected.tokens_per_second
    if least is None or seen.answer is None or seen.answer.width:
        return None
    rate = seen.answer.tokens_per_second
    if rate is not None and rate >= least:
        return None
    told = "the answer tells no rate" if rate is None else f"it made {rate:.2f}"
    return f"expected are {least:g} tokens/s, {told}"


def _expected_memory(seen: Evidence, expected: Expected) -> str | None:
    most = expected.max_vram
    if most is None or (seen.vram is not None and seen.vram <= most):
        return None
    told = "nothing tells how much it takes" if seen.vram is None else f"it takes {_mib(seen.vram)}"
    return f"expected is at most {_mib(most)} of GPU memory, {told}"


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB".replace(",", "\u2009")
