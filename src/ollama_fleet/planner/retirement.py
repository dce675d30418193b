"""What goes when a host leaves the fleet, and what stays since it is not ours."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ollama_fleet.artifacts.manifest import Manifest, ManifestError
from ollama_fleet.artifacts.names import ModelName, ModelNameError
from ollama_fleet.planner.before import Before
from ollama_fleet.planner.host_files import has_foreign_unit, login_line
from ollama_fleet.planner.items.access import NoAccess
from ollama_fleet.planner.items.firewall import WantedFirewall
from ollama_fleet.planner.items.text_file import WantedLine
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.placement import IMPORT_NAMESPACE, KEPT_NAMESPACE
from ollama_fleet.planner.prune import HALF
from ollama_fleet.planner.sizes import size_words
from ollama_fleet.planner.slots import Note
from ollama_fleet.planner.state import HostState, StoredModel
from ollama_fleet.planner.variants import tagged
from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.names import CPU

OUR_NAMESPACES = (IMPORT_NAMESPACE, KEPT_NAMESPACE)


@dataclass(frozen=True, slots=True)
class Models:
    """Models that go, as files below the models directory; the server does not run any more by then."""

    going: tuple[StoredModel, ...] = ()
    staying: tuple[StoredModel, ...] = ()
    blobs: tuple[str, ...] = ()
    """Digests that no model uses which stays."""
    kept: bool = False
    """The user wants to keep what is there."""

    @property
    def all_go(self) -> bool:
        """Nothing is left in the directory."""
        return not self.staying and not self.kept


DOOR_GOES = "front door, with its tokens and its certificate authority; the package of the proxy stays"


@dataclass(frozen=True, slots=True)
class Retirement:
    """What is to be taken off a host. Empty `goes` is a host that has nothing of ours."""

    layout: Layout
    before: Before
    own_unit: bool
    """The unit is ours and goes; else it is somebody else's and runs again as it did."""
    foreign_unit: bool
    instances: tuple[str, ...]
    """Names of several servers, whose units are ours and go."""
    files: tuple[str, ...]
    line: WantedLine | None
    releases: tuple[str, ...]
    links: tuple[str, ...]
    firewall: WantedFirewall | None
    access: bool
    """There is a front door, which goes."""
    models: Models
    account: bool
    directories: tuple[str, ...]
    """Those made by us, deepest first: they go if nothing is left in them."""
    trees: tuple[str, ...]
    """Those made by us that go with all that is in them."""
    goes: tuple[str, ...]
    stays: tuple[str, ...]


def retirement(
    spec: HostSpec, state: HostState, layout: Layout, *, keep_models: bool = False, all_models: bool = False
) -> Retirement:
    """Decide what goes.

    Args:
        spec: the host as it is still declared.
        state: what the probe read.
        layout: with the home directory filled in.
        keep_models: no model goes.
        all_models: also models go that fleet.yaml does not know.
    """
    before = Before.of(state, layout)
    own_unit, foreign_unit = _unit(state, layout)
    models = models_of(spec, state, keep_models=keep_models, all_models=all_models)
    files = _files(state, layout, own_unit)
    instances = tuple(sorted(state.instances))
    line = login_line(layout)
    line = line if line and not line.differences(state) else None
    releases = tuple(
        name for name, there in sorted(state.release.versions.items()) if there.stamp or HALF.fullmatch(name)
    )
    links = _links(state, layout)
    firewall = WantedFirewall(_ports(spec, state, layout), (), layout, present=False)
    rules = firewall.differences(state) if layout.scope == "system" else []
    door = NoAccess().differences(state) if layout.scope == "system" else []
    account = layout.scope == "system" and not before.user and layout.service_user in state.accounts
    trees, directories = _directories(before, state, layout, models)
    goes = [
        *([f"service ollama: stopped, {layout.unit} removed"] if own_unit else []),
        *(f"service ollama@{name}: stopped" for name in instances),
        *(f"file {path}" for path in files if path != layout.unit),
        *([f"line of ours in {line.path}"] if line else []),
        *(f"release {name} ({size_words(state.release.versions[name].size)})" for name in releases),
        *(f"link {path}" for path in links),
        *(f"firewall {difference}" for difference in rules),
        *([DOOR_GOES] if door else []),
        *models_going(models, state),
        *(f"directory {path} with all that is in it" for path in trees),
        *([f"user and group {layout.service_user}"] if account else []),
    ]
    return Retirement(
        layout=layout,
        before=before,
        own_unit=own_unit,
        instances=instances,
        foreign_unit=foreign_unit,
        files=files,
        line=line,
        releases=releases,
        links=links,
        firewall=firewall if rules else None,
        access=bool(door),
        models=models,
        account=account,
        directories=directories,
        trees=trees,
        goes=tuple(goes),
        stays=tuple(_stays(state, layout, models, before, foreign_unit=foreign_unit)),
    )


def _unit(state: HostState, layout: Layout) -> tuple[bool, bool]:
    foreign = has_foreign_unit(state, layout)
    there = state.files.get(layout.unit)
    return there is not None and not foreign, foreign


def _files(state: HostState, layout: Layout, own_unit: bool) -> tuple[str, ...]:
    ours = [layout.drop_in, layout.environment, layout.profile]
    if own_unit:
        ours.append(layout.unit)
    ours += [layout.for_instance(name).environment for name in sorted(state.instances)]
    if layout.scope == "system":
        ours += [layout.instance_unit, layout.instance_drop_in, layout.resume_hook]
    return tuple(path for path in ours if path in state.files)


