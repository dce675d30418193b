"""A host as it was asked for: every setting after the ladder, with the line that gave it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from ollama_fleet.spec.access import AccessSpec, build_access
from ollama_fleet.spec.addresses import DEFAULT_LISTEN, LOCAL, IPNetwork, Listen
from ollama_fleet.spec.errors import KeyPath
from ollama_fleet.spec.instances import Instances, build_instances
from ollama_fleet.spec.merge import Layer, Merged, Origin, merge, written
from ollama_fleet.spec.model import Host
from ollama_fleet.spec.model_request import ModelLadder, ModelRequest
from ollama_fleet.spec.reading import Reading
from ollama_fleet.spec.secret import SecretReference
from ollama_fleet.spec.values import ReleaseVersion


@dataclass(frozen=True, slots=True)
class SshSpec:
    """How a host is reached over SSH; ``None`` leaves it to the user's own SSH configuration.

    ``key`` and ``known_hosts`` are files of the machine that deploys: absolute, or below ``~/``.
    """

    user: str | None = None
    port: int | None = None
    key: str | None = None
    known_hosts: str | None = None


@dataclass(frozen=True, slots=True)
class ReleaseSpec:
    """Which Ollama a host gets; ``source`` is ``upstream``, the URL of a mirror, or ``file:///directory``."""

    version: ReleaseVersion
    source: str = "upstream"
    download: Literal["host", "controller"] = "host"


@dataclass(frozen=True, slots=True)
class HostSpec:
    """One host.

    - ``origin`` leads from a setting (``listen``, ``env.OLLAMA_DEBUG``) to the line that gave it; a setting
      that is not in it has its default.
    - ``models_dir`` is ``None`` for the default of the scope, ``arch`` where the host is to be asked.
    - ``gpus`` is one name per card, ``()`` for none, ``"auto"`` where the host is to be asked.
    - ``env`` holds the variables as the server reads them, but not OLLAMA_HOST and OLLAMA_MODELS: those are
      ``listen`` and ``models_dir``.
    - ``instances`` is ``None`` where one server has all of the host's devices.
    """

    name: str
    address: str
    ssh: SshSpec
    sudo: bool
    scope: Literal["system", "user"]
    os: Literal["linux", "windows"]
    arch: Literal["amd64", "arm64"] | None
    listen: Listen
    models_dir: str | None
    env: Mapping[str, str]
    secrets: Mapping[str, SecretReference]
    allow_from: tuple[IPNetwork, ...]
    firewall_backend: Literal["auto", "ufw", "nftables", "firewalld", "iptables"]
    firewall_enabled: bool
    """A firewall that is off is to be switched on."""
    expose: bool
    release: ReleaseSpec
    gpus: tuple[str, ...] | Literal["auto"]
    groups: tuple[str, ...]
    models: tuple[ModelRequest, ...]
    origin: Mapping[str, Origin] = field(repr=False)
    prune: bool | str = "report"
    verify: Literal["quick", "load", "full"] = "load"
    instances: Instances = None
    access: AccessSpec | None = None

    @property
    def connector(self) -> Literal["local", "ssh", "windows"]:
        """How pyinfra reaches the host."""
        if self.os == "windows":
            return "windows"
        return "local" if self.address == LOCAL else "ssh"

    @property
    def place(self) -> Literal["system", "user", "windows"]:
        """Which layout the host has: that of its scope, or Windows'."""
        return "windows" if self.os == "windows" else self.scope

    def model(self, name: str) -> ModelRequest:
        """The request for a model; raises KeyError where the host does not serve it."""
        for request in self.models:
            if request.name == name:
                return request
        raise KeyError(name)


