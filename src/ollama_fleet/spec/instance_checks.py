"""Mistakes in what a host asks for as its instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ollama_fleet.spec import variables
from ollama_fleet.spec.addresses import DEFAULT_LISTEN, Listen
from ollama_fleet.spec.errors import KeyPath, counted, did_you_mean, show
from ollama_fleet.spec.instances import PER_GPU, PINNING, is_uuid, ports_of

if TYPE_CHECKING:
    from ollama_fleet.spec.model import Instance

LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Mistake:
    """One line, the key of the host that it is about, and the steps below that key."""

    key: KeyPath
    below: KeyPath
    message: str
    hint: str


def mistakes(
    settings: Mapping[str, Any], models: Sequence[str], version: Any, known: Collection[str] | None
) -> Iterator[Mistake]:
    """Yield what is wrong with the instances of a host.

    Args:
        settings: of the host, merged.
        models: names of the models that it serves.
        version: the release that it gets; None where none is pinned.
        known: kinds of GPUs; None where any will do.
    """
    asked = settings.get("instances", 1)
    if asked == 1:
        return
    here = ("instances",)
    if settings.get("scope") == "user":
        yield Mistake(
            here, (), "several servers are the whole system's", "write scope: system, or instances: 1"
        )
        return
    for name in settings.get("env", {}):
        if name in PINNING:
            message = f"{name} follows from the devices of each instance"
            yield Mistake(("env", name), (), message, "remove it, or write instances: 1")
    listen: Listen = settings.get("listen", DEFAULT_LISTEN)
    gpus = settings.get("gpus", "auto")
    if asked == PER_GPU:
        yield from _per_gpu(gpus, listen)
    else:
        yield from _listed(asked, gpus, listen, models, version, known)


def _per_gpu(gpus: Sequence[str] | str, listen: Listen) -> Iterator[Mistake]:
    if gpus == ():
        yield Mistake(("instances",), (), "there is no GPU to have an instance", "write instances: 1")
    elif gpus != "auto" and listen.port + len(gpus) - 1 > LAST_PORT:
        message = f"{len(gpus)} instances take the ports from {listen.port} on, and {LAST_PORT} is the last"
        yield Mistake(("listen",), (), message, "write a lower port")


def _listed(
    asked: Sequence[Instance],
    gpus: Sequence[str] | str,
    listen: Listen,
    models: Sequence[str],
    version: Any,
    known: Collection[str] | None,
) -> Iterator[Mistake]:
    names: dict[str, str] = {}
    ports: dict[int, str] = {}
    cards: dict[str, str] = {}
    for place, (one, port) in enumerate(zip(asked, ports_of(asked, listen.port), strict=True)):

        def wrong(key: str, message: str, hint: str, *below: str | int, place: int = place) -> Mistake:
            return Mistake(("instances",), (place, key, *below), message, hint)

        if one.name in names:
            yield wrong("name", f"another instance has the name {show(one.name)}", "rename one")
        names[one.name] = one.name
        key = "name" if one.port is None else "port"
        if port in ports:
            yield wrong(key, f"port {port} is that of the instance {ports[port]}", "write another port")
        elif port > LAST_PORT:
            yield wrong(key, f"{port} is no port", "write port: with one up to 65535")
        ports.setdefault(port, one.name)
        for number, device in enumerate(one.devices):
            if not is_uuid(device):
                if known is not None and device not in known:
                    hint = did_you_mean(device, known) or "write a kind of the catalogue, or a UUID"
                    yield wrong("devices", f"{show(device)} is no known GPU", hint, number)
            elif device.casefold() in cards:
                message = f"{device} is a device of the instance {cards[device.casefold()]}"
                yield wrong("devices", message, "give each card to one instance", number)
            else:
                cards[device.casefold()] = one.name
        for number, model in enumerate(one.models or ()):
            if model not in models:
                hint = did_you_mean(model, models) or "add it to the models of the host, or of its groups"
                yield wrong("models", f"{show(model)} is no model of this host", hint, number)
        yield from _environment(one, wrong, version)
    yield from _too_many(asked, gpus)
    served = {model for one in asked for model in (models if one.models is None else one.models)}
    if left := [model for model in models if model not in served]:
        message = f"no instance serves {', '.join(map(show, left))}"
        yield Mistake(("instances",), (), message, "add it to the models of an instance")


def _environment(one: Instance, wrong: Callable[..., Mistake], version: Any) -> Iterator[Mistake]:
    for name, value in (one.env or {}).items():
        if name in PINNING:
            yield wrong("env", f"{name} follows from the devices of the instance", "remove it", name)
            continue
        if value is not None and not isinstance(value, str):
            yield wrong(
                "env", "a secret is for all instances of a host", "write it in the env of the host", name
            )
            continue
        reason = (
            variables.unread_by(name, value, version) if value is not None and version is not None else None
        )
        if reason is not None:
            yield wrong("env", reason, "remove it, or pin another release", name)


def _too_many(asked: Sequence[Instance], gpus: Sequence[str] | str) -> Iterator[Mistake]:
    """More cards of a kind than the host declares; which of them a UUID is, only the host knows."""
    if isinstance(gpus, str):
        return
    wanted = [device for one in asked for device in one.devices]
    short = Counter(device for device in wanted if not is_uuid(device)) - Counter(gpus)
    if short:
        message = f"the instances take {counted(sorted(short.elements()))} beyond the GPUs that are declared"
        yield Mistake(("instances",), (), message, "write them into gpus, or take them out")
    elif len(wanted) > len(gpus):
        message = f"the instances have {len(wanted)} devices, the host declares {len(gpus)}"
        yield Mistake(("instances",), (), message, "write them into gpus, or take them out")
