"""No header, however wrong, does more harm than a refusal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.artifacts.gguf_reader import Header
from unit.artifacts.gguf_files import header, pair, tensor, text
from unit.artifacts.hostile_headers import check

TESTS = Path(__file__).parents[2]


def hostile(seed: int, count: int) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "unit.artifacts.hostile_headers", str(seed), str(count)],
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_ten_thousand_mutated_headers() -> None:
    told = hostile(seed=20, count=10_000)
    assert told.startswith("10000 mutated headers: ")
    taken = int(told.split()[3])
    assert 500 < taken < 9_500  # the mutations get past the door, and not all of them in


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
def test_two_million_mutated_headers(seed: int) -> None:
    hostile(seed, 100_000)


@given(st.binary(max_size=400), st.integers(0, 1 << 64))
def test_any_bytes(data: bytes, size: int) -> None:
    check(data, size)
    check(b"GGUF\3\0\0\0" + data, size)


KEYS = st.sampled_from(
    [
        "llama.block_count",
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.attention.key_length",
        "llama.attention.kv_lora_rank",
        "llama.expert_count",
        "llama.expert_used_count",
        "llama.nextn_predict_layers",
        "llama.attention.shared_kv_layers",
        "llama.attention.sliding_window",
        "general.file_type",
        "split.count",
        "tokenizer.ggml.tokens",
    ]
)
VALUES = st.one_of(
    st.integers(0, (1 << 64) - 1).map(lambda value: (10, value.to_bytes(8, "little"))),
    st.binary(min_size=8, max_size=8).map(lambda raw: (12, raw)),  # any float, also none
    st.lists(st.integers(0, (1 << 64) - 1), max_size=6).map(
        lambda items: (9, b"\12\0\0\0" + len(items).to_bytes(8, "little") + b"".join(
            item.to_bytes(8, "little") for item in items))
    ),
    st.text(max_size=9).map(lambda value: (8, text(value))),
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "token_embd.weight",
        "output.weight",
        "blk.0.attn_k.weight",
        "blk.1.attn_qkv.weight",
        "blk.0.ffn_up_exps.weight",
        "blk.1023.attn_v.weight",
        "blk.1024.x",
        "blk.0.attn_kv_a_mqa.weight",
        "v.x",
        "blk.2.ssm_a",
        "rope_freqs.weight",
    ]
)
SHAPES = st.lists(
    st.integers(0, (1 << 64) - 1) | st.integers(0, 3).map(lambda n: 256 * n), min_size=1, max_size=4
)


@given(
    st.sampled_from(["llama", "gemma3", "gemma4", "x"]),
    st.dictionaries(KEYS, VALUES, max_size=6),
    st.dictionaries(
        NAMES, st.tuples(SHAPES, st.sampled_from([0, 1, 12, 14, 30]), st.integers(0, 1 << 40)), max_size=5
    ),
)
def test_any_numbers_in_a_well_formed_header(
    architecture: str,
    values: dict[str, tuple[int, bytes]],
    tensors: dict[str, tuple[list[int], int, int]],
) -> None:
    pairs = [pair("general.architecture", 8, text(architecture))]
    pairs += [
        pair(key.replace("llama.", f"{architecture}."), kind, raw) for key, (kind, raw) in values.items()
    ]
    infos = [tensor(name, tuple(shape), kind, offset) for name, (shape, kind, offset) in tensors.items()]
    check(header(pairs, infos), 1 << 50)


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.tuples(st.integers(), st.floats())))
def test_numbers_are_whole_and_not_negative(value: object) -> None:
    found = Header(3, 0, {"key": value})  # type: ignore[dict-item]
    number = found.number("key")
    assert number is None or (type(number) is int and 0 <= number < 1 << 63)
    numbers = found.numbers("key")
    assert numbers is None or all(type(item) is int and 0 <= item < 1 << 63 for item in numbers)
