"""Every command in the pages, and in the files that `init` writes, exists with these options."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
import yaml

from lab.__main__ import main as lab_command
from ollama_fleet.cli import cli
from unit.documents import PAGES, ROOT, in_language

SYSTEM = {".", "cd", "cp", "curl", "git", "pip", "python3", "sudo"}
"""First words that no file of ours provides."""
PLACEHOLDERS = re.compile(r"[A-Z…]+|主机|模型|地址")
"""Words that stand for something of the reader's."""


def commands() -> Iterator[tuple[str, str]]:
    """Where a command stands, and the command: lines of shell blocks and of the starter's indented block."""
    for block in in_language("sh"):
        for line in block.text.splitlines():
            yield str(block), line
    starter = ROOT / "src/ollama_fleet/starter/README.md"
    for line in re.findall(r"^    (\S.*)$", starter.read_text(encoding="utf-8"), re.MULTILINE):
        yield starter.name, line
    workflow = yaml.safe_load((ROOT / "src/ollama_fleet/starter/dot-github/workflows/fleet.yaml").read_text())
    for step in workflow["jobs"]["validate"]["steps"]:
        if "run" in step:
            yield "workflow", step["run"]
    gitlab = yaml.safe_load((ROOT / "src/ollama_fleet/starter/dot-gitlab-ci.yml").read_text())
    yield from (("GitLab", line) for line in gitlab["validate"]["script"])
    for page in PAGES:
        for inline in re.findall(
            r"`((?:ollama-fleet|pyinfra|make) [^`]+)`", page.read_text(encoding="utf-8")
        ):
            yield str(page.relative_to(ROOT)), inline


def check_command(words: list[str]) -> None:
    while words and (re.fullmatch(r"[A-Z_]+=\S*", words[0]) or words[0] == "sudo"):
        words = words[1:]
    first, rest = (
        words[0].rpartition("/")[2] if words[0].startswith((".venv/", "../.venv/")) else words[0],
        words[1:],
    )
    match first:
        case "ollama-fleet":
            check_verb(rest)
        case "pyinfra":
            check_pyinfra(rest)
        case "make":
            assert re.search(rf"^{re.escape(rest[0])}:", (ROOT / "Makefile").read_text(), re.MULTILINE), rest[
                0
            ]
        case "pytest":
            assert all((ROOT / word).exists() for word in rest if "/" in word)
        case "python" if rest[:2] == ["-m", "lab"]:
            check_lab(rest[2:])
        case "python":
            assert (ROOT / rest[0]).is_file()
        case _:
            assert first in SYSTEM, f"nothing is known of {first}"


def check_verb(words: list[str]) -> None:
    """Taken by click's own parser: the options there are, with values of their kind, and no word too many."""
    context = click.Context(cli)
    verb = cli.get_command(context, words[0])
    assert verb is not None, f"ollama-fleet has no {words[0]}"
    own = click.Context(verb, parent=context, info_name=words[0])
    rest = words[1 : words.index(">")] if ">" in words else words[1:]
    try:
        values, left, _ = verb.make_parser(own).parse_args(rest)
        assert left == [], f"too many words: {left}"
        for parameter in verb.get_params(own):
            value = values.get(parameter.name or "")
            given = isinstance(value, str | tuple | list) and not _stands_for_something(value)
            if given and not isinstance(parameter.type, click.Path | click.File):
                parameter.type_cast_value(own, value)
    except click.UsageError as error:
        raise AssertionError(error.format_message()) from error


def _stands_for_something(value: object) -> bool:
    return isinstance(value, str) and PLACEHOLDERS.fullmatch(value) is not None


def check_pyinfra(words: list[str]) -> None:
    options = re.findall(r"--?[\w-]+", help_of("pyinfra").partition("Options:")[2])
    for word in words:
        if word.startswith("-"):
            assert word in options, word
        elif word != "own_deploy.py":  # stands in docs/, to be taken elsewhere
            assert (ROOT / word).is_file(), word


@cache
def help_of(program: str, *words: str) -> str:
    """What `--help` says, by a process of its own: pyinfra's command line patches the one that imports it."""
    command = [str(Path(sys.executable).with_name(program)), *words, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def check_lab(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        lab_command([*words, "--help"])
    assert ended.value.code == 0


@pytest.mark.parametrize(("place", "command"), list(commands()), ids=lambda value: value)
def test_commands_exist(place: str, command: str) -> None:
    for part in re.split(r"&&|\|", command.partition("  #")[0]):
        check_command(shlex.split(part))


def test_an_unknown_command_is_noticed() -> None:
    for wrong in (
        "ollama-fleet fly",
        "ollama-fleet drift --jsn",
        "ollama-fleet verify --depth deep gpu-01",
        "ollama-fleet clients netscape",
        "ollama-fleet rollback gpu-01 gpu-02",
        "make coffee",
        "pyinfra --dryish inventory/hosts.py",
        "pytest tests/nowhere",
        "frobnicate",
    ):
        with pytest.raises(AssertionError):
            check_command(shlex.split(wrong))
