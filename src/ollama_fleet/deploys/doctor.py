"""Examining hosts: connected one by one, asked by one command each, and each answer held against the plan."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

# First of all pyinfra: its command line patches sockets and threads for gevent, which must precede their use.
import pyinfra_cli  # noqa: F401  isort: skip
import gevent
from pyinfra.api.command import StringCommand
from pyinfra.api.config import Config
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_host, ctx_state

from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.checks.doctor.diagnosis import Finding, Need, diagnose
from ollama_fleet.checks.doctor.script import TIMEOUT, Answers, Questions, parse, script
from ollama_fleet.checks.exposure import readable_files
from ollama_fleet.deploys.examined import Examined
from ollama_fleet.deploys.host_entries import check_keys, host_entry, pyinfra_name
from ollama_fleet.deploys.secrets import access_secrets_of, readable_by_all, secrets_of
from ollama_fleet.deploys.source import Source
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.fetching import to_fetch
from ollama_fleet.planner.host_plan import plan_host
from ollama_fleet.planner.items.release import WantedRelease
from ollama_fleet.planner.layout import Layout
from ollama_fleet.probe.read import ProbeError
from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.names import is_file_base

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
SSH_PORT = 22
KNOCK_SECONDS = 10


def examine(source: Source, path: Path, hosts: Sequence[HostSpec]) -> list[Examined]:
    """Look at hosts; nothing is changed, and one that fails does not stop the others.

    Args:
        source: the fleet, its lock and templates.
        path: of fleet.yaml.
        hosts: those to look at.

    Raises:
        SpecErrors: an SSH key is not there.
    """
    check_keys(hosts)
    entries = {host.name: host_entry(host, path) for host in hosts}
    inventory = Inventory((list(entries.values()), {}))  # type: ignore[no-untyped-call]
    state = State(inventory, Config())  # type: ignore[no-untyped-call]
    with ctx_state.use(state):
        state.set_stage(StateStage.Connect)
        jobs = [
            gevent.spawn(_one, inventory.get_host(pyinfra_name(entries[spec.name])), source, spec)
            for spec in hosts
        ]
        gevent.joinall(jobs)
    return [Examined(spec.name, tuple(job.get())) for spec, job in zip(hosts, jobs, strict=True)]


def _one(host: Host, source: Source, spec: HostSpec) -> list[Finding]:
    with ctx_host.use(host):
        try:
            host.connect(show_errors=False, raise_exceptions=True)
        except ConnectError as error:
            return [_no_connection(spec, str(error))]
        except Exception as error:  # whatever a library makes of a host that misbehaves
            return [_no_connection(spec, f"{type(error).__name__}: {error}")]
        try:
            questions = _questions(source, spec)
            _, output = host.run_shell_command(
                StringCommand(script(questions)), print_output=False, print_input=False, _timeout=TIMEOUT
            )
            answers = parse(list(output.stdout_lines), questions, time.time())
            way = "this machine itself" if spec.connector == "local" else "a session can be opened"
            return [Finding("connection", "ok", way), *_findings(source, spec, answers)]
        except (ProbeError, PyinfraError, OSError, EOFError) as error:
            remedy = "try a command there by hand: the account may have no shell, or the host is overloaded"
            return [Finding("connection", "problem", f"commands do not work there: {error}", remedy)]
        finally:
            host.disconnect()


def _findings(source: Source, spec: HostSpec, answers: Answers) -> list[Finding]:
    need, plan_error = None, None
    if answers.state is not None:
        try:
            secrets = secrets_of(spec, source.fleet.folder)
            access = access_secrets_of(spec, source.fleet.folder)
            plan = plan_host(
                spec,
                source.lock,
                source.insecure,
                source.templates,
                secrets,
                answers.state,
                answers.layout,
                access,
            )
            sizes = [(item, to_fetch(item, answers.state)) for item in plan.items()]
            releases = sum(size for item, size in sizes if isinstance(item, WantedRelease))
            need = Need(models=sum(size for _, size in sizes) - releases, releases=releases)
        except (PlanError, SpecErrors) as error:
            plan_error = str(error)
    here = readable_files(readable_by_all(spec, source.fleet.folder))
    return diagnose(spec, answers, need, plan_error, here)


def _questions(source: Source, spec: HostSpec) -> Questions:
    proxied = any(name.upper() in PROXIES for name in spec.secrets)
    return Questions(
        layout=Layout.of(spec.place, spec.models_dir),
        port=spec.listen.port,
        sudo=spec.sudo,
        # By a proxy whose address is a secret nothing is tried: it would stand in the list of processes.
        urls=() if proxied else tuple(dict.fromkeys(_urls(source, spec))),
        proxies={name: value for name, value in spec.env.items() if name.upper() in PROXIES},
    )


def _urls(source: Source, spec: HostSpec) -> list[str]:
    """Where the host itself fetches from: the release, unless the controller sends it, and registries of models."""
    urls = []
    locked = source.lock.releases.get(str(spec.release.version))
    if spec.release.download == "host" and locked is not None:
        archives = [archive.url for target, archive in sorted(locked.archives.items()) if spec.os in target]
        urls += archives[:1]
    for request in spec.models:
        if not is_file_base(request.from_):
            registry = ModelName.parse(request.from_).host
            scheme = "http" if registry.lower() in source.insecure else "https"
            urls.append(f"{scheme}://{registry}/v2/")
    return urls


def _no_connection(spec: HostSpec, said: str) -> Finding:
    port = spec.ssh.port or SSH_PORT
    lowered = said.lower()
    if "resolve" in lowered:
        remedy = f"correct address in fleet.yaml: {spec.address} is no name that this machine can resolve"
    elif "auth" in lowered:
        remedy = "correct ssh.user or ssh.key, and put the public key into authorized_keys there"
    elif "host key" in lowered or "known_hosts" in lowered or "not found in" in lowered:
        remedy = (
            f"if the host is the right one: `ssh-keyscan -p {port} {spec.address}`, and add it to known_hosts"
        )
    elif not _knock(spec.address, port):
        remedy = (
            f"nobody answers on port {port} of {spec.address}: is it on, does sshd run, is ssh.port right?"
        )
    else:
        remedy = f"try `ssh -p {port} {spec.address}` by hand"
    return Finding("connection", "problem", said, remedy)


def _knock(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=KNOCK_SECONDS):
            return True
    except OSError:
        return False
