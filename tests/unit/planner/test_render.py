"""Templates and the quoting that each place needs; a real systemd reads them in tests/converge."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.deploys.source import load_templates
from ollama_fleet.planner.render import (
    RenderError,
    Templates,
    combine,
    environment_value,
    modelfile_value,
    pairs,
    unit_path,
    unit_word,
)

LINE = st.text(st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc")), max_size=30)


def test_unit_word() -> None:
    assert unit_word('a "b" \\ 100%') == '"a \\"b\\" \\\\ 100%%"'
    assert unit_path("/srv/50% off") == "/srv/50%% off"


def test_environment_value() -> None:
    assert environment_value('a "b" $c `d` \\') == '"a \\"b\\" \\$c \\`d\\` \\\\"'


@settings(max_examples=50, deadline=None)
@given(LINE)
def test_environment_value_means_the_same_to_a_shell(value: str) -> None:
    # A shell reads the four escapes inside double quotes as systemd does.
    done = subprocess.run(
        ["sh", "-c", f"printf %s {environment_value(value)}"], capture_output=True, check=True
    )
    assert done.stdout.decode() == value


@pytest.mark.parametrize(("value", "written"), [(True, "true"), (False, "false"), (3, "3"), (0.5, "0.5")])
def test_modelfile_value(value: object, written: str) -> None:
    assert modelfile_value(value) == written


def test_lists_become_a_line_for_each_value() -> None:
    assert pairs({"stop": ["a", "b"], "top_k": 1}) == [("stop", "a"), ("stop", "b"), ("top_k", 1)]
    assert combine({"a": 1, "b": 1}, {"b": 2}) == {"a": 1, "b": 2}


def test_name_that_is_not_there_is_told_with_its_line() -> None:
    templates = Templates({"x.j2": "one\n{{ nothing }}\n"})
    with pytest.raises(RenderError, match=r"x\.j2: line 2: 'nothing' is undefined"):
        templates.render("x.j2", {})


def test_broken_template_is_told_with_its_line() -> None:
    with pytest.raises(RenderError, match=r"x\.j2:2: "):
        Templates({"x.j2": "one\n{% if %}\n"}).render("x.j2", {})


def test_template_that_fails_is_told() -> None:
    for body in ("{{ 1 / 0 }}", "{{ [][3] + 1 }}", "{{ 'a' + 1 }}", "{% include 'y.j2' %}"):
        with pytest.raises(RenderError) as error:
            Templates({"x.j2": body}).render("x.j2", {})
        assert "\n" not in str(error.value)


def test_own_template_comes_before_that_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "modelfiles").mkdir()
    (tmp_path / "modelfiles/default.Modelfile.j2").write_text("FROM {{ base }}\n# mine\n")
    (tmp_path / "modelfiles/notes.txt").write_text("no template")
    templates = load_templates(tmp_path)
    assert templates.render("default.Modelfile.j2", {"base": "x"}) == "FROM x\n# mine\n"
    assert "ollama.service.j2" in templates
    assert "notes.txt" not in templates
