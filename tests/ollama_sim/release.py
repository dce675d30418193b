"""Which release this stand-in is: its version, and what changed between the generations it can be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

DEFAULT_VERSION = "0.24.0"


@dataclass(frozen=True)
class Generation:
    """What depends on the version."""

    # 0.30 gave the models to a `llama-server` process and `llama-quantize`.
    llama_server: bool
    # Up to 0.11.10 the memory was estimated and then asked for; since then it is laid out by measuring.
    estimates: bool
    # 0.19 stores a registry's manifest byte for byte; before, it was written anew.
    verbatim_manifests: bool
    # 0.21 leaves files younger than an hour alone when it prunes at its start.
    prune_grace: bool

    @classmethod
    def of(cls, version: str) -> Generation:
        """The generation of a version. Raises ValueError where it is not one."""
        found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
        if not found:
            raise ValueError(f"not a version: {version!r}")
        number = tuple(int(part) for part in found.groups())
        return cls(
            llama_server=number >= (0, 30, 0),
            estimates=number < (0, 11, 11),
            verbatim_manifests=number >= (0, 19, 0),
            prune_grace=number >= (0, 21, 0),
        )


@dataclass(frozen=True)
class Release:
    """The identity that `build` packs into the archive."""

    version: str
    arch: str
    faults: Mapping[str, Any]

    @property
    def generation(self) -> Generation:
        return Generation.of(self.version)


def current() -> Release:
    """What this copy of the stand-in was packed as; 0.24.0 where it runs unpacked."""
    try:
        packed = json.loads(resources.files(__package__).joinpath("release.json").read_text("utf-8"))
    except FileNotFoundError:
        packed = {}
    return Release(
        packed.get("version", DEFAULT_VERSION), packed.get("arch", "amd64"), packed.get("faults", {})
    )
