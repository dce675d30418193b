from __future__ import annotations

import struct
from collections.abc import Callable

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.artifacts.ggml_types import TYPES
from ollama_fleet.artifacts.gguf_reader import GgufError, Tensor, read_header
from unit.artifacts.gguf_files import ARCHITECTURE, BLOCKS, header, number, pair, tensor, text


def reader(data: bytes, size: int | None = None) -> Callable[[int, int], bytes]:
    size = len(data) if size is None else size

    def read(start: int, length: int) -> bytes:
        assert 0 <= start < start + length <= size  # servers answer anything else with an error
        return data[start : start + length]

    return read


def refusal(data: bytes, size: int | None = None) -> str:
    with pytest.raises(GgufError) as caught:
        read_header(reader(data, size), len(data) if size is None else size)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_type_that_the_format_s_own_package_knows_has_the_same_size() -> None:
    known = {number: (kind.name, kind.block, kind.size) for number, kind in TYPES.items()}
    for kind, (block, size) in gguf.GGML_QUANT_SIZES.items():
        if (
            kind.name == "Q8_1"
        ):  # only in memory, never in files; the package counts its scales as 32 bits each
            continue
        assert known[int(kind)] == (kind.name, block, size)


@pytest.mark.parametrize("version", [2, 3])
def test_versions_2_and_3_are_read(version: int) -> None:
    data = header(
        [ARCHITECTURE, BLOCKS], [tensor("token_embd.weight", (64, 10), 1)], version=version, data=1280
    )
    found = read_header(reader(data), len(data))
    assert found.version == version
    assert found.values == {"general.architecture": "llama", "llama.block_count": 1}
    assert [(each.name, each.shape, each.size) for each in found.tensors] == [
        ("token_embd.weight", (64, 10), 1280)
    ]
    assert found.missing == 0


def test_a_vocabulary_is_counted_and_not_kept() -> None:
    tokens = struct.pack("<IQ", 8, 3000) + text("token") * 3000
    scores = struct.pack("<IQ", 6, 3000) + bytes(4 * 3000)
    template = text("t" * 4000)
    data = header(
        [
            ARCHITECTURE,
            pair("tokenizer.ggml.tokens", 9, tokens),
            pair("tokenizer.ggml.scores", 9, scores),
            pair("tokenizer.chat_template", 8, template),
            BLOCKS,
        ]
    )
    found = read_header(reader(data), len(data))
    assert found.lengths == {"tokenizer.ggml.tokens": 3000, "tokenizer.ggml.scores": 3000}
    assert found.values == {"general.architecture": "llama", "llama.block_count": 1}


def test_short_arrays_are_kept_for_they_have_one_item_per_layer() -> None:
    heads = struct.pack("<IQ3i", 5, 3, 8, 0, 8)
    flags = struct.pack("<IQ3?", 7, 3, True, False, True)
    negative = struct.pack("<IQ2i", 5, 2, 8, -1)
    data = header([pair("heads", 9, heads), pair("flags", 9, flags), pair("negative", 9, negative)])
    found = read_header(reader(data), len(data))
    assert found.numbers("heads") == (8, 0, 8)
    assert found.numbers("flags") == (1, 0, 1)
    assert found.numbers("negative") is None


def test_many_short_arrays_are_not_all_kept() -> None:
    items = struct.pack("<IQ", 4, 1000) + bytes(4000)
    data = header([pair(f"a{index}", 9, items) for index in range(200)])
    found = read_header(reader(data), len(data))
    assert len(found.lengths) == 200
    assert len(found.values) == 65


def test_a_file_that_ends_before_its_tensors_tells_how_much_is_missing() -> None:
    data = header([ARCHITECTURE], [tensor("a.weight", (64, 10), 1)], data=1000)
    assert read_header(reader(data), len(data)).missing == 280


@given(st.data())
def test_a_header_cut_anywhere_is_refused(data: st.DataObject) -> None:
    whole = header([ARCHITECTURE, BLOCKS, pair("t", 9, struct.pack("<IQ", 8, 2) + text("a") * 2)], [
        tensor("token_embd.weight", (64, 10), 1)
    ]).rstrip(b"\0")  # fmt: skip
    cut = data.draw(st.integers(0, len(whole) - 24))
    refusal(whole[:cut])


