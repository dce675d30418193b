"""Results go where the ladder lets them count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ollama_fleet.checks.trial_steps import Tuned
from ollama_fleet.deploys.write_back import with_results
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.spec.edit import CannotEdit
from ollama_fleet.spec.fleet import Fleet

FLEET = """\
version: 1
release: {version: 0.32.15}
models:
  m: {from: deepseek-r1:32b, num_ctx: 8192, num_gpu: auto}   # the big one
hosts:
  a: {gpus: [rtx-4090], models: [m]}
  b:
    gpus: [rtx-4090, rtx-3090]
    models:
      m: {}
  c: {gpus: [rtx-4090], models: {m: {num_gpu: 30}}}
  d: {gpus: [], models: [m]}
  e: {gpus: [rtx-4090, rtx-3090], models: [m]}
"""
FILE = Path("fleet.yaml")


def written(host: str, kinds: tuple[str, ...], num_gpu: int = 44, num_ctx: int = 8192) -> list[str]:
    spec = Fleet.parse(FLEET, catalogue().keys()).host(host)
    one = Tuned("m", "deepseek-r1:32b", 65, (), num_gpu, num_ctx, kinds=kinds)
    after = with_results(FLEET, FILE, spec, [one])
    return [line for line in after.splitlines() if line not in FLEET.splitlines()]


def test_one_kind_of_gpu_gets_it_for_all_its_hosts() -> None:
    assert written("a", ("rtx-4090",)) == [
        "  m: {from: deepseek-r1:32b, num_ctx: 8192, num_gpu: auto, per_gpu: {rtx-4090: {num_gpu: 44}}}   # the big one"
    ]


def test_a_context_that_was_found_goes_with_it() -> None:
    (line,) = written("a", ("rtx-4090",), num_ctx=16384)
    assert "per_gpu: {rtx-4090: {num_gpu: 44, num_ctx: 16384}}" in line


def test_mixed_gpus_and_a_value_of_the_host_itself_stay_with_the_host() -> None:
    assert written("b", ("rtx-4090", "rtx-3090")) == ["      m: {num_gpu: 44}"]
    assert written("c", ("rtx-4090",)) == ["  c: {gpus: [rtx-4090], models: {m: {num_gpu: 44}}}"]


def test_the_cpu_is_a_kind_too() -> None:
    assert "per_gpu: {cpu: {num_gpu: 0}}" in written("d", (), num_gpu=0)[0]


def test_what_says_so_already_is_left() -> None:
    spec = Fleet.parse(FLEET, catalogue().keys()).host("c")
    one = Tuned("m", "deepseek-r1:32b", 65, (), 30, 8192, kinds=("rtx-4090",))
    assert with_results(FLEET, FILE, spec, [one]) == FLEET
    unfinished = replace(one, num_gpu=20, error="the time is up")
    assert with_results(FLEET, FILE, spec, [unfinished]) == FLEET


def test_a_list_of_models_cannot_take_it() -> None:
    with pytest.raises(CannotEdit, match="no map"):
        written("e", ("rtx-4090", "rtx-3090"))


def test_each_of_several_instances_has_it_where_its_own_cards_count() -> None:
    spec = Fleet.parse(FLEET, catalogue().keys()).host("e")
    large = Tuned("m", "deepseek-r1:32b", 65, (), 60, 8192, instance="one", kinds=("rtx-4090",))
    other = replace(large, num_gpu=58, num_ctx=9216, instance="two")
    small = replace(large, num_gpu=40, instance="three", kinds=("rtx-3090",))

    after = with_results(FLEET, FILE, spec, [large, other, small], {"m"})

    (line,) = set(after.splitlines()) - set(FLEET.splitlines())
    # Two cards of a kind share a value, which each of them can hold.
    assert "per_gpu: {rtx-4090: {num_gpu: 58}, rtx-3090: {num_gpu: 40}}" in line


def test_what_would_count_for_every_instance_is_refused() -> None:
    fleet = Fleet.parse(FLEET, catalogue().keys())
    one = Tuned("m", "deepseek-r1:32b", 65, (), 44, 8192, instance="one", kinds=("rtx-4090",))
    with pytest.raises(
        CannotEdit, match=r"hosts\.c\.models\.m\.num_gpu would count for every instance of c; take it"
    ):
        with_results(FLEET, FILE, fleet.host("c"), [one], {"m"})
    mixed = replace(one, kinds=("rtx-3090", "rtx-4090"))
    with pytest.raises(CannotEdit, match=r"every instance of b; write by hand"):
        with_results(FLEET, FILE, fleet.host("b"), [mixed], {"m"})
    assert "m: {num_gpu: 44}" in with_results(FLEET, FILE, fleet.host("b"), [mixed])
