"""The parameters of a model, as a Modelfile's PARAMETER lines take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ollama_fleet.spec.errors import KeyPath, Wrong, WrongParts, did_you_mean, show
from ollama_fleet.spec.values import ReleaseVersion, check_text

ParameterValue = int | float | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a parameter holds (``int``, ``float``, ``bool``, or ``tuple`` for texts) and what it does."""

    name: str
    kind: type
    about: str
    since: tuple[int, int, int] | None = None


_TABLE = (
    Parameter("num_batch", int, "Tokens of a prompt that are worked on at once."),
    Parameter("main_gpu", int, "The one GPU that holds the model, by number."),
    Parameter("num_thread", int, "Threads of the CPU."),
    Parameter("draft_num_predict", int, "Tokens that a draft model guesses ahead.", since=(0, 30, 0)),
    Parameter("num_keep", int, "Tokens from the start that stay when the context is full."),
    Parameter("seed", int, "Start of the random numbers; the same seed gives the same answer."),
    Parameter("num_predict", int, "Most tokens of an answer; -1 for no bound."),
    Parameter("top_k", int, "Choose among this many tokens."),
    Parameter("repeat_last_n", int, "Tokens in which repetition is looked for; 0 for none, -1 for all."),
    Parameter("top_p", float, "Choose among tokens that make up this probability."),
    Parameter("min_p", float, "Leave out tokens below this share of the likeliest."),
    Parameter("typical_p", float, "Choose among tokens of typical information."),
    Parameter("temperature", float, "0 for the likeliest answer; higher is more varied."),
    Parameter("repeat_penalty", float, "How much repetition is punished; 1 for not at all."),
    Parameter("presence_penalty", float, "Punishes tokens that were used at all."),
    Parameter("frequency_penalty", float, "Punishes tokens by how often they were used."),
    Parameter("use_mmap", bool, "Map the file into memory instead of reading it."),
    Parameter("stop", tuple, "Texts that end an answer."),
)

PARAMETERS: Mapping[str, Parameter] = {parameter.name: parameter for parameter in _TABLE}
"""The parameters that Ollama takes and keeps, by name."""

OWNED = frozenset({"num_gpu", "num_ctx"})
"""Parameters with a key of their own on the model."""

IGNORED = frozenset(
    [
        "penalize_newline",
        "low_vram",
        "f16_kv",
        "logits_all",
        "vocab_only",
        "use_mlock",
        "mirostat",
        "mirostat_tau",
        "mirostat_eta",
    ]
)
"""Parameters that Ollama accepts and drops."""


def parse_parameters(value: object) -> dict[str, ParameterValue | None]:
    """The parameters by name; ``None`` stays, for it takes a parameter back.

    Raises WrongParts with all that is wrong.
    """
    if not isinstance(value, dict):
        raise Wrong(f"expected a map of parameters, got {show(value)}", "write NAME: value below parameters")
    parsed: dict[str, ParameterValue | None] = {}
    wrong: list[tuple[KeyPath, Wrong]] = []
    for name, setting in value.items():
        try:
            _check_name(name)
            parsed[name] = None if setting is None else _parse(name, setting)
        except Wrong as problem:
            wrong.append(((name,), problem))
    if wrong:
        raise WrongParts(wrong)
    return parsed


def _check_name(name: str) -> None:
    if name in OWNED:
        raise Wrong(
            f"{name} is a key of the model itself", "write it beside parameters, not below", of_key=True
        )
    if name in IGNORED:
        raise Wrong(f"{name} is ignored by Ollama", "remove it", of_key=True)
    if name not in PARAMETERS:
        hint = did_you_mean(name, [*PARAMETERS, *OWNED])
        raise Wrong(f"{show(name)} is no parameter of Ollama", hint, of_key=True)


def _parse(name: str, value: object) -> ParameterValue:
    kind = PARAMETERS[name].kind
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise Wrong(f"expected true or false, got {show(value)}")
    if kind is tuple:
        words = [value] if isinstance(value, str) else value
        if isinstance(words, list) and words and all(isinstance(word, str) and word for word in words):
            return tuple(check_text(word, lines=True, most=4096) for word in words)
        raise Wrong(f"expected texts, got {show(value)}", "write a list of texts in quotes")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"expected a number, got {show(value)}")
    if kind is int:
        if not isinstance(value, int):
            raise Wrong(f"expected a whole number, got {show(value)}")
        if not -(2**31) <= value < 2**31:
            raise Wrong(f"{show(value)} is too large")
        return value
    if abs(value) > 1e6:
        raise Wrong(f"{show(value)} is too large")
    return float(value)


def unknown_to(name: str, release: ReleaseVersion) -> str | None:
    """Why a release refuses a parameter, in words; ``None`` where it takes it."""
    since = PARAMETERS[name].since
    if since is None or release.numbers >= since:
        return None
    return f"{name} came with {'.'.join(map(str, since))}; release {release} refuses it"
