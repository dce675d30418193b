"""Facts about a model from where it lies: a file, a URL, or a registry.

Only headers are read, some megabytes whatever the size of the model. Files split into parts
(`NAME-00001-of-00003.gguf`) are one model; give any of the parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ollama_fleet.artifacts.facts_json import Json
from ollama_fleet.artifacts.gguf_reader import GgufError, Header, ReadRange, read_header
from ollama_fleet.artifacts.header_facts import facts_of_header, projector_of_header
from ollama_fleet.artifacts.http_range import UrlFile
from ollama_fleet.artifacts.http_source import HttpOptions, HttpSource
from ollama_fleet.artifacts.manifest import Layer
from ollama_fleet.artifacts.model_facts import ModelFacts, Projector
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.artifacts.registry import RegistryClient, RegistryError

__all__ = [
    "Blob",
    "GgufError",
    "facts_of_blobs",
    "facts_of_file",
    "facts_of_model",
    "facts_of_url",
    "read_facts",
]

Blob = tuple[ReadRange, int]
"""Bytes somewhere: how to read a range of them, and how many there are."""

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.gguf)", re.IGNORECASE | re.DOTALL)
_MAX_PARTS = 1000
_T = TypeVar("_T")


def read_facts(read: ReadRange, size: int, projector: Blob | None = None) -> dict[str, Json]:
    """The facts of one blob as plain data: what `locking` puts into the lock.

    Raises:
        GgufError: one line, when it is no usable model; also what `read` raises.
    """
    return facts_of_blobs([(read, size)], projector).to_dict()


def facts_of_file(path: Path, projector: Path | None = None, *, headers_only: bool = False) -> ModelFacts:
    """The facts of a GGUF file (of all its parts) and, where given, of its projector's.

    `headers_only` takes files that end before their tensors do.

    Raises:
        GgufError: one line with the path, when it cannot be read or is no usable model.
    """
    with ExitStack() as stack:

        def blob(name: str) -> Blob:
            return _open(stack, Path(name))

        vision = _named(str(projector), lambda: blob(str(projector))) if projector else None
        return _named(str(path), lambda: _of_name(str(path), blob, vision, headers_only=headers_only))


def facts_of_url(url: str, options: HttpOptions | None = None) -> ModelFacts:
    """The facts of a GGUF file (of all its parts) behind a URL, by Range requests.

    Raises:
        GgufError: one line with the URL, when it is no usable model.
        FetchError: when it cannot be had, or the server gives no parts.
    """
    with HttpSource(options) as http:

        def blob(name: str) -> Blob:
            file = UrlFile(http, name)
            return file.read, file.size

        return _named(url, lambda: _of_name(url, blob, None, headers_only=False))


def facts_of_model(name: ModelName, options: HttpOptions | None = None) -> ModelFacts:
    """The facts of a model in an Ollama registry or at hf.co, with its projector's.

    Raises:
        GgufError: one line with the name, when it is no usable model.
        FetchError: when there is no such model, or the registry cannot be used.
    """
    with RegistryClient(options) as registry:
        manifest = registry.manifest(name)

        def blob(layer: Layer) -> Blob:
            return lambda start, length: registry.blob_range(name, layer.digest, start, length), layer.size

        weights = manifest.layer("model")
        if weights is None:
            raise RegistryError(f"{name.short}: it has no weights of its own; is it a cloud model?")
        vision = manifest.layer("projector")
        projector = blob(vision) if vision is not None else None
        return _named(name.short, lambda: facts_of_blobs([blob(weights)], projector))


def facts_of_blobs(
    parts: Sequence[Blob], projector: Blob | None = None, *, headers_only: bool = False
) -> ModelFacts:
    """The facts of a model whose parts are given in order.

    Raises:
        GgufError: one line, when they are no usable model; also what reading raises.
    """
    headers = []
    for number, (read, size) in enumerate(parts, 1):
        try:
            headers.append(_header(read, size, headers_only=headers_only))
        except GgufError as error:
            if len(parts) == 1:
                raise
            raise GgufError(f"part {number}: {error}") from None
    facts = facts_of_header(_joined(headers), sum(size for _, size in parts))
    if projector is None:
        return facts
    return replace(facts, projector=_projector(*projector))


def _projector(read: ReadRange, size: int) -> Projector:
    try:
        return projector_of_header(read_header(read, size), size)
    except GgufError as error:
        raise GgufError(f"its projector: {error}") from None


def _header(read: ReadRange, size: int, *, headers_only: bool) -> Header:
    header = read_header(read, size)
    if header.missing and not headers_only:
        raise GgufError(f"it is cut off: {header.missing} of its bytes are missing; get it again")
    return header


def _joined(headers: Sequence[Header]) -> Header:
    """One header of the parts' headers; only the first has the metadata."""
    first = headers[0]
    told = first.number("split.count") or 1
    if told != len(headers):
        raise GgufError(f"it is split into {told} parts, but {len(headers)} came; all are needed")
    for number, header in enumerate(headers):
        if told > 1 and (header.number("split.no"), header.number("split.count")) != (number, told):
            raise GgufError(
                f"part {number + 1} says that it is another one; the parts do not belong together"
            )
    tensors = [tensor for header in headers for tensor in header.tensors]
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise GgufError("two of its parts have the same tensor; they do not belong together")
    total = first.number("split.tensors.count")
    if told > 1 and total is not None and total != len(tensors):
        raise GgufError(f"its parts have {len(tensors)} tensors together instead of {total}")
    return replace(first, tensors=tensors)


def _of_name(
    name: str, blob: Callable[[str], Blob], projector: Blob | None, *, headers_only: bool
) -> ModelFacts:
    found = _PART.fullmatch(name)
    count = int(found[3]) if found else 1
    if found is None or count == 1:
        return facts_of_blobs([blob(name)], projector, headers_only=headers_only)
    if not 1 <= int(found[2]) <= count <= _MAX_PARTS:
        raise GgufError(f"part {found[2]} of {found[3]} makes no sense")
    names = [f"{found[1]}-{number:05}-of-{found[3]}{found[4]}" for number in range(1, count + 1)]
    parts = []
    for number, part in enumerate(names, 1):
        try:
            parts.append(blob(part))
        except GgufError as error:
            raise GgufError(f"part {number}: {error}") from None
    return facts_of_blobs(parts, projector, headers_only=headers_only)


def _open(stack: ExitStack, path: Path) -> Blob:
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for somebody to write
            raise GgufError("this is no regular file")
        stream = stack.enter_context(path.open("rb", buffering=0))
        size = stream.seek(0, 2)
    except OSError as error:
        raise GgufError((error.strerror or "cannot be read").lower()) from None

    def read(start: int, length: int) -> bytes:
        try:
            stream.seek(start)
            return stream.read(length)
        except OSError as error:
            raise GgufError((error.strerror or "cannot be read").lower()) from None

    return read, size


def _named(name: str, make: Callable[[], _T]) -> _T:
    try:
        return make()
    except GgufError as error:
        raise GgufError(f"{name}: {error}") from None
