"""The documentation as a site: it holds together, has every page, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
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


def test_broken_links_fail_the_build(tmp_path: Path) -> None:
    wrong = {
        "[gone](nowhere.md)": "'nowhere.md'",
        "[gone](other.md#nothing)": "'#nothing'",
        "[gone](#no-such-chapter)": "'#no-such-chapter'",
        "[outside](../Makefile)": "'../Makefile'",
        "![gone](nothing.png)": "'nothing.png'",
    }
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[0]
    (tmp_path / "mkdocs.yml").write_text(f"{settings}\nnav: [index.md]\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/other.md").write_text("# Other\n")
    (tmp_path / "docs/index.md").write_text("# One\n\n" + "\n\n".join(wrong))

    done = build(tmp_path, tmp_path / "site")

    assert done.returncode == 1, done.stderr
    for said in (*wrong.values(), 'not included in the "nav"'):
        assert said in done.stderr
