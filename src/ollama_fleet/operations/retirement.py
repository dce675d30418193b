"""Taking everything of ours off a host: one script, which may be run again where it was cut off."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from ollama_fleet.operations.access import removal
from ollama_fleet.operations.firewall import commands_of
from ollama_fleet.operations.service import end_supervised
from ollama_fleet.planner.retirement import Retirement
from ollama_fleet.planner.state import HostState

AT_WORK = "another apply is at work here"


def retirement_script(plan: Retirement, state: HostState) -> str:
    """Return POSIX sh that does what the plan says; what says where things were before us goes last."""
    parts = (_locked, _access, _service, _firewall, _files, _releases, _models, _account, _last)
    return "\n".join(["set -e", *(line for part in parts for line in part(plan, state))])


def _locked(plan: Retirement, _: HostState) -> Iterator[str]:
    lock = quote(plan.layout.apply_lock)
    yield f"mkdir -p {quote(plan.layout.apply_lock.rpartition('/')[0])}"
    yield f"exec 9>>{lock}"
    yield f'flock -n 9 || {{ echo "{AT_WORK}: $(cat {lock})" >&2; exit 1; }}'


def _access(plan: Retirement, _: HostState) -> Iterator[str]:
    """First of all, while there is a service behind it."""
    if plan.access:
        yield from removal()


def _service(plan: Retirement, state: HostState) -> Iterator[str]:
    """Stop ours; what somebody else made starts again as they have it, with the command that they had."""
    layout = plan.layout
    if layout.scope == "user":
        yield "export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
        if layout.state in state.files:
            yield from end_supervised(layout)
            yield "cd /"
    systemctl = "systemctl --user" if layout.scope == "user" else "systemctl"
    if plan.own_unit:
        quiet = "2>/dev/null || true" if layout.scope == "user" else ""
        yield f"{systemctl} disable --now --quiet ollama.service {quiet}".rstrip()
    for name in plan.instances:
        yield f"systemctl disable --now --quiet {quote(layout.for_instance(name).service)} 2>/dev/null || true"
    backup = quote(layout.command_backup)
    if layout.command in plan.links:
        yield f"rm -f {quote(layout.command)}"
        yield f"[ ! -e {backup} ] || mv -fT {backup} {quote(layout.command)}"
    if plan.foreign_unit:
        yield f"rm -f {quote(layout.drop_in)}"
        yield f"{systemctl} daemon-reload"
        if plan.instances:  # these took its place, for which it was stopped and disabled
            yield f"{systemctl} enable --quiet ollama.service"
        if plan.instances or state.service.active == "active":
            yield f"{systemctl} restart ollama.service"
    if layout.scope == "user" and not plan.before.lingering and state.platform.lingering:
        yield 'loginctl disable-linger "$(id -un)" || true'


def _firewall(plan: Retirement, state: HostState) -> Iterator[str]:
    if plan.firewall is not None:
        yield from commands_of(plan.firewall, state)


def _files(plan: Retirement, _: HostState) -> Iterator[str]:
    layout = plan.layout
    if plan.files:
        yield f"rm -f {' '.join(map(quote, plan.files))}"
        user = layout.scope == "user"
        yield f"systemctl {'--user ' if user else ''}daemon-reload {'2>/dev/null || true' if user else ''}".rstrip()
    if plan.line is not None:
        path, new = quote(plan.line.path), quote(f"{plan.line.path}.fleet-new")
        # Written into the file that is there: it may be a link, and it keeps its mode.
        yield f"{{ grep -vxF {quote(plan.line.line)} {path} || true; }} >{new}; cat {new} >{path}; rm -f {new}"
        if plan.line.path in plan.before.absent:
            yield f"[ -s {path} ] || rm -f {path}"


def _releases(plan: Retirement, _: HostState) -> Iterator[str]:
    releases = plan.layout.releases
    gone = [f"{releases}/{name}" for name in plan.releases]
    gone += [link for link in plan.links if link != plan.layout.command]
    if gone:
        yield f"rm -rf {' '.join(map(quote, [*gone, f'{releases}/.download']))}"


def _models(plan: Retirement, _: HostState) -> Iterator[str]:
    models = plan.layout.models
    yield f"rm -rf {quote(plan.layout.models_before)}"
    for stored in plan.models.going:
        path = f"{models}/manifests/{stored.name.manifest_path}"
        yield f"rm -f {quote(path)}"
        above = path.rpartition("/")[0]
        while above != f"{models}/manifests":
            yield f"rmdir {quote(above)} 2>/dev/null || true"
            above = above.rpartition("/")[0]
    for digest in plan.models.blobs:
        yield f"rm -f {quote(f'{models}/blobs/{digest.replace(chr(58), chr(45))}')}"
    if plan.models.staying and plan.account:
        # A number that an account had may one day be another's.
        yield f"chown -R root:root {quote(models)}"


def _account(plan: Retirement, _: HostState) -> Iterator[str]:
    for tree in plan.trees:
        if tree != plan.layout.state:
            yield f"rm -rf {quote(tree)}"
    if plan.account:
        user, group = quote(plan.layout.service_user), quote(plan.layout.service_group)
        yield f"userdel {user}"
        if not plan.before.group:
            yield f"! getent group {group} >/dev/null || groupdel {group}"


def _last(plan: Retirement, _: HostState) -> Iterator[str]:
    yield f"rm -rf {quote(plan.layout.state)}"
    for directory in plan.directories:
        yield f"rmdir {quote(directory)} 2>/dev/null || true"
    yield f"rm -f {quote(plan.layout.apply_lock)}"
