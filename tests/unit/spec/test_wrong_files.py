"""What a user reads who made a mistake: every file of wrong_files.txt against its exact messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.published import NothingPublished, PublishedSize
from ollama_fleet.spec.schema import json_schema
from ollama_fleet.spec.yaml_source import parse_document

GPUS = ("rtx-4090", "rtx-3090", "rtx-4060-ti-16gb")


class Catalogue(NothingPublished):
    """A family of two sizes."""

    families = ("r1",)

    def sizes(self, family: str) -> dict[str, PublishedSize]:
        if family != "r1":
            return {}
        large = {"Q4_K_M": "r1:32b", "Q8_0": "r1:32b-q8_0"}
        return {"7b": PublishedSize("r1:7b", {"Q4_K_M": "r1:7b"}), "32b": PublishedSize("r1:32b", large)}


@dataclass(frozen=True)
class WrongFile:
    name: str
    text: str
    messages: tuple[str, ...]
    in_schema: bool


def wrong_files() -> list[WrongFile]:
    table = (Path(__file__).parent / "wrong_files.txt").read_text(encoding="utf-8")
    files = []
    for block in table.split("\n=== ")[1:]:
        title, _, rest = block.partition("\n")
        lines = rest.rstrip("\n").split("\n")
        text = "".join(f"{line}\n" for line in lines if not line.startswith(">>> "))
        messages = tuple(line.removeprefix(">>> ") for line in lines if line.startswith(">>> "))
        files.append(WrongFile(title.removesuffix(" [schema]"), text, messages, title.endswith(" [schema]")))
    return files


FILES = wrong_files()


def test_the_table_is_whole() -> None:
    assert len(FILES) >= 120
    assert len({file.name for file in FILES}) == len(FILES)
    assert all(file.messages for file in FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_message(file: WrongFile) -> None:
    with pytest.raises(SpecErrors) as caught:
        Fleet.parse(file.text, GPUS, file="f", published=Catalogue())

    told = [str(error) for error in caught.value.errors]
    told = [line.removeprefix("f: ") if line.startswith("f: ") else line.removeprefix("f:") for line in told]
    assert told == list(file.messages)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_editor_tells_what_it_can(file: WrongFile) -> None:
    try:
        data = parse_document(file.text.encode()).data
    except SpecErrors:
        assert not file.in_schema
        return

    assert jsonschema.Draft202012Validator(json_schema()).is_valid(data) == (not file.in_schema)
