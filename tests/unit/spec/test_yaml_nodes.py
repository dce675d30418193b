"""A text is the same nodes at the same places, and the same mistake, whether libyaml reads it or PyYAML alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_fleet.spec import yaml_nodes
from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.yaml_source import Document, parse_document
from unit.spec.test_wrong_files import FILES

ROOT = Path(__file__).parents[3]
FLEETS = [*sorted((ROOT / "examples").glob("*.yaml")), ROOT / "fleet.yaml"]

needs_libyaml = pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")


def both(text: str) -> tuple[object, object]:
    """What is read of a text: first as installed, then without libyaml."""
    found = []
    for parser in (yaml_nodes._FastParser, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(yaml_nodes, "_FastParser", parser)
            found.append(_read(text))
    return found[0], found[1]


def _read(text: str) -> object:
    try:
        document: Document = parse_document(text.encode("utf-8", "surrogatepass"))
    except SpecErrors as errors:
        return [str(error) for error in errors.errors]
    return document.data, document.values, document.keys, document.problems


@needs_libyaml
@pytest.mark.parametrize("path", FLEETS, ids=lambda path: path.name)
def test_fleets(path: Path) -> None:
    fast, slow = both(path.read_text())
    assert isinstance(fast, tuple)
    assert fast == slow


@needs_libyaml
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_files_with_mistakes(file: object) -> None:
    fast, slow = both(file.text)  # type: ignore[attr-defined]
    assert fast == slow


PIECES = st.sampled_from(
    [
        *(
            "a",
            "b: ",
            "- ",
            "\n",
            "\n  ",
            "\n    ",
            "{",
            "}",
            "[",
            "]",
            ", ",
            ": ",
            "&x ",
            "*x",
            "<<: ",
            "'",
            '"',
            "#",
        ),
        *(
            "| ",
            ">-",
            "!!str ",
            "? ",
            "---\n",
            "...\n",
            "\t",
            "é",
            "\U0001f600",
            "\u2028",
            "\ufeff",
            "%",
            "@",
            "yes",
        ),
        *("010", "\\n", "~", "\r\n", "a:\n"),
    ]
)


@needs_libyaml
@given(st.lists(PIECES, max_size=24).map("".join))
@example("a: {b: , c: }\n")
@example("a: &x {b: 1}\nc: {<<: *x, d: 2}\n")
@example("é: {ü: [1, \U0001f600, 3]}\n")
def test_any_text(text: str) -> None:
    fast, slow = both(text)
    assert fast == slow
