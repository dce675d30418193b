"""What a host should be, item by item: the one object that apply, dry run and drift read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from pydantic import SecretStr

from ollama_fleet.artifacts.lock import Lock, NotLocked
from ollama_fleet.artifacts.releases import TARGETS
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.access_files import access_of
from ollama_fleet.planner.access_parts import AccessSecrets
from ollama_fleet.planner.difference import Difference, Item
from ollama_fleet.planner.disk import disk_needs, shortage
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.firewall_plan import firewall_of
from ollama_fleet.planner.host_decisions import planned_devices
from ollama_fleet.planner.host_files import HostFiles, host_files
from ollama_fleet.planner.instance import Instance
from ollama_fleet.planner.items.access import NoAccess, WantedAccess
from ollama_fleet.planner.items.account import WantedAccount
from ollama_fleet.planner.items.directory import WantedDirectory
from ollama_fleet.planner.items.firewall import WantedFirewall
from ollama_fleet.planner.items.model import WantedBase, WantedImport, WantedLoaded, WantedModel
from ollama_fleet.planner.items.prune import Pruned
from ollama_fleet.planner.items.release import Archive, WantedRelease
from ollama_fleet.planner.items.service import GoneService, WantedService, manager_of
from ollama_fleet.planner.items.text_file import WantedFile, WantedLine
from ollama_fleet.planner.items.unproven import WantedProof
from ollama_fleet.planner.items.windows.desktop_app import NoDesktopApp
from ollama_fleet.planner.items.windows.release import WindowsRelease
from ollama_fleet.planner.items.windows.variable import WantedVariable
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.placement import Placement
from ollama_fleet.planner.prune import left_words, undeclared
from ollama_fleet.planner.remarks import remarks
from ollama_fleet.planner.render import RenderError, Templates
from ollama_fleet.planner.serving import Given, environment_of, loaded_of, placements_on
from ollama_fleet.planner.several import gone_instances, several
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows.plan import check_windows, windows_parts, windows_remarks
from ollama_fleet.spec.hosts import HostSpec

ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
NO_ZSTD = "zstd is missing on the host and cannot be installed from here; install the package zstd"


@dataclass(frozen=True, slots=True)
class HostPlan:
    """Every item of one host, in the order in which an apply sees to them."""

    host: str
    layout: Layout
    account: WantedAccount | None
    directories: tuple[WantedDirectory, ...]
    firewall: WantedFirewall | None
    release: WantedRelease
    files: tuple[WantedFile, ...]
    lines: tuple[WantedLine, ...]
    service: WantedService
    bases: tuple[WantedBase | WantedImport, ...]
    models: tuple[WantedModel, ...]
    loaded: tuple[WantedLoaded, ...]
    pruned: tuple[Pruned, ...]
    """What nobody declares any more and is to go, last of all."""
    unproven: WantedProof
    placements: tuple[Placement, ...]
    address: str
    """What the server listens on."""
    port: int
    outside_address: str
    """Where others reach the host."""
    told: tuple[str, ...]
    """What the user should know and no operation changes."""
    shortage: str | None = None
    """Why the host has no room for what would be fetched: such a plan is not applied."""
    variables: tuple[WantedVariable, ...] = ()
    """Of the whole system; Windows only, as is the next."""
    desktop_app: NoDesktopApp | None = None
    instances: tuple[Instance, ...] = ()
    """Its servers: one without a name, or several, of which `service`, `address` and `port` are the first one's."""
    gone: tuple[GoneService, ...] = ()
    """Servers of ours that are still there and not wanted any more."""
    access: WantedAccess | NoAccess | None = None
    """The front door; None where there cannot be one."""

    @property
    def several(self) -> bool:
        """The host has instances with names of their own, be it only one."""
        return any(instance.name for instance in self.instances)

    def named(self, names: Sequence[str]) -> tuple[Instance, ...]:
        """The instances of these names, in the plan's order; for none all of them.

        Raises:
            PlanError: there is no instance of that name.
        """
        there = [instance.name for instance in self.instances if instance.name]
        if unknown := [name for name in names if name not in there]:
            known = f"there are {', '.join(there)}" if there else "it has one server, without a name"
            raise PlanError(f"{unknown[0]} is no instance of this host; {known}")
        return tuple(instance for instance in self.instances if not names or instance.name in names)

    def of(self, instance: Instance) -> HostPlan:
        """The plan of a host where this instance is all that there is; what it shares with others stays."""
        if not instance.name:
            return self
        bases = tuple(dict.fromkeys(placement.base for placement in instance.placements))
        return replace(
            self,
            layout=instance.layout,
            service=instance.service,
            bases=bases,
            models=instance.models,
            loaded=instance.loaded,
            placements=instance.placements,
            address=instance.address,
            port=instance.port,
            instances=(instance,),
        )

    @property
    def loopback_only(self) -> bool:
        """Nobody outside the host can reach the server."""
        return ip_address(self.address).is_loopback

    def items(self) -> Iterator[Item]:
        """All items, in the order of an apply."""
        if self.account:
            yield self.account
        yield from self.directories
        if self.firewall:
            yield self.firewall
        yield from self.variables
        if self.desktop_app:
            yield self.desktop_app
        yield from self.files
        yield from self.lines
        yield self.release
        yield from self.gone
        yield from (instance.service for instance in self.instances)
        if self.access:
            yield from (*self.access.files, self.access)
        yield from self.bases
        yield from self.models
        yield from self.loaded
        yield from self.pruned
        yield self.unproven

    def differences(self, state: HostState) -> list[tuple[Item, Sequence[Difference]]]:
        """The items in which a host in this state is not as wanted, and how."""
        compared = ((item, item.differences(state)) for item in self.items())
        return [(item, found) for item, found in compared if found]

    @property
    def restarts(self) -> bool:
        """The server is restarted because something that it reads changes."""
        return any(instance.service.restart_because for instance in self.instances)


