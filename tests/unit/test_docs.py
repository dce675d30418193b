"""The pages for readers: every fleet in them is right, every command exists, every link leads somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lab.__main__ import main as lab_command
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.planner.host_decisions import declared_devices, host_decisions
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.schema import json_schema

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "src/ollama_fleet/starter/README.md"])
FLEETS = sorted([ROOT / "fleet.yaml", *ROOT.glob("examples/*.yaml")])
SYSTEM = {".", "cd", "cp", "git", "pip", "python3", "sudo"}
"""First words that no file of ours provides."""


@dataclass(frozen=True)
class Block:
    """A block of code in a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])


BLOCKS = [block for page in PAGES for block in blocks(page)]


def in_language(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


# -- fleets ------------------------------------------------------------------------------------------


def hold_up(fleet: Fleet, text: str) -> None:
    """An editor accepts the fleet, and each of its models works out on the devices that are declared."""
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(text))
    for host in fleet.hosts:
        for request in host.models:
            for kinds in [host.gpus] if host.gpus != "auto" else [(), *((kind,) for kind in request.kinds)]:
                assert request.for_devices(kinds).num_ctx > 0


@pytest.mark.parametrize("block", in_language("yaml"), ids=str)
def test_fleets_in_pages(block: Block) -> None:
    hold_up(Fleet.parse(block.text, catalogue().keys(), folder=ROOT), block.text)


@pytest.mark.parametrize("path", FLEETS, ids=lambda path: path.name)
def test_fleets_to_copy(path: Path) -> None:
    hold_up(Fleet.load(path, catalogue().keys()), path.read_text(encoding="utf-8"))


def test_the_rack_of_the_readme_is_planned_and_fits() -> None:
    rack = next(
        block for block in in_language("yaml") if block.page.name == "README.md" and "rack:" in block.text
    )
    fleet = Fleet.parse(rack.text, catalogue().keys(), folder=ROOT)

    decided = {}
    for host in fleet.hosts:
        devices = declared_devices(host)
        assert devices
        decided[host.name] = [found.decision for found in host_decisions(host, devices, Lock())]

    assert {name: len(found) for name, found in decided.items()} == {"gpu-01": 1, "gpu-02": 1}
    assert all(decision.estimate and decision.fits for found in decided.values() for decision in found)


def test_named_templates_exist() -> None:
    named = {
        name
        for text in [*(block.text for block in in_language("yaml")), *(path.read_text() for path in FLEETS)]
        for name in re.findall(r"modelfile: ([\w.-]+)", text)
    }

    assert named
    for name in named:
        assert (ROOT / f"modelfiles/{name}.Modelfile.j2").is_file()


# -- commands ----------------------------------------------------------------------------------------


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
    verbs = re.findall(r"^  (\w+)  ", help_of("ollama-fleet"), re.MULTILINE)
    assert words[0] in verbs, f"ollama-fleet has no {words[0]}"
    options = re.findall(r"--?[\w-]+", help_of("ollama-fleet", words[0]).partition("Options:")[2])
    assert {word for word in words[1:] if word.startswith("-")} <= set(options)


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
        "make coffee",
        "pyinfra --dryish inventory/hosts.py",
        "pytest tests/nowhere",
        "frobnicate",
    ):
        with pytest.raises(AssertionError):
            check_command(shlex.split(wrong))


# -- operations --------------------------------------------------------------------------------------


def test_the_example_of_operations_is_the_file_that_runs() -> None:
    shown = [block for block in in_language("python") if "ollama_fleet.operations" in block.text]

    assert len(shown) == 2
    assert {block.text for block in shown} == {(ROOT / "docs/own_deploy.py").read_text(encoding="utf-8")}


def test_the_example_of_operations_runs_dry(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("pyinfra")
    done = subprocess.run(
        [program, "--dry", "@local", ROOT / "docs/own_deploy.py"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Model for embeddings" in done.stderr + done.stdout


def test_contributing_names_every_folder() -> None:
    named = re.findall(
        r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    there = {path.parent.name for path in (ROOT / "src/ollama_fleet").glob("*/__init__.py")}

    assert there <= set(named)


# -- pages made by scripts, and what they say --------------------------------------------------------


def test_the_reference_is_in_step() -> None:
    found = script("generate_reference").reference()

    assert (ROOT / "docs/reference.md").read_text(encoding="utf-8") == found, "run docs/generate_reference.py"


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_small_and_loads_nothing() -> None:
    picture = (ROOT / "docs/terminal.svg").read_text(encoding="utf-8")

    assert len(picture.encode()) < 100_000
    assert set(re.findall(r"https?://[^\"' ]+", picture)) == {"http://www.w3.org/2000/svg"}


def test_messages_in_troubleshooting_are_still_said() -> None:
    """Each piece between the dots stands in the code, where strings may be split over lines."""
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "src/ollama_fleet").rglob("*.py"))]
    code = re.sub(r"[\"']\s*\n\s*f?[\"']", "", "\n".join(sources))
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    told = [
        message
        for line in re.findall(r"^\*\*.+", page, re.MULTILINE)
        for message in re.findall("`([^`]+)`", line)
    ]

    assert len(told) > 20
    gone = [
        piece
        for message in told
        for piece in message.split("…")
        if len(piece.strip(" .;,:?")) > 3 and piece.strip(" .;,:?") not in code
    ]
    assert gone == ["fleet.lock: no such file or directory"]  # put together from two places


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        if anchor:
            assert anchor in anchors(other), target


def test_both_readmes_show_the_same() -> None:
    """Same code but for its comments, and the same chapters; the Chinese one has one of its own."""
    english, chinese = (
        [block for block in BLOCKS if block.page.name == name] for name in ("README.md", "README.zh-CN.md")
    )
    bare: Callable[[Block], str] = lambda block: re.sub(r" +# .*", "", block.text)  # noqa: E731
    levels = [
        re.findall(r"^(#+) ", (ROOT / name).read_text(), re.MULTILINE)
        for name in ("README.md", "README.zh-CN.md")
    ]

    assert list(map(bare, english)) == list(map(bare, chinese))
    assert len(levels[1]) == len(levels[0]) + 1


def test_the_changelog_knows_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert re.search(rf"^## .*{re.escape(version)}", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_way_a_host_converges_is_told_in_order() -> None:
    source = (ROOT / "src/ollama_fleet/deploys/converge.py").read_text(encoding="utf-8")
    page = (ROOT / "docs/how-it-works.md").read_text(encoding="utf-8")

    done = re.findall(r"name=\"([A-Z][\w ]+)\"", source)
    told = re.findall(r"^\| \d+ \| ([\w ]+) \|", page, re.MULTILINE)

    assert told == done
