"""`ollama-fleet init`: a repository to start from."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import click

from ollama_fleet.deploys.source import FLEET_FILE
from ollama_fleet.deploys.this_machine import memory_of_this_machine, read_this_machine
from ollama_fleet.outputs.proposal import fleet_text, propose
from ollama_fleet.spec.schema import json_schema

STARTER = "starter"


@click.command("init")
@click.argument("directory", required=False, default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--blank", is_flag=True, help="Do not look at this machine.")
def command(directory: Path, blank: bool) -> None:
    """Write a repository to start from into DIRECTORY (this one by default): fleet.yaml, deploy.py and more.

    It looks at this machine's GPUs and at the Ollama that may be here, and proposes a model that runs well on it;
    nothing is changed but DIRECTORY, and nothing that is there already is overwritten.

    Example: ollama-fleet init my-fleet
    """
    contents = _starter()
    clashes = sorted(name for name in contents if (directory / name).exists())
    if clashes:
        raise click.ClickException(
            f"{directory}: {', '.join(clashes)} is there already; choose an empty directory"
        )
    proposal = propose(None, None) if blank else propose(read_this_machine(), memory_of_this_machine())
    contents[FLEET_FILE] = fleet_text(contents[FLEET_FILE], proposal)
    try:
        for name, text in contents.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    for line in proposal.found:
        click.echo(line)
    click.echo(f"proposed: {proposal.base} with {proposal.num_ctx} tokens of context; {proposal.reasons[0]}")
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
            name = prefix + entry.name.replace("dot-", ".", 1).removesuffix(".j2")
            if entry.is_dir():
                pending.append((name + "/", entry))
            elif not entry.name.endswith((".pyc", ".pyo")):
                found[name] = entry.read_text(encoding="utf-8")
    return found
