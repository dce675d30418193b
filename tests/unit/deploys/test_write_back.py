"""Results go where the ladder lets them count."""

from __future__ import annotations

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
    one = Tuned("m", "deepseek-r1:32b", 65, (), num_gpu, num_ctx)
    after = with_results(FLEET, FILE, spec, kinds, [one])
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
    one = Tuned("m", "deepseek-r1:32b", 65, (), 30, 8192)
    assert with_results(FLEET, FILE, spec, ("rtx-4090",), [one]) == FLEET
    unfinished = Tuned("m", "deepseek-r1:32b", 65, (), 20, 8192, error="the time is up")
    assert with_results(FLEET, FILE, spec, ("rtx-4090",), [unfinished]) == FLEET


def test_a_list_of_models_cannot_take_it() -> None:
    with pytest.raises(CannotEdit, match="no map"):
        written("e", ("rtx-4090", "rtx-3090"))
