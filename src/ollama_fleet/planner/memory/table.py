"""Sums over layers, so that a range of layers costs a subtraction."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from ollama_fleet.artifacts.model_facts import LayerRun, ModelFacts


@dataclass(frozen=True, slots=True)
class LayerTable:
    """Cumulated over the layers: entry i is the sum of layers 0 … i − 1.

    Bytes for weights; cache widths in elements a token, apart for full, windowed and latent attention;
    `latent_layers` and `recurrent` count layers. `runs` has the run of each layer.
    """

    dense: tuple[int, ...]
    experts: tuple[int, ...]
    full_key: tuple[int, ...]
    full_value: tuple[int, ...]
    window_key: tuple[int, ...]
    window_value: tuple[int, ...]
    latent_layers: tuple[int, ...]
    recurrent: tuple[int, ...]
    runs: tuple[LayerRun, ...]


@functools.lru_cache(maxsize=256)
def layer_table(facts: ModelFacts) -> LayerTable:
    """The table of a model; its drafting layers (`nextn_layers`) weigh nothing here, see `draft`."""
    runs = tuple(facts.each_layer())
    drafting = len(runs) - facts.nextn_layers
    trunk = [run if place < drafting else None for place, run in enumerate(runs)]

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
        runs=runs,
    )
