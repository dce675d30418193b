"""`ollama-fleet fit`, as it is typed."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from unit.artifacts.gguf_files import (
    ARCHITECTURE,
    BLOCKS,
    TINY_LLAMA,
    header,
    number,
    pair,
    shape_metadata,
    shape_tensors,
    tensor,
    text,
    write_model,
)
from unit.cli.command import document, refused, run

GIB = 2**30
MODEL = ("deepseek-r1:32b", "--num-ctx", "8192", "--kv-cache-type", "q8_0", "--release", "0.32.15")


def of(folder: Path, *options: str, code: int = 0) -> dict[str, Any]:
    return document("fit", *MODEL, *options, cwd=folder, code=code)


def test_table(tmp_path: Path) -> None:
    done = run("fit", *MODEL, "--gpu", "rtx-4090", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    headline, head, device, host, *rest = done.stdout.splitlines()
    assert "32B: fits, 65 of 65 layers on GPUs, num_ctx 8192" in headline
    assert head.split() == ["MiB", "weights", "kv", "compute", "reserve", "total", "free"]
    assert device.startswith("rtx-4090 ")
    assert host.startswith("host ")
    assert rest[-1].endswith("tokens/s expected")


def test_json_has_the_documented_shape(tmp_path: Path) -> None:
    found = of(tmp_path, "--gpu", "rtx-4090", "--gpu", "rtx-4060-ti-16gb")

    assert list(found) == ["version", "model", "layers", "devices", "host", "fits", "confidence", "reasons"]
    assert found["version"] == 1
    assert found["layers"] == {"total": 65, "offloaded": 65}
    assert [device["name"] for device in found["devices"]] == ["rtx-4090", "rtx-4060-ti-16gb"]
    for device in found["devices"]:
        assert list(device) == ["name", "weights", "kv", "compute", "reserve", "total", "free"]
    assert list(found["host"]) == ["weights", "kv", "compute", "total"]
    assert found["fits"] is True
    assert found["reasons"] == [
        "num_batch is reckoned as 1024, to which the engine may raise it; 512 takes less"
    ]
    assert of(tmp_path, "--gpu", "rtx-4090", "--num-batch", "512")["reasons"] == []


@pytest.mark.parametrize(
    "options",
    [
        ["--gpu", "rtx-4090"],
        ["--gpu", "rtx-4090", "--gpu", "rtx-3090", "--num-gpu", "50"],
        ["--gpu", "rtx-3060-12gb", "--num-parallel", "2", "--flash-attention", "on"],
        ["--vram", "24GiB", "--num-batch", "2048"],
        [],
    ],
    ids=" ".join,
)
def test_terms_add_up(options: list[str], tmp_path: Path) -> None:
    found = of(tmp_path, *options)

    for device in found["devices"]:
        terms = [size for term, size in device.items() if term not in ("name", "total", "free")]
        assert device["total"] == sum(terms)
    host = found["host"]
    assert host["total"] == host["weights"] + host["kv"] + host["compute"]
    # The embedding stays with the host; of the rest every byte is somewhere, wherever the layers are.
    whole = of(tmp_path)
    everywhere = sum(device["weights"] for device in found["devices"]) + host["weights"]
    assert everywhere == whole["host"]["weights"]
    assert sum(device["kv"] for device in found["devices"]) + host["kv"] == whole["host"]["kv"] * (
        2 if "--num-parallel" in options else 1
    )


def test_what_does_not_fit_ends_with_1_and_says_what_is_missing(tmp_path: Path) -> None:
    tight = ("--gpu", "rtx-4060-ti-16gb", "--num-gpu", "65", "--num-batch", "512")
    found = of(tmp_path, *tight, code=1)
    done = run("fit", *MODEL, *tight, cwd=tmp_path)

    assert found["fits"] is False
    (reason,) = found["reasons"]
    assert "rtx-4060-ti-16gb" in reason
    assert "MiB" in reason
    assert done.returncode == 1
    assert "does not fit" in done.stdout
    assert reason in done.stdout


def test_options_are_reckoned_with(tmp_path: Path) -> None:
    def kv(*options: str) -> int:
        return int(
            document("fit", "deepseek-r1:32b", "--gpu", "a100-80gb", *options, cwd=tmp_path)["devices"][0][
                "kv"
            ]
        )

    assert kv("--num-ctx", "8192") == 2 * kv("--num-ctx", "4096")
    assert kv("--num-parallel", "2") == 2 * kv()
    assert kv("--kv-cache-type", "q8_0", "--flash-attention", "on") * 32 == kv() * 17
    assert of(tmp_path, "--gpu", "rtx-4090", "--num-gpu", "7")["layers"]["offloaded"] == 7


def test_a_card_by_its_memory(tmp_path: Path) -> None:
    (device,) = of(tmp_path, "--vram", "24GiB")["devices"]

    assert device["name"] == "GPU with 24 GiB"
    assert 21 * GIB < device["free"] < 24 * GIB


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["deepseek-r1:7b", "--gpu", "rtx-4091"], "'rtx-4091' is no known GPU; do you mean rtx-4090"),
        (["deepseek-r1:7b", "--gpu", "RTX 4090"], "do you mean rtx-4090"),
        (
            ["deepseek-r1:7b", "--vram", "24bananas"],
            '"24bananas" is no size; write bytes as a number, or 512MiB',
        ),
        (["deepseek-r1:7b", "--vram", "-1GiB"], "--vram -1GiB: "),
        (["deepseek-r1:7b", "--release", "newest"], "'newest' is no version of Ollama"),
        (["missing.gguf"], "missing.gguf: "),
        (["folder.gguf"], "folder.gguf: "),
        (["127.0.0.1:1/library/nobody:7b"], "127.0.0.1:1/v2/library/nobody/manifests/7b: cannot be reached"),
        (["a b"], "a b"),
        (["x/../../y"], "x/../../y"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()

    line = refused("fit", *arguments, cwd=tmp_path)

    assert line.startswith("Error: ")
    assert says in line


@pytest.mark.parametrize("option", ["--num-ctx", "--num-batch", "--num-parallel", "--num-gpu"])
def test_numbers_that_no_engine_takes(option: str, tmp_path: Path) -> None:
    done = run("fit", "deepseek-r1:7b", option, "-1", cwd=tmp_path)

    assert done.returncode == 1
    assert option in done.stderr


HOSTILE = {
    "nothing": b"",
    "another format": b"PK\x03\x04" * 100,
    "only a beginning": b"GGUF" + struct.pack("<IQQ", 3, 1, 1),
    "more tensors than memory": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1),
    "a text longer than the file": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62),
    "a version to come": header([ARCHITECTURE, BLOCKS], version=9),
    "an architecture with a line break": header([pair("general.architecture", 8, text("a\nb\x1b[2J"))]),
    "a layer beyond the last": header(
        [ARCHITECTURE, number("llama.block_count", 1 << 31)],
        [tensor("blk.0.attn_q.weight", (1 << 40, 1 << 40), 0)],
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(HOSTILE[name])

    line = refused("fit", "m.gguf", "--gpu", "rtx-4090", cwd=tmp_path)

    assert "m.gguf" in line
    assert line.isprintable()


@pytest.mark.parametrize("title", ["[/red]", "[bold]x", "\x1b[2Jx", "a\nb", "模型"])
def test_a_file_may_call_itself_what_it_likes(title: str, tmp_path: Path) -> None:
    metadata = {**shape_metadata(TINY_LLAMA), "general.name": title}
    write_model(tmp_path / "m.gguf", shape_tensors(TINY_LLAMA, "F16"), metadata, file_type=1)

    done = run("fit", "m.gguf", "--gpu", "rtx-4090", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    headline = done.stdout.splitlines()[0]
    assert headline.endswith(" 3 of 3 layers on GPUs, num_ctx 4096 (confidence medium)")
    if title.isprintable():
        assert headline.startswith(f"{title}: fits")
    assert headline.isprintable()


def test_host_memory_that_nobody_named_is_told_and_named_is_held_against(tmp_path: Path) -> None:
    unknown = document("fit", "deepseek-r1:671b", cwd=tmp_path)
    assert unknown["fits"]
    assert "387633 MiB of host memory are needed; whether they are there is not known" in unknown["reasons"]

    small = run("fit", "deepseek-r1:671b", "--ram", "64GiB", cwd=tmp_path)
    assert small.returncode == 1
    assert "the host lacks 324145 MiB" in small.stdout

    large = run("fit", "deepseek-r1:671b", "--ram", "768GiB", "--cpu", "AMD EPYC 9755", cwd=tmp_path)
    assert large.returncode == 0
    assert "tokens/s expected" in large.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--ram", "64 apples"), "--ram 64 apples: "),
        (("--cpu", "abacus"), "the memory of 'abacus' is not known"),
    ],
)
def test_host_that_makes_no_sense(options: tuple[str, str], says: str, tmp_path: Path) -> None:
    assert says in refused("fit", "deepseek-r1:7b", *options, cwd=tmp_path)


def test_a_release_that_nobody_named_is_told(tmp_path: Path) -> None:
    plain = run("fit", "deepseek-r1:7b", "--gpu", "rtx-4090", cwd=tmp_path).stdout
    named = run("fit", "deepseek-r1:7b", "--gpu", "rtx-4090", "--release", "0.24.0", cwd=tmp_path).stdout

    assert "No release was named" in plain
    assert "No release was named" not in named
