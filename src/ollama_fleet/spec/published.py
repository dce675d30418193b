"""What a catalogue of model families tells the grammar, which knows none by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PublishedSize:
    """One size of a family: what pulls it where nothing is said of a quantisation, and what pulls each one."""

    usual: str
    quantizations: Mapping[str, str] = field(default_factory=dict)


class Published(Protocol):
    """A catalogue of families. Bases are names in a registry."""

    @property
    def families(self) -> tuple[str, ...]:
        """The families that there are."""
        ...

    def quantizations(self, base: str) -> Mapping[str, str]:
        """The bases of the same model by quantisation; nothing for a base that is not of a family."""
        ...

    def sizes(self, family: str) -> Mapping[str, PublishedSize]:
        """The sizes of a family, smallest first; nothing for what is no family."""
        ...


class NothingPublished:
    """The catalogue that knows no family."""

    families: tuple[str, ...] = ()

    def quantizations(self, base: str) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def sizes(self, family: str) -> Mapping[str, PublishedSize]:
        """Nothing."""
        return {}


NOTHING_PUBLISHED = NothingPublished()
