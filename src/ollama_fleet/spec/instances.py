"""Several servers on one host: what `instances` asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ollama_fleet.spec.addresses import Listen
from ollama_fleet.spec.errors import Wrong, did_you_mean, show
from ollama_fleet.spec.secret import SecretReference

if TYPE_CHECKING:
    from ollama_fleet.spec.hosts import HostSpec
    from ollama_fleet.spec.model import Instance

PER_GPU: Literal["per-gpu"] = "per-gpu"
PINNING = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "GGML_VK_VISIBLE_DEVICES",
)
"""Variables that say which devices a server may use: with several instances they follow from `devices`."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_UUID = re.compile(r"(?:GPU|MIG)-[0-9A-Fa-f]{8,16}(?:-[0-9A-Fa-f]{4}){0,3}(?:-[0-9A-Fa-f]{12})?")
_KIND = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One server of a host.

    - ``devices`` are UUIDs of GPUs or kinds of the catalogue, one for each card; none is the CPU alone.
    - ``env`` is what it has beside the environment of the host, whose variables it may set otherwise or, with
      ``None``, leave out.
    - ``models`` are the names of those of the host's models that it serves.
    """

    name: str
    devices: tuple[str, ...]
    port: int
    models: tuple[str, ...]
    env: Mapping[str, str | None] = field(default_factory=dict)

    def of(self, host: HostSpec) -> HostSpec:
        """What is asked of the host where this instance is all that there is."""
        given = {**host.env, **self.env}
        return replace(
            host,
            listen=Listen(host.listen.host, self.port),
            env=MappingProxyType({name: value for name, value in given.items() if value is not None}),
            models=tuple(request for request in host.models if request.name in self.models),
        )


Instances = tuple[InstanceSpec, ...] | Literal["per-gpu"] | None
"""What a host has: one server for all of its devices (``None``), one for each GPU, or those that are named."""


def is_uuid(device: str) -> bool:
    """Whether a device is named by its UUID, and not by its kind."""
    return _UUID.fullmatch(device) is not None


def parse_instance_name(value: object) -> str:
    """The name of an instance: it becomes part of a unit's name, of a path and of models' names."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Wrong(
            f"{show(value)} is no name of an instance", "use small letters, digits and dashes, at most 40"
        )
    return value


def parse_device(value: object) -> str:
    """A device of an instance: the UUID of a GPU, or a kind of the catalogue; never its index."""
    hint = "write its UUID, as `nvidia-smi -L` shows it, or its kind, such as rtx-4090"
    if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
        raise Wrong(f"{show(value)} is an index, and which card that is changes", hint)
    if not isinstance(value, str) or not (is_uuid(value) or _KIND.fullmatch(value)):
        raise Wrong(f"{show(value)} is no device", hint)
    return value


def parse_count(value: object) -> int | str:
    """What stands for `instances` where no list does."""
    if value == PER_GPU:
        return PER_GPU
    if value == 1 and not isinstance(value, bool):
        return 1
    guess = did_you_mean(value, [PER_GPU]) if isinstance(value, str) else None
    raise Wrong(f"{show(value)} is not what stands here", guess or "write 1, per-gpu or a list of instances")


def build_instances(settings: Mapping[str, Any], first: int, models: Sequence[str]) -> Instances:
    """The instances of merged settings; ``first`` is the port of the first one that says none."""
    written: Sequence[Instance] | int | str = settings.get("instances", 1)
    if isinstance(written, int):
        return None
    if isinstance(written, str):
        return PER_GPU
    return tuple(
        InstanceSpec(
            name=one.name,
            devices=one.devices,
            port=port,
            models=tuple(models if one.models is None else one.models),
            env=MappingProxyType(_shown(one.env or {})),
        )
        for one, port in zip(written, ports_of(written, first), strict=True)
    )


def ports_of(written: Sequence[Instance], first: int) -> list[int]:
    """The port of each instance: what it says, else the one of its place in the list, counted from the first."""
    return [first + place if one.port is None else one.port for place, one in enumerate(written)]


def _shown(written: Mapping[str, str | SecretReference | None]) -> dict[str, str | None]:
    """Variables without secrets, which no instance has for itself."""
    return {name: value for name, value in written.items() if not isinstance(value, SecretReference)}
