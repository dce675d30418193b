"""Keys of the grammar whose behaviour is still to come. Removing a line here enables the key.

Until then they are refused, in the file and in its JSON Schema: nothing that is asked for is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ollama_fleet.spec.errors import KeyPath, SpecError
from ollama_fleet.spec.yaml_source import Data, Document

SETTINGS = ("defaults", "groups.*", "hosts.*")
"""Where the settings of a host stand."""


@dataclass(frozen=True, slots=True)
class Later:
    """A key that is refused."""

    below: tuple[str, ...]
    key: str
    hint: str | None = None


NOT_YET = (
    Later(tuple(f"{place}.ssh" for place in SETTINGS), "jump", hint="write ProxyJump in ~/.ssh/config"),
    Later(("registries.*",), "ca"),
    Later(("registries.*",), "proxy"),
)


def refusals(document: Document) -> Iterator[tuple[KeyPath, SpecError]]:
    """What a file asks for that is not supported yet, with the path of each."""
    for later in NOT_YET:
        for place in later.below:
            for path, section in _sections(document.data, place.split(".") if place else []):
                if later.key in section:
                    found = (*path, later.key)
                    yield found, document.error(found, "not supported yet", later.hint, key=True)


def _sections(data: Data, steps: list[str], path: KeyPath = ()) -> Iterator[tuple[KeyPath, dict[str, Data]]]:
    if not isinstance(data, dict):
        return
    if not steps:
        yield path, data
        return
    step, *rest = steps
    for key in data if step == "*" else [step]:
        if key in data:
            yield from _sections(data[key], rest, (*path, key))
