"""Pulling a base so that only what is locked is ever put to use; what the host had before stays until then.

A server writes what a registry gives it under the name that was asked for, and removes the layers of what that name
stood for. So the model that is there is kept under a second name meanwhile, and comes back where the pull brings
something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from hashlib import sha256
from shlex import quote

from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host

from ollama_fleet.api.client import Ollama, Progress
from ollama_fleet.api.errors import ApiError, Refused
from ollama_fleet.api.listed import by_name
from ollama_fleet.artifacts.manifest import Manifest, ManifestError
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.operations.windows import running
from ollama_fleet.planner.items.model import WantedBase
from ollama_fleet.planner.placement import KEPT_NAMESPACE

WORTH_STOPPING = 64 << 20
"""Bytes: a layer that is not locked is not waited for where so much of it is still to come. A smaller one may be there
before the server notices that nobody waits any more, and would write the manifest after we have looked."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Told = Callable[[Progress], None]


def pull_locked(server: Ollama, at: Host, base: WantedBase, models_dir: str, told: Told) -> None:
    """Pull a base, and undo it unless it is what is locked.

    Raises:
        StepFailed: the registry serves something else than is locked, or broken layers; told with both digests.
        ApiError: the pull failed; the next one goes on with it.
    """
    with _undone_on_failure(server, base):
        if not _pull(server, base, told):
            # What an earlier pull left behind was bad, such as on a disk that was full.
            _remove_bad_blobs(at, base, models_dir)
            if not _pull(server, base, told):
                _remove_bad_blobs(at, base, models_dir)
                raise StepFailed(f"{base.name} came with a digest mismatch twice: is the registry in order?")
        digest = _digest_of(server, base.model)
        if digest != base.digest and (
            _keeps_manifests(server.version()) or _stored_content(at, base, models_dir) != base.content
        ):
            raise _moved(base, f"came with digest {digest}")


@contextmanager
def _undone_on_failure(server: Ollama, base: WantedBase) -> Generator[None, None, None]:
    kept = ModelName.parse(
        f"{KEPT_NAMESPACE}/base:sha256-{sha256(base.model.folded.encode()).hexdigest()[:16]}"
    )
    there = _digest_of(server, base.model) is not None
    # One that is there already is from a run that was killed: what stands under the base's name now may be wrong.
    had = _digest_of(server, kept) is not None
    if there and not had:
        server.copy(base.model.short, kept.short)
        had = True
    try:
        yield
    except BaseException:
        # Where the server is gone too, the second name stays, and the next pull finds it.
        with suppress(ApiError):
            # With the layers that only it needs; a copy over it would leave them behind.
            server.delete(base.model.short)
            if had:
                server.copy(kept.short, base.model.short)
                server.delete(kept.short)
        raise
    server.delete(kept.short)


def _pull(server: Ollama, base: WantedBase, told: Told) -> bool:
    """Pull once; False where a blob turned out to be bad."""

    def watched(progress: Progress) -> None:
        digest = progress.digest
        foreign = digest is not None and _DIGEST.fullmatch(digest) and digest not in base.content
        if foreign and progress.total - progress.completed > WORTH_STOPPING:
            raise _moved(base, f"comes with a layer that is not locked, {digest}")
        told(progress)

    try:
        server.pull(base.model.short, insecure=base.insecure, told=watched)
    except Refused as error:
        if "digest mismatch" not in str(error):
            raise
        return False
    return True


def _moved(base: WantedBase, what: str) -> StepFailed:
    return StepFailed(
        f"{base.name} {what}, locked is {base.digest}; nothing was made from it. If the change is wanted, "
        f"run `ollama-fleet lock --update {base.name}` and commit fleet.lock"
    )


def _digest_of(server: Ollama, name: ModelName) -> str | None:
    listed = by_name(server.tags()).get(name)
    return None if listed is None else f"sha256:{listed.digest}"


def _remove_bad_blobs(at: Host, base: WantedBase, models_dir: str) -> None:
    """Remove what does not have the digest in its name: a server checks a blob only right after fetching it.

    At the first bad one it stops, and takes those that it did not come to for good ever after.
    """
    blobs = [f"{models_dir}/blobs/{digest.replace(':', '-')}" for digest in sorted(base.content)]
    check = 'if [ -f "$blob" ] && [ "sha256-$(sha256sum <"$blob" | cut -c1-64)" != "${blob##*/}" ]; then'
    command = f'for blob in {" ".join(map(quote, blobs))}; do {check} rm -f "$blob"; fi; done'
    if not models_dir.startswith("/"):  # a drive: Windows
        command = running.remove_bad_blobs(blob.replace("/", "\\") for blob in blobs)
    at.run_shell_command(StringCommand(command), _sudo=bool(at.data.get("_sudo")))


def _stored_content(at: Host, base: WantedBase, models_dir: str) -> frozenset[str]:
    """What the manifest on the host stands for, however the server has written it."""
    path = f"{models_dir}/manifests/{base.model.manifest_path}"
    read, output = at.run_shell_command(StringCommand(f"cat {quote(path)}"), _sudo=bool(at.data.get("_sudo")))
    try:
        return frozenset(Manifest.parse(output.stdout.encode()).blobs) if read else frozenset()
    except ManifestError:
        return frozenset()


def _keeps_manifests(version: str) -> bool:
    """Whether a server stores a manifest's bytes as they came; those before 0.19 write it anew."""
    parts = version.split("-", maxsplit=1)[0].split(".")
    return [int(part) for part in parts if part.isdigit()][:2] >= [0, 19] or version.startswith("0.0.0")
