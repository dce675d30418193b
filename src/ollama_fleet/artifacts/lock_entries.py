"""The entries of a lock: releases, models and files, each with what makes it the same tomorrow."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from ollama_fleet.artifacts.gojson import encode
from ollama_fleet.artifacts.manifest import Layer, Manifest, check_media_type
from ollama_fleet.artifacts.model_config import ModelConfig
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.artifacts.names import ModelName, ModelNameError
from ollama_fleet.artifacts.releases import TARGETS, ReleaseError, Version
from ollama_fleet.artifacts.sha256 import check_digest
from ollama_fleet.spec.errors import show

__all__ = ["ArchiveLock", "ConfigLock", "FileLock", "LayerLock", "ModelLock", "ReleaseLock"]

_MAX_SIZE = (1 << 63) - 1
_HEX = re.compile(r"[0-9a-f]{64}")
_URL = re.compile(r"[!-~]+")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,200}")


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if not _URL.fullmatch(url) or parts.scheme not in {"http", "https", "file"}:
        raise ValueError(f"{show(url)} is no http, https or file URL")
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise ValueError(f"{show(url)} is no absolute file URL (file:///path)")
    if parts.scheme != "file" and not parts.hostname:
        raise ValueError(f"{show(url)} names no host")
    if parts.username or parts.password:
        raise ValueError("a URL with a user or a password must not stand in a lock")
    if not _FILE_NAME.fullmatch(unquote(parts.path).rpartition("/")[2]):
        raise ValueError(f"{show(url)} does not end in the plain name of a file")
    return url


def _check_hex(text: str) -> str:
    if not _HEX.fullmatch(text):
        raise ValueError(f"{show(text)} is no sha256 (64 lower-case hexadecimal digits)")
    return text


def check_version(text: str) -> str:
    if str(Version.parse(text)) != text:
        raise ReleaseError(f"{show(text)} is written with a v")
    return text


def _check_target(text: str) -> str:
    if text not in TARGETS:
        raise ValueError(f"{show(text)} is no kind of archive; known are {', '.join(sorted(TARGETS))}")
    return text


def check_name(text: str) -> str:
    name = ModelName.parse(text).short
    if name != text:
        raise ModelNameError(f"{show(text)} must be written {show(name)}")
    return text


def _check_params(params: dict[str, JsonValue]) -> dict[str, JsonValue]:
    encode(params)  # NaN, infinity and the like have no JSON, so no layer can hold them
    return params


def check_path(text: str) -> str:
    if not text or not text.isprintable() or len(text) > 4096:
        raise ValueError(f"{show(text)} is no path")
    return text


Digest = Annotated[str, AfterValidator(check_digest)]
Hex = Annotated[str, AfterValidator(_check_hex)]
Size = Annotated[int, Field(ge=0, le=_MAX_SIZE)]
MediaType = Annotated[str, AfterValidator(check_media_type)]
Facts = dict[str, JsonValue]


class Entry(BaseModel):
    """What all entries share: nothing unknown, nothing converted, nothing changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ArchiveLock(Entry):
    """One archive of a release: where it is had (http, https or file URL), its hash and its size in bytes."""

    url: Annotated[str, AfterValidator(_check_url)]
    sha256: Hex
    size: Size

    @property
    def name(self) -> str:
        """The file's name, the last part of the URL."""
        return unquote(urlsplit(self.url).path).rpartition("/")[2]


class ReleaseLock(Entry):
    """A release: its archives by target (`linux-amd64`, `linux-amd64-rocm`, …)."""

    archives: dict[Annotated[str, AfterValidator(_check_target)], ArchiveLock] = Field(min_length=1)


class LayerLock(Entry):
    """One blob of a model; sizes in bytes."""

    media_type: MediaType
    digest: Digest
    size: Size

    @classmethod
    def of(cls, layer: Layer) -> Self:
        """The same as an entry of the lock."""
        return cls(media_type=layer.media_type, digest=layer.digest, size=layer.size)

    def layer(self) -> Layer:
        """The same as a layer of a manifest."""
        return Layer(self.media_type, self.digest, self.size)


class ConfigLock(Entry):
    """What the config blob of a model says; empty where it says nothing."""

    model_format: str = ""
    architecture: str = ""
    parameter_size: str = ""
    quantization: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""


class ModelLock(Entry):
    """A model in a registry as it was when it was locked.

    `digest` is of the manifest as served; `size` is all blobs in bytes; `params` is the content of the params
    layer, from which merged parameters are computed; `facts` is whatever was read from the weights.
    """

    digest: Digest
    size: Size
    config_layer: LayerLock
    layers: list[LayerLock]
    params: Annotated[dict[str, JsonValue], AfterValidator(_check_params)] = Field(default_factory=dict)
    config: ConfigLock = Field(default_factory=ConfigLock)
    facts: Facts | None = None

    @model_validator(mode="after")
    def _sizes_add_up(self) -> Self:
        total = self.config_layer.size + sum(layer.size for layer in self.layers)
        if total != self.size:
            raise ValueError(f"size is {self.size}, its layers have {total} bytes together")
        return self

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        params: dict[str, Any] | None = None,
        config: ModelConfig | None = None,
        facts: Facts | None = None,
    ) -> Self:
        """The entry for a manifest that was read, with the content of its params and config blobs."""
        config = config or ModelConfig()
        return cls(
            digest=manifest.digest,
            size=manifest.total_size,
            config_layer=LayerLock.of(manifest.config),
            layers=[LayerLock.of(layer) for layer in manifest.layers],
            params=params or {},
            config=ConfigLock(**{key: getattr(config, key) for key in ConfigLock.model_fields}),
            facts=facts,
        )

    @cached_property
    def model_facts(self) -> ModelFacts | None:
        """`facts` as the planner takes them; read once. Raises FactsError."""
        return ModelFacts.from_dict(self.facts) if self.facts else None

    def manifest(self) -> Manifest:
        """The manifest without its bytes: its digest is `self.digest`."""
        return Manifest(self.config_layer.layer(), tuple(layer.layer() for layer in self.layers))

    def model_details(self) -> ModelConfig:
        """The config as `created_layers` takes it."""
        return ModelConfig(**self.config.model_dump())


class FileLock(Entry):
    """A GGUF file given by path: its hash, its size in bytes and what was read from it."""

    sha256: Hex
    size: Size
    facts: Facts | None = None

    @cached_property
    def model_facts(self) -> ModelFacts | None:
        """`facts` as the planner takes them; read once. Raises FactsError."""
        return ModelFacts.from_dict(self.facts) if self.facts else None
