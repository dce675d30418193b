"""What a user should know about a host and no operation changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ollama_fleet.planner.host_files import has_foreign_unit
from ollama_fleet.planner.items.firewall import WantedFirewall
from ollama_fleet.planner.items.firewall.notes import notes
from ollama_fleet.planner.items.prune import Pruned
from ollama_fleet.planner.items.service import manager_of
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.ollama_host import port_of
from ollama_fleet.planner.placement import Placement
from ollama_fleet.planner.prune import left_words
from ollama_fleet.planner.sizes import size_words
from ollama_fleet.planner.state import HostState
from ollama_fleet.spec.access_acme import PORT as ACME_PORT
from ollama_fleet.spec.hosts import HostSpec

LOGGED = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"})
"""Variables that Ollama tells, with their values, in the line that it logs at each start."""


def remarks(
    spec: HostSpec,
    state: HostState,
    layout: Layout,
    firewall: WantedFirewall | None,
    placements: Sequence[Placement],
    undeclared: Sequence[Pruned],
    ports: Sequence[int],
) -> Iterator[str]:
    """Yield one line each; `ports` are those of the host's servers."""
    yield from _firewall(spec, state, firewall)
    yield from _service(spec, state, layout, ports)
    if spec.prune == "report" and (left := left_words(undeclared)):
        yield left
    if state.device_error:
        yield f"the GPUs cannot be read: {state.device_error}"
    for placement in placements:
        for remark in (*placement.resolved.remarks, *placement.decision.remarks):
            yield f"{placement.resolved.name}: {remark}"


def _firewall(spec: HostSpec, state: HostState, wanted: WantedFirewall | None) -> Iterator[str]:
    port = spec.listen.port
    if spec.scope == "user" and not spec.listen.is_loopback:
        yield f"without root no firewall is touched: whoever reaches port {port} can use and change the models"
    if spec.access is not None and spec.access.tls == "none":
        yield "the front door does not encrypt: whoever is on the way can read tokens and prompts (access.tls)"
    yield from _authority(spec)
    if spec.access is not None and not state.firewall.active and not (wanted and wanted.switched):
        return  # the front door itself asks everybody for a token
    if wanted is not None:
        yield from notes(wanted, state.firewall)


def _authority(spec: HostSpec) -> Iterator[str]:
    """Whether who gives the door's certificate gets through to it."""
    acme = spec.access.acme if spec.access is not None else None
    if acme is None or not acme.public or not spec.allow_from:
        return
    if not any(network.prefixlen == 0 for network in spec.allow_from):
        yield (
            f"Let's Encrypt has to reach port {ACME_PORT} from the internet, and firewall.allow_from lets in "
            f"{', '.join(map(str, spec.allow_from))} alone: no certificate comes; leave allow_from out, or name "
            "an authority of your own (access.acme.server)"
        )


def _service(spec: HostSpec, state: HostState, layout: Layout, ports: Sequence[int]) -> Iterator[str]:
    if manager_of(state.platform, layout) == "supervisor":
        yield "no systemd for this account: the server is kept running by a script and does not survive a reboot"
    yield from _found(spec, state, layout, ports)
    ours = {"OLLAMA_HOST", "OLLAMA_MODELS", *spec.env}
    foreign = {path: text for server in state.servers for path, text in server.foreign_drop_ins.items()}
    for path, text in foreign.items():
        yield f"{path} is not ours and is left as it is{_touching(text, ours)}"
    for name in sorted(name for name in spec.secrets if name.upper() in LOGGED):
        yield f"the server writes {name} into its log when it starts: whoever may read the journal reads the secret"


def _found(spec: HostSpec, state: HostState, layout: Layout, ports: Sequence[int]) -> Iterator[str]:
    """An Ollama of before: what becomes of its unit, its command, its models."""
    there = state.service
    if has_foreign_unit(state, layout):
        unit = there.fragment or layout.unit
        yield f"{unit} is not ours and stays; {layout.drop_in} decides what it runs, and as whom"
    foreign, version = state.release.foreign, str(spec.release.version)
    if foreign is not None and foreign.version == version and not state.release.versions:
        yield f"{foreign.path} is already version {version}: it is used as it is"
    elif foreign is not None:
        yield f"{foreign.path} of somebody else ({foreign.version or 'no version'}) is kept as {layout.command_backup}"
    for other in there.others:
        whose = other.unit or f"process {other.pid}"
        if not other.unit or port_of(other.listen) not in ports:
            yield f"{whose} runs another Ollama, on port {port_of(other.listen)}; it is left alone"
        else:
            yield f"{whose} runs another Ollama on the same port: it is stopped and disabled, and its unit stays"
    for store in there.other_models:
        yield (
            f"{store.count} model{'s' if store.count > 1 else ''} ({size_words(store.size)}) in {store.path} are left "
            f"there and not served; to serve them, write models_dir: {store.path}"
        )


def _touching(text: str, ours: set[str]) -> str:
    """What a drop-in says of things that fleet.yaml decides."""
    settings = [line.partition("=") for line in text.splitlines() if "=" in line and line[:1] not in "#;["]
    names = {
        name
        for key, _, value in settings
        if key.strip() == "Environment"
        for name in ours
        if f"{name}=" in value
    }
    said = [f"; its {name} has no effect, fleet.yaml decides" for name in sorted(names)]
    strong = {key.strip() for key, _, _ in settings} & {"ExecStart", "User", "Group", "EnvironmentFile"}
    said += [f"; its {key} may get in the way" for key in sorted(strong)]
    return "".join(said)