@given(st.integers(1, 7))
def test_it_makes_no_difference_in_what_pieces_the_bytes_arrive(chunk: int) -> None:
    tokens = pair("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 40) + text("token") * 40)
    data = header([ARCHITECTURE, tokens, BLOCKS], [tensor("token_embd.weight", (64, 10), 1)], data=1280)
    whole = read_header(reader(data), len(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ollama_fleet.artifacts.gguf_stream._FIRST_CHUNK", chunk)
        patch.setattr("ollama_fleet.artifacts.gguf_stream._CHUNK", chunk)
        assert read_header(reader(data), len(data)) == whole


HUGE = 1 << 60
WRONG = {
    "empty": (b"", "cut off: the file begins does not fit into its 0 bytes"),
    "another format": (b"PK\3\4" + bytes(40), "this is no GGUF file: it begins with b'PK"),
    "a page": (b"<!DOCTYPE html>" + bytes(40), "the server sent a page"),
    "version 1": (header(version=1), "GGUF version 1 is not supported; 2 and 3 are"),
    "version 4": (header(version=4), "GGUF version 4 is not supported"),
    "too many tensors": (b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0), f"{HUGE} tensors do not make sense"),
    "too many pairs": (b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE), f"{HUGE} metadata entries do not make sense"),
    "long key": (header([struct.pack("<Q", HUGE)], data=64), "metadata key 0 has"),
    "long text": (header([pair("t", 8, struct.pack("<Q", HUGE))], data=64), 'cut off: the value of "t"'),
    "long array": (header([pair("a", 9, struct.pack("<IQ", 10, HUGE))], data=64), 'cut off: the value of "a"'),
    "many texts": (header([pair("a", 9, struct.pack("<IQ", 8, HUGE))], data=64), 'cut off: the value of "a"'),
    "endless text in an array": (
        header([pair("a", 9, struct.pack("<IQQ", 8, 2, HUGE))], data=64),
        'cut off: the value of "a"',
    ),
    "endless text at the end": (
        header([pair("a", 9, struct.pack("<IQQ", 8, 1, HUGE))], data=64),
        'cut off: the value of "a"',
    ),
    "array of arrays": (header([pair("a", 9, struct.pack("<IQ", 9, 1))], data=64), "array of unknown type 9"),
    "value of type 13": (header([pair("a", 13, bytes(8))], data=64), '"a" has a value of unknown type 13'),
    "key twice": (header([number("a", 1), number("a", 2)]), '"a" is there twice'),
    "tensor twice": (header([], [tensor("a", (1,), 0)] * 2), 'tensor 1, "a", is there twice'),
    "no dimensions": (header([], [tensor("a", (), 0)], data=64), "0 dimensions; 1 to 4 are possible"),
    "five dimensions": (header([], [tensor("a", (1,) * 5, 0)]), "5 dimensions; 1 to 4 are possible"),
    "unknown type": (header([], [tensor("x", (256,), 99)], data=64), 'tensor "x" has type 99, which this version'),
    "half a block": (header([], [tensor("x", (100,), 12)], data=64), "rows of 100 elements, which Q4_K cannot"),
    "absurd shape": (header([], [tensor("x", (1 << 62, 1 << 62), 0)]), 'tensor "x" has an impossible shape'),
    "absurd offset": (header([], [tensor("x", (32,), 0, (1 << 64) - 1)]), "lies beyond any file's end"),
    "control characters": (header([], [tensor("x\n\33[2J", (32,), 0)]), "has characters that no name has"),
    "alignment 0": (header([number("general.alignment", 0)]), "general.alignment is 0, which makes no sense"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_a_line(case: str) -> None:
    data, expected = WRONG[case]
    assert expected in refusal(data)


def test_a_short_answer_is_a_file_cut_off() -> None:
    assert "cut off" in refusal(header([ARCHITECTURE])[:40], size=1 << 30)


def test_an_endless_header_is_given_up() -> None:
    start = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair("a", 9, struct.pack("<IQ", 8, 1 << 40))
    fetched = 0

    def read(at: int, length: int) -> bytes:
        nonlocal fetched
        fetched += length
        return start[at : at + length].ljust(length, b"\0")

    with pytest.raises(GgufError, match="its header is longer than 64 MiB"):
        read_header(read, 1 << 50)
    assert fetched <= 64 << 20


def test_the_size_of_a_tensor_is_that_of_its_rows() -> None:
    assert Tensor.of("x", (512, 3, 2), TYPES[12]).size == 144 * 2 * 6
    assert Tensor.of("x", (0, 3), TYPES[0]).size == 0
