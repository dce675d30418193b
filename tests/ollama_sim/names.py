"""Model names: `[scheme://]host/namespace/model:tag`, and the reserved source suffixes."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from pathlib import Path

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
MISSING = "!MISSING!"

_ALNUM = frozenset(string.ascii_letters + string.digits + "_")
_EXTRA = {"host": "_-.:", "namespace": "_-", "model": "_-.", "tag": "_-."}
_LONGEST = {"host": 350, "namespace": 80, "model": 80, "tag": 80}


class InvalidNameError(ValueError):
    """A name that cannot be used; the text is what the API answers."""


@dataclass(frozen=True)
class Name:
    """A model name with every part filled in; `valid` says whether the parts are well formed."""

    host: str
    namespace: str
    model: str
    tag: str
    scheme: str = "https"

    @property
    def valid(self) -> bool:
        return all(_valid_part(kind, part) for kind, part in zip(_EXTRA, self.parts, strict=True))

    @property
    def parts(self) -> tuple[str, str, str, str]:
        return self.host, self.namespace, self.model, self.tag

    @property
    def path(self) -> Path:
        """Where the manifest lies below `manifests/`."""
        return Path(*self.parts)

    def __str__(self) -> str:
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def shortest(self) -> str:
        """The name as it is displayed: defaults left out, the tag always there."""
        tail = f"{self.model}:{self.tag}"
        if self.host.lower() != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{tail}"
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{tail}"
        return tail

    def like(self, known: list[Name]) -> Name:
        """The same name in the letter case of what is already there, part by part."""
        found = self
        for other in known:
            for part in _EXTRA:
                theirs: str = getattr(other, part)
                if theirs.lower() == getattr(found, part).lower():
                    found = replace(found, **{part: theirs})
        return found


def parse(text: str) -> Name:
    """Split `text` into its parts and fill the defaults in. The result may be invalid."""
    tag = ""
    if text.rfind(":") > text.rfind("/"):
        text, _, tag = text.rpartition(":")
        text, tag = text or MISSING, tag or MISSING
    host, namespace, scheme = "", "", ""
    rest, slash, model = text.rpartition("/")
    if slash:
        rest, model = rest or MISSING, model or MISSING
        before, slash, namespace = rest.rpartition("/")
        if slash:
            namespace = namespace or MISSING
            before = before or MISSING
            scheme, found, host = before.partition("://")
            if not found:
                scheme, host = "", before
    return Name(
        host=host or DEFAULT_HOST,
        namespace=namespace or DEFAULT_NAMESPACE,
        model=model,
        tag=tag or DEFAULT_TAG,
        scheme=scheme or "https",
    )


def from_path(parts: tuple[str, ...]) -> Name | None:
    """The name whose manifest lies at `parts` below `manifests/`, or None."""
    if len(parts) != 4:
        return None
    name = Name(*parts)
    return name if name.valid else None


@dataclass(frozen=True)
class Ref:
    """A name as it came, without its source suffix. `source` is "", "local" or "cloud"."""

    base: str
    source: str
    name: Name


def parse_ref(text: str) -> Ref:
    """Read a name in a request. Raises InvalidNameError with the API's words."""
    text = text.strip()
    if not text:
        raise InvalidNameError("model is required")
    base, source = _split_source(text)
    if source and _split_source(base)[1]:
        raise InvalidNameError(f'use either :local or :cloud, not both: "{text}"')
    name = parse(base)
    if not name.valid:
        raise InvalidNameError("invalid model name")
    return Ref(base, source, name)


def _split_source(text: str) -> tuple[str, str]:
    before, colon, suffix = text.rpartition(":")
    word = suffix.strip().lower()
    if colon and word in ("cloud", "local"):
        return before, word
    if colon and "/" not in suffix and word.endswith("-cloud"):
        return f"{before}:{suffix.strip()[: -len('-cloud')]}", "cloud"
    return text, ""


def _valid_part(kind: str, part: str) -> bool:
    if not 1 <= len(part) <= _LONGEST[kind] or part[0] not in _ALNUM:
        return False
    return all(char in _ALNUM or char in _EXTRA[kind] for char in part)
