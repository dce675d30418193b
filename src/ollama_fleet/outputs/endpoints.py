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
from ollama_fleet.outputs.plans import PlannedHost, Server, planned_host
from ollama_fleet.planner.access_parts import door_names, in_url
from ollama_fleet.planner.decision import facts_of
from ollama_fleet.planner.errors import PlanError
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
    complete: bool = True
    """False where there are more servers, or models, than can be told without asking the host for its GPUs."""
    left_out: tuple[str, ...] = ()
    """Models whose names follow from a card that only the host knows."""
    client: str = ""
    """Whose token opens the front door, where there is one: the first client of fleet.yaml."""
    token: SecretReference | None = None
    """Where that token is found."""
    roots: str = ""
    """The file with the root that the server's certificate leads to; empty where nobody said, or systems know it."""

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


def endpoints_of(host: HostSpec, lock: Lock, planned: PlannedHost | None = None) -> list[Endpoint]:
    """The servers of one host; what is known of them where only the host knows its GPUs.

    Args:
        host: what is asked of it.
        lock: what names stand for.
        planned: its plan, where it has been made already, by its declared GPUs or by those that were found.
    """
    plan = planned or planned_host(host, lock)
    if host.instances is None:
        contexts = {item.resolved.name: item.decision.num_ctx for item in plan.decided}
        models = tuple(_model(request, contexts.get(request.name), lock) for request in host.models)
        return [_endpoint(host, host.listen.port, models)]
    if not plan.servers:
        return _unplanned(host, lock)
    return [
        _endpoint(host, server.port, _served(host, server, plan, lock), server.instance)
        for server in plan.servers
    ]


def _served(host: HostSpec, server: Server, plan: PlannedHost, lock: Lock) -> tuple[ServedModel, ...]:
    """What one of several servers has, each model by the name that it has there."""
    decided = {
        item.resolved.name: (served.name.removesuffix(":latest"), item.decision.num_ctx)
        for item, served in zip(plan.decided, plan.served, strict=True)
        if served.instance == server.instance
    }
    found = []
    for own in server.models:
        name, num_ctx = decided.get(own, (own, None))
        found.append(replace(_model(host.model(own), num_ctx, lock), name=name))
    return tuple(found)


def _unplanned(host: HostSpec, lock: Lock) -> list[Endpoint]:
    """Several servers of a host whose cards are not in fleet.yaml: those of a list, else the one at the first port.

    Each with the models of which all cards make the same, so that they have the same name on each. Where there is a
    front door and no list, the path has the name of a card, so there no model is shown.
    """
    if isinstance(host.instances, tuple):
        return [_unsure(one.of(host), one.port, lock, one.name) for one in host.instances]
    if host.access is not None:
        return [replace(_endpoint(host, host.listen.port, ()), complete=False)]
    return [replace(_unsure(host, host.listen.port, lock), complete=False)]


def _unsure(host: HostSpec, port: int, lock: Lock, instance: str = "") -> Endpoint:
    alike = [request for request in host.models if _same_everywhere(request)]
    left_out = tuple(request.name for request in host.models if request not in alike)
    models = tuple(_model(request, None, lock) for request in alike)
    return replace(_endpoint(host, port, models, instance), complete=not left_out, left_out=left_out)


def _same_everywhere(request: ModelRequest) -> bool:
    """Whether no device changes anything of a model: no choice for a kind, nothing left open."""
    forms = list(_forms(request))
    return not request.kinds and bool(forms) and not any(form.left_open for form in forms)


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
        roots=(access.acme.ca if access.acme else None) or "",
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
