"""Files whose whole content is ours."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from shlex import quote

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.operations.context import look, mark_changed
from ollama_fleet.operations.shell import script, write_file, write_secret_file
from ollama_fleet.planner.items.text_file import WantedFile, WantedLine
from ollama_fleet.planner.layout import Scope


@operation()
def files(
    wanted: Sequence[WantedFile],
    lines: Sequence[WantedLine] = (),
    scope: Scope = "system",
    models_dir: str | None = None,
) -> Generator[StringCommand, None, None]:
    """Write files, each beside its place and then moved into it, and add single lines to others' files.

    Args:
        wanted: the files.
        lines: lines to append where they are missing.
        scope: whose layout the probe looks at.
        models_dir: where models lie, if not in Ollama's default place.
    """
    state, _ = look(scope, models_dir)
    different = [item for item in wanted if item.differences(state)]
    commands = [
        write_file(item.path, item.content, mode=item.mode, owner=item.owner, group=item.group)
        for item in different
        if not item.secret
    ]
    commands += [
        f'[ -z "$(tail -c1 {quote(item.path)} 2>/dev/null)" ] || echo >>{quote(item.path)}\n'
        f"printf '%s\\n' {quote(item.line)} >>{quote(item.path)}"
        for item in lines
        if item.differences(state)
    ]
    if not commands and not different:
        host.noop("files are as wanted")
        return
    mark_changed(host)
    for item in different:
        if item.secret:
            yield write_secret_file(
                item.path, item.content, mode=item.mode, owner=item.owner, group=item.group
            )
    if commands:
        yield script(*commands)
