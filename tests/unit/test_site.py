"""The documentation as a site: it holds together, has every page, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unit.documents import ROOT


def build(folder: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` does, for the mkdocs.yml of a folder."""
    return subprocess.run(
        [Path(sys.executable).with_name("mkdocs"), "build", "--strict", "--site-dir", target],
        cwd=folder,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    done = build(ROOT, target)
    assert done.returncode == 0, done.stderr
    return target


def test_every_page_is_there(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / page.with_suffix(".html").name).is_file()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"?((?:https?:)?//[^\" >]+)", page.read_text()
        )
        assert loaded == [], page.name


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("[gone](nowhere.md)", "'nowhere.md'"),
        ("[gone](reference.md#nothing)", "'#nothing'"),
        ("[gone](#nothing)", "'#nothing'"),
        ("[outside](../Makefile)", "'../Makefile'"),
        ("![gone](nothing.png)", "'nothing.png'"),
    ],
)
def test_a_broken_link_fails_the_build(tmp_path: Path, wrong: str, said: str) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.png", "*.svg"))
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text(
        settings[: settings.index("\nnav:")] + "\nnav: [index.md, reference.md]\n"
    )
    for page in (tmp_path / "docs").glob("*.md"):
        if page.name != "reference.md":
            page.unlink()
    (tmp_path / "docs/index.md").write_text(f"# One\n\n{wrong}\n")

    done = build(tmp_path, tmp_path / "site")

    assert done.returncode == 1, done.stderr
    assert said in done.stderr
