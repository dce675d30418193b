"""The forms that a model can have: what a size and a quantisation lead to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ollama_fleet.spec.errors import Wrong, did_you_mean, show
from ollama_fleet.spec.names import AUTO, is_file_base, pick_base
from ollama_fleet.spec.published import NOTHING_PUBLISHED, Published, PublishedSize


@dataclass(frozen=True, slots=True)
class Candidate:
    """One form of a model: ``quantization`` as asked for (``None``: that of ``from``), and what it is made from.

    ``size`` is its size in a family, ``None`` where no size was said.
    """

    quantization: str | None
    base: str
    size: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether ``base`` is a GGUF file of the machine that deploys; else a name in a registry."""
        return is_file_base(self.base)


@dataclass(frozen=True, slots=True)
class Forms:
    """All forms of a model: those of the base in ``from``, by quantisation, and those of the family's sizes.

    ``variants`` are the model's own, then what the catalogue knows of its base.
    """

    from_: str
    variants: Mapping[str, str] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    """Quantisations that the model itself has variants for."""
    published: Published = NOTHING_PUBLISHED

    @classmethod
    def of(cls, from_: str, own: Mapping[str, str], published: Published) -> Forms:
        """The forms of a base with the model's own variants, which win over the catalogue's."""
        said = {name.casefold() for name in own}
        known = published.quantizations(from_)
        others = {name: base for name, base in known.items() if name.casefold() not in said}
        return cls(from_, {**others, **own}, frozenset(own), published)

    def bases(self, *, sized: bool) -> Iterator[str]:
        """Everything that the model may be made from; ``sized`` says that a size is chosen somewhere."""
        yield self.from_
        yield from self.variants.values()
        if sized:
            for size in self.published.sizes(self.from_).values():
                yield size.usual
                yield from size.quantizations.values()

    def sizes(self, size: str | None) -> dict[str | None, PublishedSize]:
        """The sizes to choose among: that of ``from`` for ``None``, one, or every one of the family for `auto`.

        Raises Wrong where there is no such size.
        """
        if size is None:
            return {None: PublishedSize(self.from_, self.variants)}
        known = self.published.sizes(self.from_)
        if not known:
            families = self.published.families
            stem = self.from_.rpartition("/")[2].partition(":")[0].casefold()
            hint = (
                f"write from: {stem}" if stem in families else f"families are {', '.join(families) or 'none'}"
            )
            raise Wrong(f"{show(self.from_)} is no family that sizes are known of", hint)
        if self.own:
            raise Wrong(
                "variants are of one size", "write the size in from, such as qwen3:8b, or leave variants out"
            )
        if size == AUTO:
            return dict(known.items())
        if size not in known:
            hint = did_you_mean(size, known) or f"sizes are {', '.join(known)}"
            raise Wrong(f"{show(self.from_)} has no size {show(size)}", hint)
        return {size: known[size]}

    def candidates(
        self, sizes: Mapping[str | None, PublishedSize], quantization: str | tuple[str, ...] | None
    ) -> tuple[Candidate, ...]:
        """The forms that a quantization, a list of them or `auto` allows of some ``sizes``.

        Raises Wrong where a quantization is found in none of them.
        """
        if quantization is None:
            return tuple(Candidate(None, one.usual, size) for size, one in sizes.items())
        if quantization == AUTO:
            every = [
                Candidate(name, base, size)
                for size, one in sizes.items()
                for name, base in one.quantizations.items()
            ]
            return tuple(every) or self.candidates(sizes, None)
        wanted = (quantization,) if isinstance(quantization, str) else quantization
        if list(sizes) == [None]:
            return tuple(Candidate(name, pick_base(self.from_, name, self.variants)) for name in wanted)
        found = [
            Candidate(name, one.quantizations[known], size)
            for size, one in sizes.items()
            for name in wanted
            for known in one.quantizations
            if known.casefold() == name.casefold()
        ]
        for name in wanted:
            if all(candidate.quantization != name for candidate in found):
                said = list(dict.fromkeys(known for one in sizes.values() for known in one.quantizations))
                if len(sizes) == 1:
                    what = f"{show(next(iter(sizes.values())).usual)} is not published as {show(name)}"
                else:
                    what = f"no size of {show(self.from_)} is published as {show(name)}"
                raise Wrong(what, did_you_mean(name, said) or f"there are {', '.join(said)}")
        return tuple(found)