def plan_host(
    spec: HostSpec,
    lock: Lock,
    insecure: frozenset[str],
    templates: Templates,
    secrets: Mapping[str, SecretStr],
    state: HostState,
    layout: Layout,
    access: AccessSecrets | None = None,
) -> HostPlan:
    """Decide everything about a host.

    Args:
        spec: what was asked.
        lock: what names stand for.
        insecure: registries spoken to by plain HTTP.
        templates: unit, drop-in, profile, supervisor and Modelfiles.
        secrets: values of the host's secret variables.
        state: what the probe read.
        layout: with the home directory filled in.
        access: what opens the front door, where the host has one.

    Raises:
        PlanError: the host cannot be planned; one line.
        SpecErrors: a model's settings do not work out on the host's devices.
    """
    try:
        return _plan(spec, lock, insecure, templates, secrets, state, layout, access)
    except NotLocked as error:
        raise PlanError(str(error)) from error
    except RenderError as error:
        raise PlanError(f"templates/{error}") from error


def _plan(
    spec: HostSpec,
    lock: Lock,
    insecure: frozenset[str],
    templates: Templates,
    secrets: Mapping[str, SecretStr],
    state: HostState,
    layout: Layout,
    access: AccessSecrets | None,
) -> HostPlan:
    if layout.scope == "windows":
        return _plan_windows(spec, lock, insecure, templates, secrets, state, layout)
    _check_platform(spec, state)
    release = _release(spec, lock, state, layout)
    if not release.unpacks(state):
        raise PlanError(NO_ZSTD)
    manager = manager_of(state.platform, layout)
    binary = layout.command if release.adopted(state) else layout.binary
    given = Given(lock, insecure, templates, secrets, state, layout)
    if spec.instances is None:
        instance, files = _only_one(spec, release, binary, given)
        instances: tuple[Instance, ...] = (instance,)
        gone = gone_instances(state, layout)
        told: tuple[str, ...] = ()
    else:
        parts = several(spec, release, binary, given)
        instances, files, gone = parts.instances, parts.files, parts.gone
        told = parts.told
    placements = tuple(placement for instance in instances for placement in instance.placements)
    undeclared_there = undeclared(placements, release.version, lock, manager, state, layout)
    ports = [instance.port for instance in instances]
    firewall = firewall_of(spec, ports, state, layout)
    bases = tuple(dict.fromkeys(placement.base for placement in placements))
    notes = remarks(spec, state, layout, firewall, placements, undeclared_there, ports)
    return HostPlan(
        host=spec.name,
        layout=layout,
        account=WantedAccount(layout.service_user, layout.service_home) if layout.scope == "system" else None,
        directories=_directories(layout, state),
        firewall=firewall,
        release=release,
        files=(*files.of_server, *files.of_shells),
        lines=files.lines,
        service=instances[0].service,
        bases=bases,
        models=tuple({placement.created.name: placement.created for placement in placements}.values()),
        loaded=tuple(item for instance in instances for item in instance.loaded),
        pruned=undeclared_there if spec.prune is True else (),
        unproven=WantedProof(layout),
        placements=placements,
        address=instances[0].address,
        port=instances[0].port,
        outside_address=_outside_address(spec),
        told=tuple(dict.fromkeys((*told, *notes))),
        shortage=shortage(disk_needs(release, bases, lock, state, layout), state),
        access=access_of(spec, access, instances, templates, layout),
        instances=instances,
        gone=gone,
    )


