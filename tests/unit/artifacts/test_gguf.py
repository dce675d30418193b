"""Facts from where models lie: files, URLs, registries."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path

import pytest

from ollama_fleet.artifacts.families import family
from ollama_fleet.artifacts.gguf import (
    GgufError,
    facts_of_blobs,
    facts_of_file,
    facts_of_model,
    facts_of_url,
    read_facts,
)
from ollama_fleet.artifacts.gguf_stream import ReadRange
from ollama_fleet.artifacts.http_source import FetchError, HttpOptions
from ollama_fleet.artifacts.locking import LockingError, resolve_file, resolve_model
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.artifacts.names import ModelName
from unit.artifacts.gguf_files import (
    ARCHITECTURE,
    BLOCKS,
    TINY_LLAMA,
    header,
    number,
    shape_metadata,
    shape_tensors,
    tensor,
    write_model,
)
from unit.artifacts.local_server import LocalServer, Reply, Request
from unit.artifacts.range_server import RangeServer

QUICK = HttpOptions(insecure=True, retries=0, pause=0.0)
WORDS = [f"token {number}" for number in range(320)]


def model(path: Path, *, split: int = 0, big_endian: bool = False) -> Path:
    return write_model(
        path,
        shape_tensors(TINY_LLAMA, "Q4_K_M"),
        shape_metadata(TINY_LLAMA),
        file_type=15,
        vocabulary=WORDS,
        split_tensors=split,
        big_endian=big_endian,
    )


def projector(path: Path) -> Path:
    tensors = [("v.patch_embd.weight", (64, 64), "F16"), ("mm.0.weight", (64, 256), "F16")]
    return write_model(path, tensors, {"clip.projector_type": "mlp"}, architecture="clip")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return model(tmp_path / "model.gguf")


def test_a_file(file: Path) -> None:
    facts = facts_of_file(file)
    assert (facts.architecture, facts.quantization, facts.block_count) == ("llama", "Q4_K_M", 2)
    assert facts.file_bytes == file.stat().st_size
    assert facts.vocabulary == 320
    # blk.0 gets Q4_K for V and the down projection, blk.1 Q6_K: two kinds of layer.
    assert [run.count for run in facts.layers] == [1, 1]
    assert facts.total_bytes == 46080 + 67200 + 1024 + 333824 + 376064


def test_byte_order_makes_no_difference(file: Path, tmp_path: Path) -> None:
    assert facts_of_file(model(tmp_path / "big.gguf", big_endian=True)) == facts_of_file(file)


@pytest.mark.parametrize("part", [1, 2, 3])
def test_any_part_stands_for_the_whole(file: Path, tmp_path: Path, part: int) -> None:
    model(tmp_path / "parts.gguf", split=8)
    names = sorted(path.name for path in tmp_path.glob("parts-*.gguf"))
    assert names == [f"parts-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    facts = facts_of_file(tmp_path / names[part - 1])
    whole = facts_of_file(file)
    assert facts.layers == whole.layers
    assert facts.total_bytes == whole.total_bytes
    assert facts.file_bytes == sum((tmp_path / name).stat().st_size for name in names)


def test_what_is_wrong_with_parts(tmp_path: Path) -> None:
    model(tmp_path / "a.gguf", split=8)
    first, second, third = sorted(tmp_path.glob("a-*.gguf"))
    with pytest.raises(GgufError, match=r"lone\.gguf: it is split into 3 parts, but 1 came"):
        facts_of_file(first.rename(tmp_path / "lone.gguf"))
    (tmp_path / "lone.gguf").rename(first)
    third.rename(tmp_path / "kept.gguf")
    with pytest.raises(GgufError, match=r"a-00001-of-00003\.gguf: part 3: no such file"):
        facts_of_file(first)
    second.rename(third)
    (tmp_path / "kept.gguf").rename(second)
    with pytest.raises(GgufError, match="part 2 says that it is another one"):
        facts_of_file(first)


def test_with_a_projector(file: Path, tmp_path: Path) -> None:
    vision = projector(tmp_path / "mmproj.gguf")
    found = facts_of_file(file, vision).projector
    assert found is not None
    assert (found.tensor_bytes, found.file_bytes, found.kind) == (
        2 * 64 * (64 + 256),
        vision.stat().st_size,
        "mlp",
    )
    with pytest.raises(GgufError, match=r"mmproj\.gguf: this is a projector"):
        facts_of_file(vision)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match=r"gone\.gguf: no such file or directory$"):
        facts_of_file(tmp_path / "gone.gguf")
    with pytest.raises(GgufError, match="this is no regular file"):
        facts_of_file(tmp_path)
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(GgufError, match="this is no regular file"):
        facts_of_file(tmp_path / "pipe.gguf")


def test_a_file_cut_off_is_refused_unless_only_its_header_is_wanted(file: Path) -> None:
    whole = facts_of_file(file)
    os.truncate(file, file.stat().st_size - 40_000)
    with pytest.raises(GgufError, match=r"it is cut off: \d+ of its bytes are missing; get it again"):
        facts_of_file(file)
    assert facts_of_file(file, headers_only=True).layers == whole.layers


@pytest.mark.parametrize("ranges", [True, False])
def test_a_url(file: Path, ranges: bool) -> None:
    with RangeServer({"/model.gguf": file}, ranges=ranges) as server:
        assert facts_of_url(f"{server.url}/model.gguf", QUICK) == facts_of_file(file)


def test_parts_at_a_url(file: Path, tmp_path: Path) -> None:
    model(tmp_path / "parts.gguf", split=8)
    files = {f"/{path.name}": path for path in tmp_path.glob("parts-*.gguf")}
    with RangeServer(files) as server:
        facts = facts_of_url(f"{server.url}/parts-00002-of-00003.gguf", QUICK)
    assert facts.layers == facts_of_file(file).layers


def test_a_url_that_is_no_model(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.write_text("<html>not found</html>")
    with RangeServer({"/page": page}) as server:
        with pytest.raises(GgufError, match=r"/page: this is no GGUF file: .* the server sent a page"):
            facts_of_url(f"{server.url}/page", QUICK)
        with pytest.raises(FetchError, match="the server answers 404"):
            facts_of_url(f"{server.url}/gone", QUICK)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        unused = free.getsockname()[1]
    with pytest.raises(FetchError, match="cannot be reached"):
        facts_of_url(f"http://127.0.0.1:{unused}/x", QUICK)


def test_a_server_without_ranges_is_told_where_the_header_is_long(tmp_path: Path) -> None:
    words = ["x" * 60_000] * 20
    long = write_model(
        tmp_path / "long.gguf", shape_tensors(TINY_LLAMA, "F16"), shape_metadata(TINY_LLAMA), vocabulary=words
    )
    with (
        RangeServer({"/long": long}, ranges=False) as server,
        pytest.raises(FetchError, match="does not give parts"),
    ):
        facts_of_url(f"{server.url}/long", QUICK)


def publish(server: LocalServer, repository: str, layers: dict[str, Path]) -> None:
    """Put a model into a registry: manifest, config and blobs that answer to Range."""

    def blob(data: bytes) -> tuple[str, int]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"

        def answer(request: Request) -> Reply:
            wanted = request.headers.get("Range")
            if wanted is None:
                return Reply(200, data)
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            part = data[int(start) : int(end) + 1]
            return Reply(
                206, part, {"Content-Range": f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}"}
            )

        server.routes[f"/v2/{repository}/blobs/{digest}"] = answer
        return digest, len(data)

    def layer(kind: str, data: bytes) -> dict[str, str | int]:
        digest, size = blob(data)
        return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest, "size": size}

    config = json.dumps({"model_format": "gguf"}).encode()
    digest, size = blob(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": digest,
            "size": size,
        },
        "layers": [layer(kind, path.read_bytes()) for kind, path in layers.items()],
    }
    server.routes[f"/v2/{repository}/manifests/latest"] = Reply(200, json.dumps(manifest).encode())


def test_a_model_in_a_registry_with_its_projector(file: Path, tmp_path: Path, server: LocalServer) -> None:
    vision = projector(tmp_path / "mmproj.gguf")
    publish(server, "org/Tiny-GGUF", {"model": file, "projector": vision})
    name = ModelName.parse(f"{server.host}/org/Tiny-GGUF")
    facts = facts_of_model(name, QUICK)
    assert facts == facts_of_file(file, vision)
    locked = resolve_model(name, QUICK, read_facts)
    assert locked.facts is not None
    assert ModelFacts.from_dict(locked.facts) == facts


def test_a_model_without_weights(tmp_path: Path, server: LocalServer) -> None:
    words = tmp_path / "system"
    words.write_text("Be brief.")
    publish(server, "org/cloudy", {"system": words})
    with pytest.raises(FetchError, match="it has no weights of its own"):
        facts_of_model(ModelName.parse(f"{server.host}/org/cloudy"), QUICK)


def test_weights_that_are_no_model_fail_the_lock_in_one_line(tmp_path: Path, server: LocalServer) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"GGUF" + bytes(60))
    publish(server, "org/junk", {"model": junk})
    name = ModelName.parse(f"{server.host}/org/junk")
    with pytest.raises(LockingError, match=r"model .*/org/junk:latest: GGUF version 0 is not supported"):
        resolve_model(name, QUICK, read_facts)
    with pytest.raises(LockingError, match=r"junk\.gguf: GGUF version 0 is not supported"):
        resolve_file(junk, read_facts)


def test_facts_of_a_file_in_the_lock(file: Path) -> None:
    locked = resolve_file(file, read_facts)
    assert locked.facts is not None
    assert ModelFacts.from_dict(locked.facts) == facts_of_file(file)


def test_the_header_of_a_40_gb_file_costs_at_most_10_mb(tmp_path: Path) -> None:
    """With a header of 8 MB, which is what Llama 3's vocabulary and merges take."""
    shape = family("deepseek-r1").sizes["70b"].models["Q4_K_M"].shape
    words = (f"word {number:08}" for number in range(shape.vocabulary))
    big = write_model(
        tmp_path / "70b.gguf",
        shape_tensors(shape, "Q4_K_M"),
        shape_metadata(shape),
        file_type=15,
        vocabulary=words,
    )
    assert big.stat().st_size > 40 * 10**9
    assert big.stat().st_blocks * 512 < 16 * 10**6  # nearly all of it is a hole
    with RangeServer({"/big": big}) as server:
        facts = facts_of_url(f"{server.url}/big", QUICK)
        assert 8 * 10**6 <= server.sent <= 10 * 10**6
    assert facts.total_bytes == 42_512_531_712


