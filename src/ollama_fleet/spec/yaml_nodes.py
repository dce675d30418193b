"""YAML text as nodes with their places, by libyaml where PyYAML was built with it, else by PyYAML itself.

libyaml reads ten times as fast, but says less of a mistake, and by other words. So a text that it stumbles over is
read again by PyYAML, whose error is told: messages and positions are the same with and without libyaml.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.composer import Composer, ComposerError

MAX_DEPTH = 24
"""Deepest nesting; the grammar of a fleet needs nine."""
PLAIN = "\0plain"  # marks scalars without quotes and tag; no tag of YAML
TAG = "tag:yaml.org,2002:"

_FastParser: Any = getattr(getattr(yaml, "cyaml", None), "CParser", None)
_READ_OTHERWISE = re.compile("[\t\ufeff]|[|>][-+0-9]*#")
"""What libyaml takes and PyYAML does not, or for something else."""


class _Unsure(yaml.YAMLError):
    """libyaml may place a node elsewhere."""


def compose(text: str) -> yaml.Node | None:
    """The root node of a text; ``None`` where it is empty.

    Raises yaml.YAMLError, and RecursionError where it is nested too deeply.
    """
    if _FastParser is not None and not _READ_OTHERWISE.search(text):
        try:
            return _Events(text, _FastParser(text)).get_single_node()
        except (yaml.YAMLError, UnicodeError):
            pass
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


class _Marking(Composer):
    """Composes nodes; scalars without quotes and without a tag are marked, to be resolved by the builder."""

    _depth = 0

    def resolve(self, kind: type[yaml.Node], value: object, implicit: object) -> str:
        if kind is yaml.ScalarNode and isinstance(implicit, tuple) and implicit[0]:
            return PLAIN
        if kind is yaml.ScalarNode:
            return TAG + "str"
        return TAG + ("seq" if kind is yaml.SequenceNode else "map")

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            event = self.peek_event()  # type: ignore[attr-defined]
            raise ComposerError(None, None, "nested too deeply", event.start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Loader(_Marking, yaml.SafeLoader):
    """PyYAML's own reader."""


class _Events(_Marking):
    """Nodes of a parser's events. Composing stays here: libyaml's own recurses in C, which brackets can make crash."""

    def __init__(self, text: str, parser: Any) -> None:
        super().__init__()
        self._text = text
        self.check_event, self.peek_event, self.get_event = (
            parser.check_event,
            parser.peek_event,
            parser.get_event,
        )

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if node.tag == PLAIN and "?" in node.value:
            raise _Unsure  # in a flow collection PyYAML may take it for the mark of a key
        if not node.value and node.tag == PLAIN:
            place = node.start_mark.index
            # In flow collections and after `?` libyaml lets what is left out stand at the next token.
            if self._text[place - 1 : place] != ":" and self._text[place : place + 1] not in ("!", "&"):
                raise _Unsure
        return node

    def descend_resolver(self, current_node: object, current_index: object) -> None:
        """Nothing is resolved by its place."""

    def ascend_resolver(self) -> None:
        """Nothing is resolved by its place."""
