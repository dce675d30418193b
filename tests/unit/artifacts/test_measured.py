"""What was measured is kept in a file that reads back the same, and refuses what it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.measured import Measurement, Measurements, Terms, scaled
from ollama_fleet.spec.errors import SpecErrors

DIGEST = "sha256:" + "a" * 64
ONE = Measurement(
    model="deepseek-r1:32b",
    num_gpu=44,
    num_ctx=8192,
    kv_cache_type="f16",
    planned=Terms(weights=1000, kv=100, compute=10),
    observed=Terms(weights=1100, kv=100, compute=12),
    beside=300,
)
TEXT = f"""\
# Written by `ollama-fleet tune`: what models took on GPUs (bytes) beside what was planned. Commit it; plans use it.
version: 1
measured:
  {DIGEST}:
    0.32.15:
      rtx-4090:
        beside: 300
        kv_cache_type: f16
        model: deepseek-r1:32b
        num_ctx: 8192
        num_gpu: 44
        observed:
          compute: 12
          kv: 100
          weights: 1100
        planned:
          compute: 10
          kv: 100
          weights: 1000
"""


def test_the_text_is_as_it_should_be_and_reads_back(tmp_path: Path) -> None:
    kept = Measurements().with_one(DIGEST, "0.32.15", "rtx-4090", ONE)
    assert kept.dumps() == TEXT
    path = tmp_path / "fleet.measured.yaml"
    assert kept.save(path)
    assert not kept.save(path), "nothing changed"
    assert Measurements.load(path) == kept
    assert kept.find(DIGEST, "0.32.15", "rtx-4090") == ONE
    assert kept.find(DIGEST, "0.32.14", "rtx-4090") is None
    assert kept.find(None, "0.32.15", "rtx-4090") is None
    assert Measurements.load(tmp_path / "none.yaml") == Measurements()


def test_the_order_of_measuring_leaves_no_trace() -> None:
    other = "sha256:" + "b" * 64
    one = Measurements().with_one(DIGEST, "1.0.0", "a", ONE).with_one(other, "1.0.0", "b", ONE)
    two = Measurements().with_one(other, "1.0.0", "b", ONE).with_one(DIGEST, "1.0.0", "a", ONE)
    assert one.dumps() == two.dumps()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (("num_gpu: 44", "num_gpu: many"), "num_gpu"),
        (("num_ctx: 8192", "num_ctx: -1"), "num_ctx"),
        (("version: 1", "version: 2"), "version"),
        (("aaaa:", ":"), "measured"),
        (("kv: 100", "kb: 100"), "kb"),
    ],
)
def test_what_it_is_not_is_refused_with_its_line(change: tuple[str, str], place: str) -> None:
    with pytest.raises(SpecErrors) as caught:
        Measurements.loads(TEXT.replace(*change).encode())
    assert any(place in str(error) and "fleet.measured.yaml:" in str(error) for error in caught.value.errors)


def test_a_lock_carries_it_but_does_not_write_it() -> None:
    kept = Measurements().with_one(DIGEST, "0.32.15", "rtx-4090", ONE)
    lock = Lock().with_measured(kept)
    assert lock.measured == kept
    assert "measured" not in lock.dumps()
    assert lock.dumps() == Lock().dumps()


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_scaling_keeps_within_bounds(size: int, planned: int, observed: int) -> None:
    result = scaled(size, (planned, observed))
    assert size // 4 <= result <= 4 * size + 1
    if planned and planned / 4 <= observed <= 4 * planned:
        assert abs(result - size * observed / planned) <= 1
