"""`fleet.lock`: every name resolved to digests, so that a run tomorrow equals a run today.

The file is YAML, sorted, one value a line, made to be committed and reviewed. Reading it trusts nothing:
keys, digests, names and URLs are checked, since all of them reach hosts.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError

from ollama_fleet.artifacts import lock_yaml
from ollama_fleet.artifacts.atomic_file import replace_file
from ollama_fleet.artifacts.lock_entries import (
    ArchiveLock,
    ConfigLock,
    Entry,
    FileLock,
    LayerLock,
    ModelLock,
    ReleaseLock,
    check_name,
    check_path,
    check_version,
)
from ollama_fleet.artifacts.measured import Measurements
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.spec.errors import KeyPath, Position, SpecError, SpecErrors, key_path, show
from ollama_fleet.spec.names import is_file_base

__all__ = [
    "ArchiveLock",
    "ConfigLock",
    "FileLock",
    "LayerLock",
    "Lock",
    "LockError",
    "ModelLock",
    "NotLocked",
    "ReleaseLock",
]

HEADER = """\
# Written by `ollama-fleet lock`: what the names in fleet.yaml stood for. Commit it; do not edit it by hand.
"""


class LockError(SpecErrors):
    """A lock that cannot be used; one line for each mistake, with file, line and column."""


class NotLocked(LookupError):
    """Something is asked of the lock that is not in it; the message says what to run."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not in fleet.lock; run `ollama-fleet lock`")


