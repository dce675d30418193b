"""What is on a host, as plain data. The probe fills it; the planner compares with it.

Sizes are bytes, modes are the low twelve permission bits, times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ollama_fleet.artifacts.manifest import Manifest, ManifestError
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.firewall_state import FirewallState
from ollama_fleet.planner.windows.state import WindowsState

FileKind = Literal["file", "directory", "link", "other"]


@dataclass(frozen=True, slots=True)
class FileState:
    """One path that exists."""

    kind: FileKind
    mode: int
    owner: str
    group: str
    content: bytes | None = None
    """A regular file's bytes, where they are read at all."""
    sha256: str | None = None
    """Of a file that may hold secrets, which are not read: its hash."""


@dataclass(frozen=True, slots=True)
class Platform:
    """The machine and the account that the connection uses there."""

    architecture: str
    """As `uname -m` says, e.g. `x86_64`."""
    distribution: str
    user: str
    group: str
    uid: int
    home: str
    tools: frozenset[str]
    """Commands found in the PATH, out of those that operations may need."""
    systemd: bool
    """systemd is this machine's init."""
    user_manager: bool
    """A `systemd --user` answers for the connecting account."""
    lingering: bool
    """The account's user manager outlives its logins."""
    polkit: bool
    """polkit is installed, so an account may ask for lingering by itself."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the host."""

    name: str
    uid: int
    group: str
    groups: frozenset[str]
    home: str


@dataclass(frozen=True, slots=True)
class InstalledVersion:
    """One unpacked release under the releases directory."""

    stamp: str
    """The line written when it was unpacked; empty where that never finished."""
    evidence: str | None
    """What identifies the files, computed from what is there now; only for the version in use."""
    size: int = 0
    """Bytes on disk."""


@dataclass(frozen=True, slots=True)
class ForeignBinary:
    """An `ollama` that somebody else installed where ours would be linked."""

    path: str
    version: str | None


@dataclass(frozen=True, slots=True)
class ReleaseState:
    """Releases on the host."""

    current: str | None = None
    """The version that the `current` link names."""
    previous: str | None = None
    command_target: str | None = None
    """Where the `ollama` command's link points, if it is a link."""
    versions: Mapping[str, InstalledVersion] = field(default_factory=dict)
    foreign: ForeignBinary | None = None
    downloads: Mapping[str, int] = field(default_factory=dict)
    """Archives that are being fetched, or were when that broke off: `HASH-NAME` to bytes that are there."""


@dataclass(frozen=True, slots=True)
class OtherServer:
    """An `ollama serve` that is not the service's."""

    pid: int
    unit: str
    """The system's unit that it belongs to; empty where somebody started it otherwise."""
    listen: str
    """Its OLLAMA_HOST; empty for the default."""


@dataclass(frozen=True, slots=True)
class OtherModels:
    """A models directory that is not the one of the plan, with models in it."""

    path: str
    count: int
    size: int
    """Bytes on disk."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    """The service and the process behind it."""

    load: str = "not-found"
    """systemd's LoadState: `loaded`, `not-found`, `masked` …"""
    active: str = "inactive"
    enabled: str = ""
    """systemd's UnitFileState: `enabled`, `disabled`, `masked` …"""
    pid: int = 0
    runs_as: str = ""
    """The user of the running process."""
    program: str = ""
    """The file that the process was started from; ` (deleted)` at its end where that one is gone."""
    needs_reload: bool = False
    fragment: str = ""
    foreign_drop_ins: Mapping[str, str] = field(default_factory=dict)
    """Drop-ins of somebody else, path to text."""
    others: tuple[OtherServer, ...] = ()
    other_models: tuple[OtherModels, ...] = ()
    """Where the running process, or an installation of before, keeps models."""
    environment: Mapping[str, str] | None = None
    """Our variables in the running process; None where there is none or it may not be read."""
    environment_hashes: Mapping[str, str] = field(default_factory=dict)
    """The same for variables whose values may be secret: sha256 of the value."""


@dataclass(frozen=True, slots=True)
class DoorState:
    """The front door's proxy: its unit as systemd sees it, its user, and which proxies are installed."""

    load: str = "not-found"
    active: str = "inactive"
    enabled: str = ""
    needs_reload: bool = False
    user: bool = False
    programs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A manifest in the models directory."""

    name: ModelName
    manifest: bytes


@dataclass(frozen=True, slots=True)
class ModelStore:
    """The models directory's content."""

    models: tuple[StoredModel, ...] = ()
    blob_sizes: Mapping[str, int] = field(default_factory=dict)
    """`sha256:…` to bytes, complete blobs only."""
    small_blobs: Mapping[str, bytes] = field(default_factory=dict)
    """Content of blobs small enough to be compared in words: parameters, prompts, templates."""
    partial_sizes: Mapping[str, int] = field(default_factory=dict)
    """`sha256:…` to the bytes that are there of blobs whose download broke off."""

    def manifest(self, name: ModelName) -> Manifest | None:
        """Return the manifest of a model that is stored and readable."""
        stored = next((model for model in self.models if model.name == name), None)
        try:
            return None if stored is None else Manifest.parse(stored.manifest)
        except ManifestError:
            return None


@dataclass(frozen=True, slots=True)
class DiskState:
    """The file system behind a path."""

    number: str
    """The same for two paths on one file system."""
    free: int
    """Bytes that an account without privileges may fill."""


@dataclass(frozen=True, slots=True)
class HostState:
    """Everything that one probe reads of a host."""

    platform: Platform
    files: Mapping[str, FileState] = field(default_factory=dict)
    """Paths that were asked for and exist."""
    accounts: Mapping[str, Account] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    release: ReleaseState = ReleaseState()
    service: ServiceState = ServiceState()
    instances: Mapping[str, ServiceState] = field(default_factory=dict)
    """Where several servers are, or were until lately, by their names; `service` is about the only one."""
    firewall: FirewallState = field(default_factory=FirewallState)
    store: ModelStore = ModelStore()
    devices: tuple[Device, ...] = ()
    device_error: str | None = None
    """Why the devices could not be read, where a driver tool is there but fails."""
    disks: Mapping[str, DiskState] = field(default_factory=dict)
    """By the paths of releases and models; nothing where it could not be read."""
    loaded: tuple[str, ...] | None = None
    """Names of the models in memory; None where nobody asked or no server answered."""
    loaded_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The same of several servers that answered, by their names."""
    door: DoorState = DoorState()
    windows: WindowsState | None = None
    """What only a Windows host has."""

    @property
    def servers(self) -> tuple[ServiceState, ...]:
        """Every server of ours: the only one, and each of several."""
        return (self.service, *self.instances.values())

    @property
    def kinds(self) -> tuple[str, ...]:
        """Its GPUs by kind, in their order; one that no catalogue has by its name."""
        return tuple(device.kind or device.name for device in self.devices)

    def server(self, name: str) -> ServiceState:
        """The server of an instance; for no name the only one."""
        return self.instances.get(name, ServiceState()) if name else self.service

    def of_instance(self, name: str, devices: Sequence[Device]) -> HostState:
        """The host as one of its servers sees it; for no name the host itself.

        Args:
            name: of the instance.
            devices: those that it was given, in the order in which it counts them, each as the kind that was declared.
        """
        if not name:
            return self
        there = {device.uuid: device for device in self.devices if device.uuid}
        return replace(
            self,
            service=replace(
                self.server(name),
                others=self.service.others,
                other_models=self.service.other_models,
            ),
            loaded=self.loaded_by.get(name),
            devices=tuple(
                replace(there[given.uuid], kind=given.kind) for given in devices if given.uuid in there
            ),
        )
