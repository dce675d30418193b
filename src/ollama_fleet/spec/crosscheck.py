"""What no single key can tell: names that lead nowhere, settings that contradict each other, open ports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ollama_fleet.spec import instance_checks, parameters, variables
from ollama_fleet.spec.access import check_access
from ollama_fleet.spec.addresses import DEFAULT_LISTEN, LOCAL, IPNetwork, Listen
from ollama_fleet.spec.errors import KeyPath, Position, SpecError, SpecErrors, Wrong, show
from ollama_fleet.spec.hosts import Hosts
from ollama_fleet.spec.merge import Merged
from ollama_fleet.spec.model import ModelSettings
from ollama_fleet.spec.model_request import ModelRequest
from ollama_fleet.spec.names import AUTO, CPU, canonical_model, is_file_base
from ollama_fleet.spec.reading import Reading
from ollama_fleet.spec.secret import SecretReference
from ollama_fleet.spec.values import ReleaseVersion
from ollama_fleet.spec.windows_paths import is_windows_path
from ollama_fleet.spec.yaml_source import Data

SSH_PORT = 22


def check_references(reading: Reading, gpu_names: Collection[str] | None) -> None:
    """Hosts, models and GPUs that are named and do not exist; also in sections that are wrong elsewhere."""
    hosts, models = reading.written("hosts"), reading.written("models")
    for name, group in reading.written("groups").items():
        for path, host in _words(group, "hosts", ("groups", name)):
            if host not in hosts:
                hint = reading.guess(host, hosts) or "add it below hosts"
                reading.add(path, f"the host {show(host)} is not defined", hint)
    for section in ("groups", "hosts"):
        for name, settings in reading.written(section).items():
            for path, model in _words(settings, "models", (section, name)):
                if model not in models:
                    hint = reading.guess(model, models) or "add it below models"
                    is_key = not isinstance(path[-1], int)
                    reading.add(path, f"the model {show(model)} is not defined", hint, key=is_key)
    if gpu_names is not None:
        _check_gpus(reading, gpu_names)


def _words(section: Data, key: str, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """The words of a list, or the keys of a map, with their paths."""
    found = section.get(key) if isinstance(section, dict) else None
    if isinstance(found, list):
        yield from (((*path, key, index), word) for index, word in enumerate(found) if isinstance(word, str))
    elif isinstance(found, dict):
        yield from (((*path, key, word), word) for word in found)


def _check_gpus(reading: Reading, known: Collection[str]) -> None:
    places: list[tuple[KeyPath, Data]] = [(("defaults",), dict(reading.written("defaults")))]
    for section in ("groups", "hosts"):
        places += [((section, name), settings) for name, settings in reading.written(section).items()]
    named = [found for path, settings in places for found in _words(settings, "gpus", path)]
    for name, model in reading.written("models").items():
        named += [found for found in _words(model, "per_gpu", ("models", name)) if found[1] != CPU]
    for path, gpu in named:
        if gpu not in known and not reading.covered(path):
            hint = reading.guess(gpu, known)
            reading.add(path, f"{show(gpu)} is no known GPU", hint, key=not isinstance(path[-1], int))


def check_models(reading: Reading) -> None:
    """Models that would overwrite each other or what they are made from; quantizations that lead nowhere."""
    seen: dict[str, str] = {}
    bases = {
        canonical_model(base)
        for name in reading.models
        for base in reading.forms(name).bases(sized=_sized(reading, name))
        if not is_file_base(base)
    }
    for name in reading.models:
        full = canonical_model(name)
        if full in seen:
            reading.add(("models", name), f"the same model as {show(seen[full])}", "rename one", key=True)
        elif full in bases:
            message = "the model would overwrite one that models are made from"
            reading.add(
                ("models", name), message, f"give it a name of its own, such as my-{_stem(name)}", key=True
            )
        seen.setdefault(full, name)
        _check_forms(reading, name)


def _said(reading: Reading, name: str) -> list[tuple[KeyPath, ModelSettings]]:
    """Every place that says something of a model: the model itself, its kinds of devices, and hosts."""
    model = reading.models[name]
    said: list[tuple[KeyPath, ModelSettings | None]] = [(("models", name), model)]
    said += [(("models", name, "per_gpu", kind), found) for kind, found in (model.per_gpu or {}).items()]
    said += [
        (("hosts", at, "models", name), (host.models or {}).get(name)) for at, host in reading.hosts.items()
    ]
    return [(path, settings) for path, settings in said if settings is not None]


def _sized(reading: Reading, name: str) -> bool:
    """Whether a size in a family is said of a model anywhere."""
    return any(settings.size is not None for _, settings in _said(reading, name))


def _stem(name: str) -> str:
    return name.rpartition("/")[2].partition(":")[0]


def _check_forms(reading: Reading, name: str) -> None:
    """Sizes and quantizations that lead nowhere."""
    forms, said = reading.forms(name), _said(reading, name)
    every = forms.sizes(None)
    if any(settings.size is not None for _, settings in said):
        # Which of them it is depends on the host; there the request is checked as a whole.
        every.update(forms.published.sizes(forms.from_))
    for path, settings in said:
        try:
            forms.sizes(settings.size)
        except Wrong as wrong:
            reading.add((*path, "size"), wrong.message, wrong.hint)
        quantization = settings.quantization
        if quantization is None or quantization == AUTO:
            continue
        for word in (quantization,) if isinstance(quantization, str) else quantization:
            try:
                forms.candidates(every, word)
            except Wrong as wrong:
                reading.add((*path, "quantization"), wrong.message, wrong.hint)


def check_host(hosts: Hosts, name: str, merged: Merged, gpu_names: Collection[str] | None = None) -> None:
    """One host after the ladder."""
    reading = hosts.reading
    settings: Mapping[str, Any] = merged.settings
    check = _HostCheck(reading, name, merged)
    release = _release(merged)
    version = release.get("version")
    if version is not None:
        _check_release_reads(check, version)
    if str(release.get("source", "")).startswith("file:") and release.get("download") == "host":
        message = "the host cannot fetch from a directory of the machine that deploys"
        check.wrong(("release", "download"), message, "write controller, or leave it out")
    if settings.get("scope") == "user" and settings.get("firewall", {}).get("enabled"):
        check.wrong(
            ("firewall", "enabled"),
            "without root no firewall is switched on",
            "remove it, or write scope: system",
        )
    if settings.get("scope") == "user" and settings.get("sudo"):
        check.wrong(("sudo",), "scope: user works without root", "remove sudo, or write scope: system")
    if settings.get("address") == LOCAL and "ssh" in written_keys(reading, name):
        check.wrong(
            ("ssh",), "the machine that deploys is not reached over SSH", "remove ssh, or write an address"
        )
    _check_system(check)
    _check_exposure(check)
    _check_ssh_port(check)
    asked = [request.name for request in hosts.requests(name)]
    for mistake in instance_checks.mistakes(merged.settings, asked, version, gpu_names):
        check.wrong(mistake.key, mistake.message, mistake.hint, below=mistake.below)
    check_access(settings, settings.get("listen", DEFAULT_LISTEN), check.wrong)
    for request in hosts.requests(name):
        _check_request(check, request, version)


def _release(merged: Merged) -> Mapping[str, Any]:
    found = merged.settings.get("release", {})
    return found if isinstance(found, Mapping) else {}


def written_keys(reading: Reading, name: str) -> Collection[str]:
    """The keys that stand at the host itself."""
    section = reading.written("hosts").get(name)
    return section.keys() if isinstance(section, dict) else ()


class _HostCheck:
    """Mistakes of one host, told at the line that gave the value."""

    def __init__(self, reading: Reading, name: str, merged: Merged) -> None:
        self.reading, self.name, self.merged = reading, name, merged
        self.settings: Mapping[str, Any] = merged.settings

    def wrong(self, key: KeyPath, message: str, hint: str | None = None, *, below: KeyPath = ()) -> None:
        source = (*self.merged.sources.get(key, ("hosts", self.name, *key)), *below)
        if not self.reading.covered(source):  # what a group says is told once, not for each of its hosts
            self.reading.add(source, message, hint, key=key not in self.merged.sources)


def _check_release_reads(check: _HostCheck, version: ReleaseVersion) -> None:
    settings: Mapping[str, str | SecretReference] = check.settings.get("env", {})
    environment = {name: value for name, value in settings.items() if isinstance(value, str)}
    for variable, value in environment.items():
        reason = variables.unread_by(variable, value, version)
        if reason is not None:
            check.wrong(("env", variable), reason, "remove it, or pin another release")
    kv_type = environment.get("OLLAMA_KV_CACHE_TYPE", "f16")
    if kv_type not in {"f16", "f32", "bf16"} and environment.get("OLLAMA_FLASH_ATTENTION") == "0":
        message = f"a KV cache of type {kv_type} needs flash attention, which is switched off"
        check.wrong(("env", "OLLAMA_KV_CACHE_TYPE"), message, "set OLLAMA_FLASH_ATTENTION: true")


def _check_system(check: _HostCheck) -> None:
    """What Windows has otherwise than Linux, or not at all."""
    models_dir = check.settings.get("models_dir")
    if check.settings.get("os") != "windows":
        if models_dir is not None and is_windows_path(models_dir):
            check.wrong(
                ("models_dir",), f"{show(models_dir)} is a path of Windows", "write os: windows at the host"
            )
        return
    if models_dir is not None and not is_windows_path(models_dir):
        check.wrong(
            ("models_dir",), f"{show(models_dir)} is no path of Windows", "write D:\\Models\\OllamaModels"
        )
    if check.settings.get("scope") == "user":
        check.wrong(
            ("scope",), "on Windows the server is the whole system's", "remove it, or write scope: system"
        )
    if check.settings.get("sudo"):
        check.wrong(
            ("sudo",), "there is no sudo on Windows", "write sudo: false; let ssh.user be an administrator"
        )
    if check.settings.get("firewall", {}).get("backend", "auto") != "auto":
        check.wrong(("firewall", "backend"), "Windows has a firewall of its own", "write backend: auto")
    if check.settings.get("firewall", {}).get("enabled"):
        check.wrong(("firewall", "enabled"), "Windows' firewall is not switched on from here", "remove it")
    if check.settings.get("address") == LOCAL:
        check.wrong(("address",), "@local is for Linux", "write the address at which OpenSSH answers")


def _check_exposure(check: _HostCheck) -> None:
    listen: Listen = check.settings.get("listen", DEFAULT_LISTEN)
    allowed: tuple[IPNetwork, ...] = check.settings.get("firewall", {}).get("allow_from", ())
    if listen.is_loopback or check.settings.get("expose") or check.settings.get("access"):
        return
    unless = "or expose: true if everybody may use, change and delete its models"
    if not allowed:
        check.wrong(
            ("listen",),
            f"{listen} is open beyond the host, and nothing says who may connect",
            f"write firewall: {{allow_from: [NETWORK]}}, {unless}",
        )
    elif wide := next((network for network in allowed if network.prefixlen == 0), None):
        message = f"{wide} lets everybody connect to {listen}"
        check.wrong(("firewall", "allow_from"), message, f"name the networks that may, {unless}")


def _check_ssh_port(check: _HostCheck) -> None:
    """No port of ours may be that of SSH: closing it to others would cut everybody off."""
    ssh = check.settings.get("ssh", {}).get("port") or SSH_PORT
    listen: Listen = check.settings.get("listen", DEFAULT_LISTEN)
    door: Listen | None = (check.settings.get("access") or {}).get("listen")
    instances = check.settings.get("instances", 1)
    places: list[tuple[KeyPath, KeyPath, int | None]] = [
        (("listen",), (), listen.port),
        (("access", "listen"), (), door.port if door else None),
    ]
    if not isinstance(instances, str | int):
        places += [(("instances",), (at, "port"), one.port) for at, one in enumerate(instances)]
    for key, below, port in places:
        if port == ssh:
            check.wrong(key, f"port {port} is that of SSH", "write another port", below=below)


def _check_request(check: _HostCheck, request: ModelRequest, version: ReleaseVersion | None) -> None:
    gpus = check.settings.get("gpus", "auto")
    declared: list[tuple[str, ...]] = (
        [()] if gpus == "auto" else [tuple(gpus), *((kind,) for kind in set(gpus))]
    )
    if gpus == "auto":
        declared += [(kind,) for kind in request.kinds]
    for kinds in sorted(declared):
        try:
            resolved = request.for_devices(kinds)
        except SpecErrors as errors:
            for error in errors.errors:
                check.reading.note(("models", request.name), error)
            return
        if version is None:
            continue
        for parameter in resolved.parameters:
            reason = parameters.unknown_to(parameter, version)
            if reason is not None:
                origin = resolved.origin[f"parameters.{parameter}"]
                position = Position(origin.line, origin.column)
                hint = "remove it, or pin another release"
                error = SpecError(origin.path, reason, hint, position, origin.file)
                check.reading.note(("models", request.name), error)


def check_hosts(reading: Reading, merged: Mapping[str, Merged]) -> None:
    """Hosts that get no release, and hosts that are one machine."""
    without = [name for name, host in merged.items() if "version" not in _release(host)]
    hint = "write release: {version: 0.32.15} at the root of the file"
    if without and len(without) == len(merged):
        reading.add(("release",), "no version of Ollama is pinned", hint, key=True)
    else:
        for name in without:
            reading.add(("hosts", name), "no version of Ollama is pinned for this host", hint, key=True)
    reached: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name, host in merged.items():
        settings: Mapping[str, Any] = host.settings
        address = str(settings.get("address", name)).casefold()
        port = 0 if address == LOCAL else settings.get("ssh", {}).get("port") or 22
        reached[(address, port)].append(name)
    for names in reached.values():
        for name in names[1:]:
            path: KeyPath = ("hosts", name, "address")
            path = path if path in reading.document.values else ("hosts", name)
            reading.add(
                path,
                f"the same machine as {show(names[0])}",
                "give each machine one entry",
                key=path[-1] == name,
            )
