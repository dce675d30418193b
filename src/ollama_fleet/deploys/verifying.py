"""Verifying many hosts at once without a deploy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ollama_fleet.deploys.survey import look

from ollama_fleet.deploys.visit import visit  # isort: skip - patches sockets for gevent, so it comes first
from pyinfra.api.host import Host

from ollama_fleet.checks.evidence import Failure
from ollama_fleet.checks.exposure import readable_files
from ollama_fleet.checks.verdict import Depth, HostVerdict
from ollama_fleet.checks.verify import verify
from ollama_fleet.deploys.secrets import readable_by_all
from ollama_fleet.deploys.source import Source
from ollama_fleet.spec.hosts import HostSpec


def verify_hosts(
    source: Source, path: Path, hosts: Sequence[HostSpec], *, depth: Depth, timeout: float
) -> list[HostVerdict]:
    """Connect to hosts and verify each; one that fails does not stop the others.

    Args:
        source: the fleet, its lock and templates.
        path: of fleet.yaml.
        hosts: those to verify.
        depth: how deep.
        timeout: seconds without any word from a server, a load included.

    Raises:
        SpecErrors: an SSH key is not there.
    """

    def one(host: Host, spec: HostSpec) -> HostVerdict:
        found = look(host, source, spec)
        if found.plan is None or found.state is None:
            return HostVerdict(spec.name, depth, "", (Failure("host", found.error or "no plan"),))
        try:
            verdict = verify(host, found.plan, found.state, depth=depth, timeout=timeout)
        except Exception as error:  # one host's trouble must not end the check of the others
            reason = f"this should not happen, please report it: {type(error).__name__}: {error}"
            return HostVerdict(spec.name, depth, "", (Failure("host", reason),))
        here = readable_files(readable_by_all(spec, source.fleet.folder))
        return replace(verdict, exposed=(*verdict.exposed, *here))

    return visit(path, hosts, one)