def _only_one(
    spec: HostSpec, release: WantedRelease, binary: str, given: Given
) -> tuple[Instance, HostFiles]:
    """The one server of a host, which has all of its devices."""
    state, layout = given.state, given.layout
    devices = planned_devices(spec, state.devices, state.device_error)
    placements = placements_on(spec, devices, given)
    environment = environment_of(spec, release, layout)
    manager = manager_of(state.platform, layout)
    files = host_files(
        layout,
        given.templates,
        manager,
        state,
        binary=binary,
        environment=environment,
        secrets=given.secrets,
        devices=devices,
    )
    read_by_server: tuple[Item, ...] = (release, *files.of_server)
    because = dict.fromkeys(item.kind for item in read_by_server if item.differences(state))
    service = WantedService(layout, manager, environment, given.secrets, tuple(because))
    return _unnamed(spec, devices, service, placements), files


def _unnamed(
    spec: HostSpec, devices: Sequence[Device], service: WantedService, placements: tuple[Placement, ...]
) -> Instance:
    return Instance(
        name="",
        layout=service.layout,
        address=str(spec.listen.host),
        port=spec.listen.port,
        devices=tuple(devices),
        service=service,
        placements=placements,
        loaded=loaded_of(spec, placements),
    )


def _plan_windows(
    spec: HostSpec,
    lock: Lock,
    insecure: frozenset[str],
    templates: Templates,
    secrets: Mapping[str, SecretStr],
    state: HostState,
    layout: Layout,
) -> HostPlan:
    _check_architecture(state)
    check_windows(state)
    plain = _release(spec, lock, state, layout)
    release = WindowsRelease(plain.version, plain.archives, layout)
    given = Given(lock, insecure, templates, secrets, state, layout)
    parts = windows_parts(spec, release, given)
    instances = parts.instances
    placements = tuple(placement for instance in instances for placement in instance.placements)
    bases = tuple(dict.fromkeys(placement.base for placement in placements))
    undeclared_there = undeclared(placements, release.version, lock, "task", state, layout)
    left = left_words(undeclared_there) if spec.prune == "report" else None
    notes = windows_remarks(parts, release, state, placements)
    return HostPlan(
        host=spec.name,
        layout=layout,
        account=None,
        directories=parts.directories,
        firewall=parts.firewall,
        release=release,
        files=parts.files,
        lines=(),
        service=instances[0].service,
        bases=bases,
        models=tuple({placement.created.name: placement.created for placement in placements}.values()),
        loaded=tuple(item for instance in instances for item in instance.loaded),
        pruned=undeclared_there if spec.prune is True else (),
        unproven=WantedProof(layout),
        placements=placements,
        address=instances[0].address,
        port=instances[0].port,
        outside_address=_outside_address(spec),
        told=tuple(dict.fromkeys((*notes, *([left] if left else [])))),
        shortage=shortage(disk_needs(release, bases, lock, state, layout), state),
        variables=parts.variables,
        desktop_app=parts.desktop_app,
        instances=instances,
        gone=parts.gone,
    )


def _check_architecture(state: HostState) -> None:
    if state.platform.architecture not in ARCHITECTURES:
        raise PlanError(f"{state.platform.architecture} is no processor that Ollama is released for")


def _check_platform(spec: HostSpec, state: HostState) -> None:
    there = state.platform
    _check_architecture(state)
    if spec.scope == "system" and not there.systemd:
        raise PlanError("the host does not run systemd; `scope: user` does without")
    if spec.scope == "system" and there.uid != 0:
        raise PlanError(
            f"{there.user} is not root there; set `sudo: true`, another ssh.user, or `scope: user`"
        )


def _release(spec: HostSpec, lock: Lock, state: HostState, layout: Layout) -> WantedRelease:
    architecture = ARCHITECTURES[state.platform.architecture]
    target = f"{spec.os}-{architecture}"
    targets = [target]
    if any(device.vendor == "amd" for device in state.devices) and f"{target}-rocm" in TARGETS:
        targets.append(f"{target}-rocm")
    found = [lock.archive(str(spec.release.version), name) for name in targets]
    archives = tuple(Archive(item.name, item.url, item.sha256, item.size) for item in found)
    return WantedRelease(str(spec.release.version), archives, layout)


def _directories(layout: Layout, state: HostState) -> tuple[WantedDirectory, ...]:
    owner, group = layout.service_user, layout.service_group
    own = ("root", "root") if layout.scope == "system" else (owner, group)
    # The server makes these two by itself; a restored backup, or a server run as root, leaves them to another.
    parts = [f"{layout.models}/{part}" for part in ("blobs", "manifests")]
    return (
        WantedDirectory(layout.state, *own),
        WantedDirectory(f"{layout.service_home}/.ollama", owner, group),
        WantedDirectory(layout.models, owner, group),
        *(WantedDirectory(part, owner, group) for part in parts if part in state.files),
    )


def _outside_address(spec: HostSpec) -> str:
    return spec.address if spec.listen.host.is_unspecified else str(spec.listen.host)
