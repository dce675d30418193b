"""`fleet.measured.yaml`: what models really took on GPUs, beside what had been planned for them.

Written by `ollama-fleet tune`, committed like the lock, and used by the planner for the same weights (digest), release
and GPUs. The text is the same for the same content.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from ollama_fleet.artifacts import lock_yaml
from ollama_fleet.artifacts.atomic_file import replace_file
from ollama_fleet.artifacts.lock_entries import Entry
from ollama_fleet.spec.errors import KeyPath, SpecError, SpecErrors, key_path, show

FILE = "fleet.measured.yaml"
HEADER = """\
# Written by `ollama-fleet tune`: what models took on GPUs (bytes) beside what was planned. Commit it; plans use it.
"""
_LEAST, _MOST = 0.25, 4.0
"""What differs by more is a mistake of measuring, not of planning."""

Size = Annotated[int, Field(ge=0, le=1 << 60)]
Word = Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,200}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Terms(Entry):
    """The buffers on all GPUs, bytes."""

    weights: Size
    kv: Size
    compute: Size

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.kv + self.compute


class Measurement(Entry):
    """One placement, planned and observed.

    `beside` is what a GPU gave beside the buffers at the peak: the engine's own start and what grew with the context.
    """

    model: Word
    num_gpu: Annotated[int, Field(ge=0, le=100_000)]
    num_ctx: Annotated[int, Field(ge=1, le=1 << 40)]
    kv_cache_type: Word
    planned: Terms
    observed: Terms
    beside: Size

    @property
    def correction(self) -> Correction:
        """By what plans for it are to be corrected."""
        planned, observed = self.planned, self.observed
        return Correction(
            (planned.weights, observed.weights),
            (planned.kv, observed.kv),
            (planned.compute, observed.compute),
            self.beside,
        )


@dataclass(frozen=True, slots=True)
class Correction:
    """Planned and observed bytes of each term, which scale what is planned anew, and what lies beside them."""

    weights: tuple[int, int]
    kv: tuple[int, int]
    compute: tuple[int, int]
    beside: int


def scaled(size: int, ratio: tuple[int, int]) -> int:
    """A planned size as it was observed; unchanged where there is nothing to go by."""
    planned, observed = ratio
    if not planned or not _LEAST * planned <= observed <= _MOST * planned:
        return size
    return -(-size * observed // planned)


class Measurements(Entry):
    """All of them: by digest of the base, by release, by the GPUs' kinds (`rtx-4090`, `rtx-3090+rtx-3090`)."""

    version: Literal[1] = 1
    measured: dict[Digest, dict[Word, dict[Word, Measurement]]] = Field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file; nothing where there is none.

        Raises:
            SpecErrors: one line for each mistake in it.
        """
        try:
            with path.open("rb") as stream:
                content = stream.read(lock_yaml.MAX_BYTES + 1)
        except FileNotFoundError:
            return cls()
        except OSError as error:
            reason = (error.strerror or "cannot be read").lower()
            raise SpecErrors([SpecError("", reason, None, None, str(path))]) from None
        return cls.loads(content, str(path))

    @classmethod
    def loads(cls, content: bytes, file: str = FILE) -> Self:
        """Read the bytes of the file; raises as `load`."""
        data, positions = lock_yaml.load(content, file)
        try:
            return cls.model_validate({} if data is None else data)
        except ValidationError as error:
            found = []
            for problem in error.errors():
                path: KeyPath = tuple(part for part in problem["loc"] if part != "[key]")
                where = path
                while where and where not in positions:
                    where = where[:-1]
                message = f"{problem['msg'].removeprefix('Input ')}, not {show(problem['input'])}"
                hint = "remove the entry; `ollama-fleet tune` writes it anew"
                found.append(SpecError(key_path(path), message, hint, positions.get(where), file))
            raise SpecErrors(found) from None

    def dumps(self) -> str:
        """The text of the file."""
        return f"{HEADER}version: {self.version}\n" + lock_yaml.dump(
            {"measured": self.model_dump()["measured"]}
        )

    def save(self, path: Path) -> bool:
        """Write the file in one step; returns whether anything changed. Raises OSError."""
        content = self.dumps().encode()
        if path.is_file() and path.read_bytes() == content:
            return False
        replace_file(path, content)
        return True

    def find(self, digest: str | None, release: str, kinds: str) -> Measurement | None:
        """What was measured of these weights, with this release, on these GPUs."""
        if digest is None or not kinds:
            return None
        return self.measured.get(digest, {}).get(release, {}).get(kinds)

    def with_one(self, digest: str, release: str, kinds: str, one: Measurement) -> Self:
        """A copy that has this measurement, in place of an earlier one."""
        releases = self.measured.get(digest, {})
        changed = {**releases, release: {**releases.get(release, {}), kinds: one}}
        return type(self)(measured={**self.measured, digest: changed})
