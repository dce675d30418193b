"""Where each host's server answers, for whom, and what it serves: what every client setting is made of.

Made from fleet.yaml and the lock alone; no host is asked.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Literal

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.outputs.plans import planned_host
from ollama_fleet.planner.access_files import door_names, in_url
from ollama_fleet.planner.decision import facts_of
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.slots import declared_slots
from ollama_fleet.spec.access import AccessSpec
from ollama_fleet.spec.addresses import LOCAL, IPNetwork
from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.model_request import ModelRequest, ResolvedModel
from ollama_fleet.spec.secret import SecretReference

ModelKind = Literal["chat", "embedding"]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as clients see it; `num_ctx` in tokens, None where only the host can tell."""

    name: str
    num_ctx: int | None
    kind: ModelKind = "chat"
    vision: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server: `url` without a path, `reach` for people (who gets through to it)."""

    host: str
    url: str
    reach: str
    models: tuple[ServedModel, ...]
    loopback: bool = False
    here: bool = False
    """The host is the machine that deploys."""
    instance: str = ""
    """Which of several servers of the host; empty for the only one."""
    known: bool = True
    """False where only the host knows which of its servers has which port, and so what it serves."""
    client: str = ""
    """Whose token opens the front door, where there is one: the first client of fleet.yaml."""
    token: SecretReference | None = None
    """Where that token is found."""

    @property
    def name(self) -> str:
        """What programs may call the server."""
        return f"{self.host}-{self.instance}" if self.instance else self.host

    @property
    def reachable(self) -> bool:
        """Another program than one on the host itself can use the URL; on this machine, any program here."""
        return self.here or not self.loopback

    @property
    def openai_url(self) -> str:
        """Base URL of the API that speaks as OpenAI's does."""
        return f"{self.url}/v1"


def endpoints(hosts: Sequence[HostSpec], lock: Lock) -> list[Endpoint]:
    """The servers of hosts, in their order; hosts without a model have one too."""
    return [endpoint for host in hosts for endpoint in endpoints_of(host, lock)]


def endpoints_of(host: HostSpec, lock: Lock) -> list[Endpoint]:
    """The servers of one host; one where nobody but the host knows which there are."""
    if host.instances is None:
        return [_endpoint(host, host.listen.port, _served(host, lock))]
    slots = declared_slots(host)
    if slots is None:
        return [replace(_endpoint(host, host.listen.port, ()), known=False)]
    planned = planned_host(host, lock)
    found = []
    for slot in slots:
        decided = {
            item.resolved.name: (served.name.removesuffix(":latest"), item.decision.num_ctx)
            for item, served in zip(planned.decided, planned.served, strict=True)
            if served.instance == slot.name
        }
        models = tuple(
            replace(_model(request, num_ctx, lock), name=name)
            for request in slot.spec.models
            for name, num_ctx in [decided.get(request.name, (request.name, None))]
        )
        found.append(_endpoint(host, slot.port, models, slot.name))
    return found


def _endpoint(host: HostSpec, port: int, models: tuple[ServedModel, ...], instance: str = "") -> Endpoint:
    if host.access is not None:
        return _behind_door(host, host.access, models, instance)
    return Endpoint(
        host=host.name,
        url=f"http://{in_url(_address(host))}:{port}",
        reach=_reach(host),
        models=models,
        loopback=host.listen.is_loopback,
        here=host.address == LOCAL,
        instance=instance,
    )


def _behind_door(
    host: HostSpec, access: AccessSpec, models: tuple[ServedModel, ...], instance: str
) -> Endpoint:
    client, token = next(iter({**access.tokens, **access.admin_tokens}.items()))
    networks = ", ".join(map(str, host.allow_from))
    return Endpoint(
        host=host.name,
        url=f"{access.scheme}://{in_url(door_names(host, access)[0])}:{access.listen.port}"
        + (f"/{instance}" if instance else ""),
        reach=f"whoever has a token{f' and comes from {networks}' if networks else ''}",
        models=models,
        loopback=access.listen.is_loopback,
        here=host.address == LOCAL,
        instance=instance,
        client=client,
        token=token,
    )


def _address(host: HostSpec) -> str:
    if not host.listen.host.is_unspecified:
        return str(host.listen.host)
    if host.address != LOCAL:
        return host.address
    return own_address(host.allow_from) or socket.gethostname()


def own_address(networks: Iterable[IPNetwork]) -> str | None:
    """This machine's address as these networks see it; None where it has none. Nothing is sent."""
    for network in networks:
        family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((str(next(iter(network.hosts()), network.network_address)), 9))
            except OSError:
                continue
            address = str(probe.getsockname()[0])
        if not ip_address(address).is_loopback:
            return address
    return None


def _reach(host: HostSpec) -> str:
    if host.listen.is_loopback:
        return f"programs on {host.name} itself"
    if host.scope == "user":
        return "whoever reaches the port (no firewall is touched without root)"
    if host.allow_from:
        return ", ".join(map(str, host.allow_from))
    return "whoever reaches the port"


def _served(host: HostSpec, lock: Lock) -> tuple[ServedModel, ...]:
    decided = {item.resolved.name: item.decision.num_ctx for item in planned_host(host, lock).decided}
    return tuple(_model(request, decided.get(request.name), lock) for request in host.models)


def _model(request: ModelRequest, num_ctx: int | None, lock: Lock) -> ServedModel:
    forms = list(_forms(request))
    if num_ctx is None:
        contexts = {form.num_ctx for form in forms} | {form.num_ctx_min for form in forms}
        num_ctx = contexts.pop() if len(contexts) == 1 else None
    architecture, vision = "", False
    for form in forms[:1]:
        try:
            facts = facts_of(form.candidates[0], lock)
        except PlanError:
            continue
        if facts is not None:
            architecture, vision = facts.architecture, facts.projector is not None
    return ServedModel(request.name, num_ctx, _kind(architecture, request), vision)


def _forms(request: ModelRequest) -> Iterable[ResolvedModel]:
    """The model on each kind of device that it has settings for, and on one that it has none for."""
    for kinds in ((), *((kind,) for kind in request.kinds)):
        try:
            yield request.for_devices(kinds)
        except SpecErrors:  # not every device need work out; the host's own errors are told by `plan`
            continue


def _kind(architecture: str, request: ModelRequest) -> ModelKind:
    """Models that only embed: encoders, and those whose name says so, since a decoder can be trained to."""
    embeds = "bert" in architecture or architecture.endswith("-embedding") or "embed" in request.from_.lower()
    return "embedding" if embeds else "chat"
