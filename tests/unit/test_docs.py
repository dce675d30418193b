"""The pages for readers: every fleet in them is right, every command exists, every link leads somewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.deploys.source import published
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.planner.host_decisions import declared_devices, host_decisions
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.schema import json_schema
from unit.documents import PAGES, ROOT, Block, blocks, in_language, whole

FLEETS = sorted([ROOT / "fleet.yaml", *ROOT.glob("examples/*.yaml")])


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
    text = whole(block.text)
    hold_up(Fleet.parse(text, catalogue().keys(), folder=ROOT, published=published), text)


@pytest.mark.parametrize("path", FLEETS, ids=lambda path: path.name)
def test_fleets_to_copy(path: Path) -> None:
    hold_up(Fleet.load(path, catalogue().keys(), published), path.read_text(encoding="utf-8"))


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


# -- operations --------------------------------------------------------------------------------------


def test_the_example_of_operations_is_the_file_that_runs() -> None:
    shown = [block for block in in_language("python") if "ollama_fleet.operations" in block.text]

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
    """As GitHub shows the pages. Links to elsewhere are not followed, but have to be links."""
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            assert re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/[\w./~%+-]*)?(#[\w.-]+)?", target), target
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        if anchor:
            assert anchor in anchors(other), target


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    pages = {page.name for page in ROOT.glob("docs/*.md")}

    assert set(re.findall(r"([\w.-]+\.md)$", menu, re.MULTILINE)) == pages, (
        "name the page below nav in mkdocs.yml"
    )


@pytest.mark.parametrize("english", ["README.md", "docs/tutorial.md"])
def test_both_languages_show_the_same(english: str) -> None:
    """Same code but for its comments, the same chapters, tables of the same length, the same pages to read on."""
    pages = [ROOT / english, ROOT / english.replace(".md", ".zh-CN.md")]
    bare: Callable[[Block], str] = lambda block: re.sub(r" +# .*", "", block.text)  # noqa: E731
    code, heads, rows, links = (
        [[bare(block) for block in blocks(page)] for page in pages],
        [re.findall(r"^(#+) ", page.read_text(encoding="utf-8"), re.MULTILINE) for page in pages],
        [len(re.findall(r"^\|", page.read_text(encoding="utf-8"), re.MULTILINE)) for page in pages],
        [
            {
                target.replace(".zh-CN.md", ".md").partition("#")[0]
                for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
            }
            for page in pages
        ],
    )

    for first, second in (code, heads, rows, links):
        assert first == second


def test_the_readme_is_read_in_ten_minutes() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 160, f"{name}: move it to docs/"


def test_the_changelog_knows_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert re.search(rf"^## .*{re.escape(version)}", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_way_a_host_converges_is_told_in_order() -> None:
    source = (ROOT / "src/ollama_fleet/deploys/converging.py").read_text(encoding="utf-8")
    page = (ROOT / "docs/how-it-works.md").read_text(encoding="utf-8")

    done = re.findall(r"name=\"([A-Z][\w ]+)\"", source)
    told = re.findall(r"^\| \d+ \| ([\w ]+) \|", page, re.MULTILINE)

    assert told == done