class Lock(Entry):
    """The whole lock. Immutable: `with_release`, `with_model` and `with_file` return a changed copy.

    `measured` goes with it wherever plans are made, but is a file of its own.
    """

    version: Literal[1] = 1
    releases: dict[Annotated[str, AfterValidator(check_version)], ReleaseLock] = Field(default_factory=dict)
    models: dict[Annotated[str, AfterValidator(check_name)], ModelLock] = Field(default_factory=dict)
    files: dict[Annotated[str, AfterValidator(check_path)], FileLock] = Field(default_factory=dict)
    _measured: Measurements = PrivateAttr(default_factory=Measurements)

    @classmethod
    def load(cls, path: Path) -> Lock:
        """Read a lock.

        Raises:
            LockError: with one line for each mistake; also where there is no such file.
        """
        try:
            with path.open("rb") as stream:
                content = stream.read(lock_yaml.MAX_BYTES + 1)
        except OSError as error:
            reason = (error.strerror or "cannot be read").lower()
            hint = "run `ollama-fleet lock`" if isinstance(error, FileNotFoundError) else None
            raise LockError([SpecError("", reason, hint, None, str(path))]) from None
        return cls.loads(content, str(path))

    @classmethod
    def loads(cls, content: bytes, file: str = "fleet.lock") -> Lock:
        """Read the bytes of a lock; raises as `load`."""
        try:
            data, positions = lock_yaml.load(content, file)
        except SpecErrors as error:
            raise LockError(error.errors) from None
        if not isinstance(data, dict) or "version" not in data:
            hint = "`ollama-fleet lock --update` writes it anew"
            raise LockError([SpecError("", "this is no lock: it has no version", hint, Position(1, 1), file)])
        if data["version"] != 1 or data["version"] is True:
            message = f"version is {show(data['version'])}; this ollama-fleet reads version 1"
            hint = "use the ollama-fleet that wrote it, or a newer one"
            raise LockError([SpecError("version", message, hint, positions.get(("version",)), file)])
        try:
            lock = cls.model_validate(data)
        except ValidationError as error:
            raise LockError(_spec_errors(error, positions, file)) from None
        folded: dict[str, str] = {}
        for name in lock.models:
            other = folded.setdefault(ModelName.parse(name).folded, name)
            if other != name:
                message = f"the same model as {show(other)} to Ollama, which ignores case"
                where = positions.get(("models", name))
                raise LockError([SpecError(key_path(("models", name)), message, None, where, file)])
        return lock

    def dumps(self) -> str:
        """The text of the lock: the same for the same content, whatever order it was put together in."""
        data = self.model_dump(exclude={"version"}, exclude_defaults=True)
        return f"{HEADER}version: {self.version}\n" + (lock_yaml.dump(data) if data else "")

    def save(self, path: Path) -> bool:
        """Write the lock in one step: a reader sees the old or the new one. Returns whether anything changed.

        Raises:
            OSError: when it cannot be written; the old one is then untouched.
        """
        content = self.dumps().encode()
        path = path.resolve()
        if path.is_file() and path.read_bytes() == content:
            return False
        replace_file(path, content)
        return True

    def release(self, version: str) -> ReleaseLock:
        """The release of a version. Raises NotLocked."""
        if (found := self.releases.get(version)) is None:
            raise NotLocked(f"release {show(version)}")
        return found

    def archive(self, version: str, target: str) -> ArchiveLock:
        """One archive of a release. Raises NotLocked."""
        if (found := self.release(version).archives.get(target)) is None:
            raise NotLocked(f"the archive {show(target)} of release {show(version)}")
        return found

    def model(self, name: ModelName) -> ModelLock:
        """A model by name, without regard to case. Raises NotLocked."""
        if (found := self.find_model(name)) is None:
            raise NotLocked(f"model {show(name.short)}")
        return found

    def find_model(self, name: ModelName) -> ModelLock | None:
        """A model by name, without regard to case; None where it is not locked."""
        return self._folded.get(name.folded)

    @cached_property
    def _folded(self) -> dict[str, ModelLock]:
        return {ModelName.parse(key).folded: model for key, model in self.models.items()}

    def file(self, path: str) -> FileLock:
        """A GGUF file by the path written in fleet.yaml. Raises NotLocked."""
        if (found := self.files.get(path)) is None:
            raise NotLocked(f"file {show(path)}")
        return found

    def digest_of(self, base: str) -> str | None:
        """The digest of a base as fleet.yaml names it: of the manifest, or of a GGUF file; None if not locked."""
        if is_file_base(base):
            file = self.files.get(base)
            return None if file is None else f"sha256:{file.sha256}"
        model = self.find_model(ModelName.parse(base))
        return None if model is None else model.digest

    @property
    def measured(self) -> Measurements:
        """What models took on GPUs."""
        return self._measured

    def with_measured(self, measured: Measurements) -> Lock:
        """A copy that knows what models took."""
        changed = self._changed()
        changed._measured = measured
        return changed

    def with_release(self, version: str, release: ReleaseLock) -> Lock:
        """A copy that has this release."""
        return self._changed(releases={**self.releases, version: release})

    def with_model(self, name: ModelName, model: ModelLock) -> Lock:
        """A copy that has this model, in place of one of the same name in other case."""
        others = {key: value for key, value in self.models.items() if ModelName.parse(key) != name}
        return self._changed(models={**others, name.short: model})

    def with_file(self, path: str, file: FileLock) -> Lock:
        """A copy that has this file."""
        return self._changed(files={**self.files, path: file})

    def _changed(self, **changes: Any) -> Lock:
        # Built anew, not copied, so that names and versions are checked on this way in too.
        lock = Lock(**{"releases": self.releases, "models": self.models, "files": self.files, **changes})
        lock._measured = self._measured
        return lock


def _spec_errors(error: ValidationError, positions: lock_yaml.Positions, file: str) -> list[SpecError]:
    found = []
    for problem in error.errors():
        path: KeyPath = tuple(part for part in problem["loc"] if part != "[key]")
        where = path
        while where and where not in positions:
            where = where[:-1]
        match problem["type"]:
            case "extra_forbidden":
                message = "unknown key"
            case "missing":
                message = "is missing"
            case "value_error" | "assertion_error":
                message = str(problem["ctx"]["error"])
            case "dict_type" | "model_type":
                message = f"should be a map, not {show(problem['input'])}"
            case _:
                message = f"{problem['msg'].removeprefix('Input ')}, not {show(problem['input'])}"
        found.append(SpecError(key_path(path), message, None, positions.get(where), file))
    return found
