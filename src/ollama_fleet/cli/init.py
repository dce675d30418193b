"""`ollama-fleet init`: a repository to start from."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import click

from ollama_fleet.spec.schema import json_schema

STARTER = "starter"


@click.command("init")
@click.argument("directory", required=False, default=".", type=click.Path(file_okay=False, path_type=Path))
def command(directory: Path) -> None:
    """Write a repository to start from into DIRECTORY (this one by default): fleet.yaml, deploy.py and more.

    Nothing that is there already is overwritten.

    Example: ollama-fleet init my-fleet
    """
    contents = _starter()
    clashes = sorted(name for name in contents if (directory / name).exists())
    if clashes:
        raise click.ClickException(
            f"{directory}: {', '.join(clashes)} is there already; choose an empty directory"
        )
    try:
        for name, text in contents.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    where = "" if directory == Path() else f"cd {directory} && "
    click.echo(f"{directory}: {len(contents)} files written. Edit fleet.yaml, then:")
    click.echo(f"  {where}ollama-fleet validate && ollama-fleet lock")
    click.echo("  pyinfra inventory/hosts.py deploy.py")


def _starter() -> dict[str, str]:
    """Relative path to text; names end in what they become, without the leading dot of hidden ones."""
    found = {"fleet.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"}
    folder = files("ollama_fleet").joinpath(STARTER)
    pending = [("", folder)]
    while pending:
        prefix, place = pending.pop()
        for entry in place.iterdir():
            name = prefix + entry.name.replace("dot-", ".", 1)
            if entry.is_dir():
                pending.append((name + "/", entry))
            elif not entry.name.endswith((".pyc", ".pyo")):
                found[name] = entry.read_text(encoding="utf-8")
    return found
