"""Sums over layers, so that a range of layers costs a subtraction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate

from ollama_fleet.artifacts.model_facts import LayerRun, ModelFacts


@dataclass(frozen=True, slots=True)
class LayerTable:
    """Cumulated over the layers: entry i is the sum of layers 0 … i − 1.

    Bytes for weights; cache widths in elements a token, apart for full, windowed and latent attention;
    `latent_layers` and `recurrent` count layers. `kinds` are the different shapes of layers, `kind` has the number
    of each layer's, and `largest` the bytes of its largest tensor.
    """

    dense: tuple[int, ...]
    experts: tuple[int, ...]
    full_key: tuple[int, ...]
    full_value: tuple[int, ...]
    window_key: tuple[int, ...]
    window_value: tuple[int, ...]
    latent_layers: tuple[int, ...]
    recurrent: tuple[int, ...]
    kinds: tuple[LayerRun, ...]
    kind: tuple[int, ...]
    largest: tuple[int, ...]

    def kinds_in(self, first: int, last: int) -> list[LayerRun]:
        """The different shapes among layers `first` … `last − 1`."""
        return [self.kinds[number] for number in set(self.kind[first:last])]


_MOST_KEPT = 512
_kept: dict[int, tuple[ModelFacts, LayerTable]] = {}


def layer_table(facts: ModelFacts) -> LayerTable:
    """The table of a model; its drafting layers (`nextn_layers`) weigh nothing here, see `draft`."""
    # Kept by identity: facts are immutable, and hashing eighty layers takes longer than all else of an estimate.
    found = _kept.get(id(facts))
    if found is not None and found[0] is facts:
        return found[1]
    if len(_kept) >= _MOST_KEPT:
        _kept.clear()
    table = _made(facts)
    _kept[id(facts)] = facts, table
    return table


def _made(facts: ModelFacts) -> LayerTable:
    runs = tuple(facts.each_layer())
    drafting = len(runs) - facts.nextn_layers
    trunk = [run if place < drafting else None for place, run in enumerate(runs)]

    shapes = {
        run: replace(run, count=1, dense_bytes=0, expert_bytes=int(run.expert_bytes > 0), largest_bytes=0)
        for run in set(runs)
    }
    kinds = list(dict.fromkeys(shapes[run] for run in runs))

    def sums(values: Iterable[int]) -> tuple[int, ...]:
        return tuple(accumulate(values, initial=0))

    return LayerTable(
        dense=sums(run.dense_bytes if run else 0 for run in trunk),
        experts=sums(run.expert_bytes if run else 0 for run in trunk),
        full_key=sums(run.key_width if run and run.attention == "full" else 0 for run in trunk),
        full_value=sums(run.value_width if run and run.attention == "full" else 0 for run in trunk),
        window_key=sums(run.key_width if run and run.attention == "window" else 0 for run in trunk),
        window_value=sums(run.value_width if run and run.attention == "window" else 0 for run in trunk),
        latent_layers=sums(1 if run and run.attention == "latent" else 0 for run in trunk),
        recurrent=sums(1 if run and run.recurrent else 0 for run in trunk),
        kinds=tuple(kinds),
        kind=tuple(kinds.index(shapes[run]) for run in runs),
        largest=tuple(run.largest_bytes for run in runs),
    )