def _links(state: HostState, layout: Layout) -> tuple[str, ...]:
    there = state.release
    named = {
        layout.current: there.current,
        f"{layout.releases}/previous": there.previous,
        layout.command: there.command_target if there.command_target == layout.binary else None,
    }
    return tuple(path for path, target in named.items() if target is not None)


def models_of(spec: HostSpec, state: HostState, *, keep_models: bool, all_models: bool) -> Models:
    """Decide which models go; arguments as for `retirement`."""
    if keep_models:
        return Models(staying=state.store.models, kept=True)
    ours = names_of(spec) | _forms(spec, state)
    going: list[StoredModel] = []
    staying: list[StoredModel] = []
    for stored in state.store.models:
        mine = all_models or stored.name in ours or stored.name.namespace.lower() in OUR_NAMESPACES
        (going if mine else staying).append(stored)
    return Models(tuple(going), tuple(staying), _freed(going, staying, state))


def models_going(models: Models, state: HostState) -> Iterator[str]:
    """Yield a line per model that goes, and one about what that frees."""
    for stored in models.going:
        yield f"model {stored.name.short} ({size_words(_size(stored, state))})"
    if models.blobs:
        freed = sum(state.store.blob_sizes.get(blob, 0) for blob in models.blobs)
        yield f"blobs of these models: {size_words(freed)} to be freed"


def models_staying(models: Models, layout: Layout) -> Iterator[str]:
    """Yield the line about models that stay, if there are any."""
    if models.staying:
        yield f"models in {layout.models}: {', '.join(stored.name.short for stored in models.staying)}"


def names_of(spec: HostSpec) -> frozenset[ModelName]:
    """Names of the models that a host serves, and of all that they may be made from."""
    names = {ModelName.parse(request.name) for request in spec.models}
    for request in spec.models:
        for kinds in ((), *((kind,) for kind in request.kinds)):
            # What says nothing without a GPU is said for the kinds that it names.
            with contextlib.suppress(SpecErrors):
                names.update(
                    ModelName.parse(candidate.base)
                    for candidate in request.for_devices(kinds).candidates
                    if not candidate.is_file
                )
    return frozenset(names)


def _forms(spec: HostSpec, state: HostState) -> frozenset[ModelName]:
    """Names of the forms that models may have where there are, or were, several servers."""
    if spec.instances is None and not state.instances:
        return frozenset()
    tags = {CPU, *state.instances, *(device.kind for device in state.devices if device.kind)}
    if isinstance(spec.instances, tuple):
        tags.update(name for one in spec.instances for name in (one.name, "-".join(sorted(one.devices))))
    found = set()
    for request in spec.models:
        for tag in {*tags, *request.kinds}:
            with contextlib.suppress(ModelNameError):
                found.add(tagged(request.name, tag))
    return frozenset(found)


def _ports(spec: HostSpec, state: HostState, layout: Layout) -> tuple[int, ...]:
    """The port of the only server, and those that several were noted to have."""
    noted = Note.on(state, layout).taken.values()
    return tuple(sorted({spec.listen.port, *(port for port, _ in noted)}))


def _freed(going: Sequence[StoredModel], staying: Sequence[StoredModel], state: HostState) -> tuple[str, ...]:
    if not going:
        return ()
    if not staying:
        return tuple(sorted(state.store.blob_sizes))
    kept: set[str] = set()
    for stored in staying:
        blobs = _blobs(stored)
        if blobs is None:  # nobody can tell what it needs
            return ()
        kept.update(blobs)
    return tuple(sorted({blob for stored in going for blob in _blobs(stored) or ()} - kept))


def _blobs(stored: StoredModel) -> Collection[str] | None:
    try:
        return Manifest.parse(stored.manifest).blobs
    except ManifestError:
        return None


def _size(stored: StoredModel, state: HostState) -> int:
    return sum(state.store.blob_sizes.get(digest, 0) for digest in _blobs(stored) or ())


def _directories(
    before: Before, state: HostState, layout: Layout, models: Models
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Directories that go with all their content, and those that go where they are empty."""
    made = [path for path in layout.places() if path in before.absent and path in state.files]
    made = [path for path in made if state.files[path].kind == "directory"]
    whole = [layout.state] if layout.state in state.files else []
    homes = [layout.service_home] if layout.scope == "system" else []
    homes += [f"{layout.service_home}/.ollama", *([layout.models] if models.all_go else [])]
    for home in homes:
        holds_models = f"{layout.models}/".startswith(f"{home}/")
        if home in made and (models.all_go or not holds_models):
            whole.append(home)
    trees = [path for path in whole if not any(path.startswith(f"{other}/") for other in whole)]
    empty = [
        layout.releases,
        *(str(path).rpartition("/")[0] for path in (layout.drop_in, layout.environment)),
    ]
    if layout.scope == "system":
        empty += [layout.instances, layout.instance_drop_in.rpartition("/")[0]]
    rest = dict.fromkeys([path for path in (*made, *empty) if path in state.files and path not in trees])
    return tuple(trees), tuple(sorted(rest, key=lambda path: (-path.count("/"), path)))


def _stays(
    state: HostState, layout: Layout, models: Models, before: Before, *, foreign_unit: bool
) -> list[str]:
    lines = []
    if foreign_unit:
        unit = state.service.fragment or layout.unit
        lines.append(f"{unit}, which is not ours; the service is started again as it says")
    lines += [f"{path}, a drop-in that is not ours" for path in state.service.foreign_drop_ins]
    if state.release.foreign is not None:
        lines.append(f"{state.release.foreign.path}, which is not ours")
    lines += models_staying(models, layout)
    if layout.scope == "system" and before.user and layout.service_user in state.accounts:
        lines.append(f"user {layout.service_user}, which was here before, as far as is known")
    return lines
