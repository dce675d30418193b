"""The `ollama-fleet` command: one module per verb."""

from __future__ import annotations

import importlib
import sys

import click

from ollama_fleet.spec.errors import SpecErrors

VERBS = (
    "bench",
    "clients",
    "doctor",
    "drift",
    "fit",
    "history",
    "init",
    "lock",
    "plan",
    "recommend",
    "report",
    "retire",
    "rollback",
    "schema",
    "validate",
    "tune",
    "verify",
)


class _Verbs(click.Group):
    """Imports a verb's module only when it is asked for, so that `--help` and a typo answer at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"ollama_fleet.cli.{cmd_name}")
        command: click.Command = module.command
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ollama-fleet", message="%(version)s")
def cli() -> None:
    """Describe machines, models and GPUs in fleet.yaml; pyinfra makes every Ollama host so.

    To apply: pyinfra inventory/hosts.py deploy.py
    """


def main() -> None:
    """Run the command. Exit code 1 for every mistake, told in a line each; never a traceback for one."""
    try:
        # Without standalone mode click hands back what `Exit` carries instead of ending the process with it.
        code = cli.main(standalone_mode=False)
    except SpecErrors as error:
        for line in error.errors:
            click.echo(str(line), err=True)
        sys.exit(1)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
