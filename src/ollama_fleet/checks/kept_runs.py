"""`fleet.runs.jsonl`: every run of `tune` and `bench`, a line of JSON each, the newest last.

Only appended to, so two branches merge line by line, and lines may be deleted by hand. The page draws from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ollama_fleet.checks.bench_figures import Run
from ollama_fleet.checks.trial_steps import Step
from ollama_fleet.spec.errors import Position, SpecError, SpecErrors

FILE = "fleet.runs.jsonl"
MAX_BYTES = 64 << 20

Word = Annotated[str, Field(pattern=r"^[^\x00-\x1f]{0,300}$")]
Count = Annotated[int, Field(ge=0, le=1 << 40)]


class KeptRun(BaseModel):
    """One run of one model on one host; rates in tokens per second, sizes in bytes.

    `runs` are the load patterns of a `bench`, `steps` the settings that a `tune` tried of `layers` layers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Literal[1] = 1
    kind: Literal["bench", "tune"]
    time: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    """UTC."""
    host: Word
    model: Word
    base: Word
    digest: Word | None
    quantization: Word | None
    release: Word
    gpus: tuple[Word, ...]
    num_ctx: Count | None
    num_gpu: Count | None
    layers: Count | None = None
    runs: tuple[Run, ...] = ()
    steps: tuple[Step, ...] = ()


def now() -> str:
    """The time as a line has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def load_runs(path: Path) -> tuple[KeptRun, ...]:
    """Read the file; nothing where there is none.

    Raises:
        SpecErrors: one line for each that cannot be read.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise SpecErrors([SpecError("", reason, None, None, str(path))]) from None
    if len(content) > MAX_BYTES:
        raise SpecErrors([SpecError("", "it is larger than 64 MiB", "delete old lines", None, str(path))])
    found, wrong = [], []
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(KeptRun.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            hint = "delete the line; the next run writes its own"
            place = Position(number, 1)
            wrong.append(SpecError(where, str(first["msg"]), hint, place, str(path)))
    if wrong:
        raise SpecErrors(wrong)
    return tuple(found)


def append_runs(path: Path, runs: Iterable[KeptRun]) -> None:
    """Add lines to the file, all at once. Raises OSError."""
    text = "".join(f"{run.model_dump_json()}\n" for run in runs)
    if not text:
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        end = os.fstat(descriptor).st_size
        whole = not end or os.pread(descriptor, 1, end - 1) == b"\n"
        os.write(descriptor, ("" if whole else "\n").encode() + text.encode())
    finally:
        os.close(descriptor)
