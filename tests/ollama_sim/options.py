"""Model options: defaults, merging, and the types that loading insists on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_sim import golog

_INTEGERS = (
    *("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread"),
    *("num_keep", "seed", "num_predict", "top_k", "repeat_last_n"),
)
_FLOATS = [
    "top_p",
    "min_p",
    "typical_p",
    "temperature",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
]
KINDS = dict.fromkeys(_INTEGERS, "integer") | dict.fromkeys(_FLOATS, "float32")
KINDS |= {"use_mmap": "boolean", "stop": "array"}


class OptionError(ValueError):
    """An option of the wrong type; the text is what the API answers."""


@dataclass(frozen=True)
class RunnerOptions:
    """The options that belong to a loaded model: another value means loading again."""

    num_ctx: int
    num_batch: int = 512
    num_gpu: int = -1
    main_gpu: int = 0
    use_mmap: bool | None = None
    num_thread: int = 0


def check(options: Mapping[str, Any]) -> None:
    """Raises OptionError for a value of the wrong type; an unknown option is only logged."""
    for key, value in options.items():
        kind = KINDS.get(key) or ("integer" if key == "draft_num_predict" else None)
        if kind is None:
            golog.log("WARN", "types.go:1003", "invalid option provided", option=key)
        elif value is not None and not _fits(kind, value):
            words = f"option {golog.quote(key)} must be of type {kind}"
            if kind == "array" and isinstance(value, list):
                words = f"option {golog.quote(key)} must be of an array of strings"
            raise OptionError(words)


def runner(stored: Mapping[str, Any], asked: Mapping[str, Any], default_context: int) -> RunnerOptions:
    """Defaults, then the model's own, then the request's. Raises OptionError."""
    merged: dict[str, Any] = {"num_ctx": default_context}
    for options in (stored, asked):
        check(options)
        merged |= {key: value for key, value in options.items() if value is not None}
    return RunnerOptions(
        num_ctx=max(int(merged["num_ctx"]), 4),
        num_batch=int(merged.get("num_batch", 512)),
        num_gpu=int(merged.get("num_gpu", -1)),
        main_gpu=int(merged.get("main_gpu", 0)),
        use_mmap=merged.get("use_mmap"),
        num_thread=int(merged.get("num_thread", 0)),
    )


def _fits(kind: str, value: Any) -> bool:
    if kind in ("integer", "float32"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "boolean":
        return isinstance(value, bool)
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
