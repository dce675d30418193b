"""Keys of the grammar whose behaviour is still to come. Removing a line here enables the key.

Until then they are refused, in the file and in its JSON Schema: nothing that is asked for is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ollama_fleet.spec.errors import KeyPath, SpecError, show
from ollama_fleet.spec.yaml_source import Data, Document

SETTINGS = ("defaults", "groups.*", "hosts.*")
"""Where the settings of a host stand."""


@dataclass(frozen=True, slots=True)
class Later:
    """A key that is refused, wholly or for some values; ``enum`` names those in the JSON Schema."""

    below: tuple[str, ...]
    key: str
    hint: str | None = None
    enum: tuple[str | bool, ...] | None = None
    lists: bool = False

    def refuses(self, value: Data) -> bool:
        """Whether this value of the key is still to come."""
        if self.lists and isinstance(value, list):
            return True
        if self.enum is None:
            return not self.lists
        return any(value is word if isinstance(word, bool) else value == word for word in self.enum)


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
                if later.key in section and later.refuses(section[later.key]):
                    found = (*path, later.key)
                    yield found, _refusal(document, found, later, section[later.key])


def _refusal(document: Document, path: KeyPath, later: Later, value: Data) -> SpecError:
    if later.enum is None and not later.lists:
        return document.error(path, "not supported yet", later.hint, key=True)
    if isinstance(value, list):
        return document.error(path, "a list is not supported yet", later.hint)
    return document.error(path, f"{show(value)} is not supported yet", later.hint)


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