def test_parts_that_lack_tensors() -> None:
    def part(index: int, *tensors: bytes) -> tuple[ReadRange, int]:
        numbers = [number("split.no", index), number("split.count", 2), number("split.tensors.count", 3)]
        data = header([ARCHITECTURE, BLOCKS, *numbers], tensors, data=64)
        return lambda start, length: data[start : start + length], len(data)

    first = part(0, tensor("blk.0.a.weight", (8,), 0))
    with pytest.raises(GgufError, match="its parts have 2 tensors together instead of 3"):
        facts_of_blobs([first, part(1, tensor("blk.0.b.weight", (8,), 0))])
    with pytest.raises(GgufError, match="two of its parts have the same tensor"):
        facts_of_blobs([first, part(1, tensor("blk.0.a.weight", (8,), 0))])


def test_another_part_than_asked_for_is_refused(server: LocalServer) -> None:
    server.routes["/x"] = Reply(206, bytes(10), {"Content-Range": "bytes 5-14/100"})
    with pytest.raises(FetchError, match="another part was sent than the one from byte 0"):
        facts_of_url(f"{server.url}/x", QUICK)
    server.routes["/y"] = Reply(206, bytes(10))
    with pytest.raises(FetchError, match="another part was sent"):
        facts_of_url(f"{server.url}/y", QUICK)


def test_a_part_is_named_where_it_is_wrong(file: Path) -> None:
    data = file.read_bytes()

    def read(start: int, length: int) -> bytes:
        return data[start : start + length]

    with pytest.raises(GgufError, match="part 2: this is no GGUF file"):
        facts_of_blobs([(read, len(data)), (lambda start, length: bytes(length), 100)])
