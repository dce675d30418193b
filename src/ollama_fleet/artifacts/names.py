"""Model names as Ollama reads them.

The rules (parts, characters, lengths, defaults, folding of case) are those of Ollama's own name parser. Two
things that it takes and then silently ignores or reinterprets are refused in what a user writes: an `http://`
scheme, and the tags that Ollama understands as "where the model runs".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "DEFAULT_HOST",
    "DEFAULT_NAMESPACE",
    "DEFAULT_TAG",
    "ModelName",
    "ModelNameError",
]

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_MAX_HOST = 350
_MAX_PART = 80

# The first character keeps "..", "-rf" and empty parts out of paths and command lines.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_MODEL_OR_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class ModelNameError(ValueError):
    """A text that is no model name; the message is one line and says why."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelName:
    """A complete model name. Names are equal where Ollama takes them for the same model: without regard to
    case.

    Build it with `parse` (what a user writes) or `from_manifest_path` (what lies on a host, where the tags
    that are reserved do occur: stubs of cloud models have them).
    """

    host: str
    namespace: str
    model: str
    tag: str

    def __post_init__(self) -> None:
        _check("host", self.host, _HOST, _MAX_HOST)
        _check("namespace", self.namespace, _NAMESPACE, _MAX_PART)
        _check("model", self.model, _MODEL_OR_TAG, _MAX_PART)
        _check("tag", self.tag, _MODEL_OR_TAG, _MAX_PART)

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Read `[host/][namespace/]model[:tag]`, filling in what Ollama fills in.

        Raises:
            ModelNameError: with the part that is wrong and why.
        """
        if not text:
            raise ModelNameError("a model name cannot be empty")
        if text != text.strip():
            raise ModelNameError(f"model name {text!r} has blanks around it")
        if "@" in text:
            raise ModelNameError(
                f"model name {_shown(text)} contains '@': Ollama pulls by tag; fleet.lock pins the digest"
            )
        rest = _without_scheme(text)
        if rest is not text and rest.count("/") != 2:
            raise ModelNameError(f"model name {_shown(text)} is not https://host/namespace/model:tag")
        tag = DEFAULT_TAG
        # A colon after the last slash starts the tag; one before it is the port of the host.
        if rest.rfind(":") > rest.rfind("/"):
            rest, _, tag = rest.rpartition(":")
        host, namespace = DEFAULT_HOST, DEFAULT_NAMESPACE
        rest, slash, model = rest.rpartition("/")
        if slash:
            rest, slash, namespace = rest.rpartition("/")
            if slash:
                host = rest
        if ":" in namespace:
            raise ModelNameError(
                f"namespace {_shown(namespace)} in model name {_shown(text)} contains ':'; "
                "a registry's name needs three parts, as in mirror.lan:5000/library/qwen3:8b"
            )
        if "/" in host:
            raise ModelNameError(
                f"model name {_shown(text)} has too many '/': it is host/namespace/model:tag"
            )
        name = cls(host, namespace, model, tag)
        _refuse_reserved_tag(tag)
        return name

    @classmethod
    def from_manifest_path(cls, path: str) -> ModelName:
        """Read the relative path of a manifest, `host/namespace/model/tag`.

        Raises:
            ModelNameError: when the path has not four parts or one of them is not valid.
        """
        parts = path.split("/")
        if len(parts) != 4:
            raise ModelNameError(f"manifest path {_shown(path)} is not host/namespace/model/tag")
        return cls(*parts)

    @property
    def short(self) -> str:
        """The name as Ollama displays it: defaults left out, the tag always there."""
        if self.host.lower() != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def full(self) -> str:
        """All four parts: `registry.ollama.ai/library/qwen3:8b`."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def manifest_path(self) -> str:
        """Where the manifest lies below `$OLLAMA_MODELS/manifests`, with `/` on every system."""
        return f"{self.host}/{self.namespace}/{self.model}/{self.tag}"

    @property
    def repository(self) -> str:
        """`namespace/model`, the name inside its registry."""
        return f"{self.namespace}/{self.model}"

    @property
    def registry_base(self) -> str:
        """`https://HOST`: Ollama speaks plain HTTP only where a pull says `insecure`."""
        return f"https://{self.host}"

    @property
    def folded(self) -> str:
        """The full name in lower case: equal for names that Ollama takes for the same model."""
        return self.full.lower()

    @property
    def valid_on_windows(self) -> bool:
        """False where the host has a port: a directory on Windows cannot have `:` in its name."""
        return ":" not in self.host

    def __str__(self) -> str:
        return self.short

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ModelName):
            return NotImplemented
        return self.folded == other.folded

    def __hash__(self) -> int:
        return hash(self.folded)

    def __lt__(self, other: ModelName) -> bool:
        return self.folded < other.folded


def _without_scheme(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or scheme == "https":
        return rest if separator else text
    if scheme == "http":
        raise ModelNameError(
            f"model name {_shown(text)} begins with http://, which Ollama ignores in a name; "
            "leave it out and set `insecure: true` for the registry"
        )
    raise ModelNameError(
        f"model name {_shown(text)} begins with {_shown(scheme)}://; only https is a registry"
    )


def _check(kind: str, part: str, pattern: re.Pattern[str], longest: int) -> None:
    if not part:
        raise ModelNameError(f"the {kind} of the model name is empty")
    if len(part) > longest:
        raise ModelNameError(
            f"the {kind} of the model name has {len(part)} characters; at most {longest} are allowed"
        )
    if pattern.fullmatch(part):
        return
    if not pattern.match(part):
        raise ModelNameError(f"{kind} {_shown(part)} must begin with a letter, a digit or '_'")
    wrong = next(char for position, char in enumerate(part) if not pattern.fullmatch(part[: position + 1]))
    allowed: Sequence[str] = {"host": "_ - . :", "namespace": "_ -"}.get(kind, "_ - .").split()
    raise ModelNameError(
        f"{kind} {_shown(part)} contains {wrong!r}; letters, digits and {' '.join(allowed)} are allowed"
    )


def _refuse_reserved_tag(tag: str) -> None:
    folded = tag.lower()
    if folded in {"cloud", "local"} or folded.endswith("-cloud"):
        raise ModelNameError(
            f"tag {_shown(tag)} is reserved: Ollama reads 'cloud', '-cloud' and 'local' at the end of a name "
            "as the place where the model runs, not as a tag"
        )


def _shown(text: str) -> str:
    """The text quoted for a one-line message, cut where it is absurdly long."""
    return repr(text if len(text) <= 100 else text[:97] + "...")
