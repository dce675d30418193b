"""One placement put to the test by the API alone: it loads, it answers, and it is where the plan puts it.

What the API claims may be untrue (`verify` holds it against the engine's log and the device); where it admits
that something is wrong, that is enough to stop at.
"""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.api.client import STALL_TIMEOUT, LoadedModel, Ollama
from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.inference import Answer, ask
from ollama_fleet.api.listed import by_name
from ollama_fleet.api.out_of_memory import in_words
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.planner.decision import Decision
from ollama_fleet.planner.placement import Placement

PROMPT = "Reply with one short sentence."
QUESTION_OPTIONS = {"num_predict": 16, "seed": 1, "temperature": 0}
"""A short answer, the same each time. They are no options of the loaded model, so they never make it load anew."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What a placement did: its answer and its line of `/api/ps`, as far as it came, and what is wrong."""

    name: str
    answer: Answer | None
    loaded: LoadedModel | None
    failures: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.failures


def try_placement(
    server: Ollama,
    placement: Placement,
    *,
    keep_alive: str | int | None = None,
    timeout: float = STALL_TIMEOUT,
    partly: bool = True,
) -> Tried:
    """Load a placement, let it answer, and see where `/api/ps` says that it is; never raises ApiError.

    Args:
        server: where it is served.
        placement: the planned model.
        keep_alive: how long it stays loaded, as the API takes it; None leaves that to the model or the server.
        timeout: seconds without any word, the load included.
        partly: whether a part on the CPU that is planned on GPUs is wrong, too.
    """
    name = placement.created.name
    answer: Answer | None = None
    loaded: LoadedModel | None = None
    try:
        answer = ask(server, name, PROMPT, options=QUESTION_OPTIONS, keep_alive=keep_alive, timeout=timeout)
        loaded = resident(server, placement.created.model)
    except ApiError as error:
        return Tried(name, answer, loaded, (f"{name}: {in_words(error, placement.decision.estimate)}",))
    return Tried(
        name,
        answer,
        loaded,
        (*silence(name, answer), *misplaced(name, loaded, placement.decision, partly=partly)),
    )


def resident(server: Ollama, model: ModelName) -> LoadedModel | None:
    """Return a model's line of `/api/ps`; None where it is not in memory, or under a sibling's name.

    Models of one file share a runner, which keeps the name of whichever came first.
    """
    return by_name(server.loaded()).get(model)


def silence(name: str, answer: Answer) -> list[str]:
    """What is wrong with an answer in which nothing was said."""
    said = answer.tokens or answer.text.strip() or answer.width
    return [] if said else [f"{name}: it answers nothing"]


def misplaced(name: str, loaded: LoadedModel | None, decision: Decision, *, partly: bool = True) -> list[str]:
    """What `/api/ps` says against the plan: a model that should be on GPUs and is not, or (`partly`) not wholly.

    Where nothing is known of a model, or it is planned for the CPU, there is nothing to say.
    """
    estimate = decision.estimate
    if loaded is None or estimate is None or not estimate.layers_offloaded:
        return []
    if loaded.size_vram <= 0:
        return [
            f"{name}: it runs on the CPU, planned are {estimate.layers_offloaded} of {estimate.layers_total} "
            "layers on GPUs"
        ]
    if partly and estimate.full and loaded.size_vram < loaded.size:
        return [f"{name}: only {gpu_percent(loaded)} % of it are on GPUs, planned is all of it"]
    return []


def gpu_percent(loaded: LoadedModel) -> int:
    """The share of a loaded model that is on GPUs, as `ollama ps` rounds it."""
    if loaded.size <= 0:
        return 0
    return 100 - round((loaded.size - min(loaded.size_vram, loaded.size)) / loaded.size * 100)