class Hosts:
    """Puts hosts together out of what was read. What several share is made once, as a fleet may have thousands."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        below = [] if reading.release is None else [Layer((), {"release": written(reading.release)})]
        if reading.defaults is not None:
            below.append(Layer(("defaults",), written(reading.defaults)))
        self._below = below
        self._groups = {
            name: Layer(("groups", name), written(group, {"hosts", "models"}))
            for name, group in reading.groups.items()
        }
        self._ladders: dict[str, ModelLadder] = {}
        self._requests: dict[str, tuple[ModelRequest, ...]] = {}

    def merged(self, name: str) -> Merged:
        """The settings of a host after the ladder: fleet's release, defaults, groups in file order, the host."""
        own = Layer(("hosts", name), written(self.reading.hosts[name], {"models"}))
        return merge([*self._below, *(self._groups[group] for group in self.reading.groups_of(name)), own])

    def requests(self, name: str) -> tuple[ModelRequest, ...]:
        """The requests of a host for models that are defined."""
        if name not in self._requests:
            places = asked(self.reading, name)
            self._requests[name] = tuple(
                ModelRequest(self._ladder(name, model), place)
                for model, place in places.items()
                if model in self.reading.models
            )
        return self._requests[name]

    def _ladder(self, host: str, name: str) -> ModelLadder:
        own = (self.reading.hosts[host].models or {}).get(name)
        settings = {} if own is None else written(own)
        if settings:
            return _ladder(self.reading, name, Layer(("hosts", host, "models", name), settings))
        if name not in self._ladders:
            self._ladders[name] = _ladder(self.reading, name, Layer((), {}))
        return self._ladders[name]


def build_host(hosts: Hosts, name: str, merged: Merged, folder: str) -> HostSpec:
    """The host out of its merged settings; ``folder`` is what relative paths of the file are relative to."""
    reading = hosts.reading
    settings: Mapping[str, Any] = merged.settings
    firewall = settings.get("firewall", {})
    environment: Mapping[str, str | SecretReference] = settings.get("env", {})
    release = settings["release"]
    requests = hosts.requests(name)
    listen: Listen = settings.get("listen", DEFAULT_LISTEN)
    source = release.get("source", "upstream")
    fetched_by = "controller" if source.startswith("file:") else "host"
    return HostSpec(
        name=name,
        address=settings.get("address", name),
        ssh=_ssh(settings.get("ssh", {}), folder),
        sudo=settings.get("sudo", False),
        scope=settings.get("scope", "system"),
        os=settings.get("os", "linux"),
        arch=settings.get("arch"),
        listen=listen,
        models_dir=settings.get("models_dir"),
        env=MappingProxyType({name: value for name, value in environment.items() if isinstance(value, str)}),
        secrets=MappingProxyType(
            {name: value for name, value in environment.items() if isinstance(value, SecretReference)}
        ),
        allow_from=firewall.get("allow_from", ()),
        firewall_backend=firewall.get("backend", "auto"),
        firewall_enabled=firewall.get("enabled", False),
        expose=settings.get("expose", False),
        release=ReleaseSpec(release["version"], source, release.get("download", fetched_by)),
        gpus=settings.get("gpus", "auto"),
        groups=tuple(reading.groups_of(name)),
        models=requests,
        origin=merged.origins(reading.document),
        prune=settings.get("prune", reading.prune),
        verify=settings.get("verify", "load"),
        instances=build_instances(settings, listen.port, [request.name for request in requests]),
        access=build_access(settings.get("access"), folder),
    )


def _ssh(settings: Mapping[str, Any], folder: str) -> SshSpec:
    def anchored(path: str | None) -> str | None:
        if path is None or path.startswith(("/", "~/")):
            return path
        return f"{folder.rstrip('/')}/{path.removeprefix('./')}"

    return SshSpec(
        user=settings.get("user"),
        port=settings.get("port"),
        key=anchored(settings.get("key")),
        known_hosts=anchored(settings.get("known_hosts")),
    )


def asked(reading: Reading, name: str) -> dict[str, KeyPath]:
    """The models that a host serves, groups' first, with the place of the file that asks for each."""
    places: dict[str, KeyPath] = {}
    for group in reading.groups_of(name):
        for index, model in enumerate(reading.groups[group].models or ()):
            places.setdefault(model, ("groups", group, "models", index))
    host: Host = reading.hosts[name]
    raw = reading.written("hosts")[name]
    in_list = isinstance(raw, dict) and isinstance(raw.get("models"), list)
    for index, model in enumerate(host.models or {}):
        places.setdefault(model, ("hosts", name, "models", index if in_list else model))
    return places


def _ladder(reading: Reading, name: str, own: Layer) -> ModelLadder:
    model = reading.models[name]
    return ModelLadder(
        name=name,
        document=reading.document,
        forms=reading.forms(name),
        model=Layer(("models", name), written(model, {"variants", "per_gpu"})),
        per_gpu={
            kind: Layer(("models", name, "per_gpu", kind), written(settings))
            for kind, settings in (model.per_gpu or {}).items()
            if settings is not None
        },
        host=own,
    )
