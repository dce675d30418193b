"""Release archives of the stand-in."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ollama_sim.build import build_release, main, zstd_stored


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


@pytest.mark.parametrize("form", ["tgz", "tar.zst"])
def test_the_same_arguments_give_the_same_bytes(tmp_path: Path, form: Any) -> None:
    first = build_release("0.24.0", "amd64", form, tmp_path / "a")
    second = build_release("0.24.0", "amd64", form, tmp_path / "b")
    assert first.name == f"ollama-linux-amd64.{form}"
    assert first.read_bytes() == second.read_bytes()
    other = build_release("0.24.1", "amd64", form, tmp_path / "c")
    assert first.read_bytes() != other.read_bytes()


def test_the_layout_is_that_of_its_generation(tmp_path: Path) -> None:
    old = names(build_release("0.24.0", out=tmp_path / "old"))
    new = names(build_release("0.32.15", out=tmp_path / "new"))
    for listed in (old, new):
        assert {"bin/ollama", "lib/ollama/libggml-base.so", "lib/ollama/cuda_v12/libggml-cuda.so"} <= set(
            listed
        )
    helpers = {"lib/ollama/llama-server", "lib/ollama/llama-quantize"}
    assert not helpers & set(old)
    assert helpers < set(new)


def test_the_program_can_be_executed_by_all(tmp_path: Path) -> None:
    with tarfile.open(build_release("0.24.0", out=tmp_path)) as tar:
        assert tar.getmember("bin/ollama").mode == 0o755
        assert {member.uid for member in tar.getmembers()} == {0}


def test_checksums_cover_every_archive_in_the_folder(tmp_path: Path) -> None:
    paths = [build_release("0.24.0", arch, out=tmp_path) for arch in ("amd64", "arm64")]
    lines = (tmp_path / "sha256sum.txt").read_text().splitlines()
    assert lines == [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.name}" for path in paths]


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd here to decode with")
@pytest.mark.parametrize("size", [0, 1, 1 << 17, (1 << 17) + 1, 300_000])
def test_stored_zstd_is_what_a_decoder_takes(size: int) -> None:
    data = hashlib.shake_256(b"x").digest(size)
    decoded = subprocess.run(["zstd", "-dc"], input=zstd_stored(data), capture_output=True, check=True)
    assert decoded.stdout == data


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd here to decode with")
def test_both_formats_hold_the_same(tmp_path: Path) -> None:
    gz, zst = (build_release("0.32.15", "amd64", form, tmp_path) for form in ("tgz", "tar.zst"))
    raw = subprocess.run(["zstd", "-dc", zst], capture_output=True, check=True).stdout
    (tmp_path / "plain.tar").write_bytes(raw)
    assert names(tmp_path / "plain.tar") == names(gz)


def test_a_release_can_be_built_broken(tmp_path: Path) -> None:
    assert "bin/ollama" not in names(
        build_release("0.24.0", out=tmp_path / "a", faults={"archive": "no-binary"})
    )
    cut = build_release("0.24.0", out=tmp_path / "b", faults={"archive": "truncated"})
    with pytest.raises(EOFError):
        names(cut)


def test_a_release_can_be_built_that_does_not_start(tmp_path: Path) -> None:
    with tarfile.open(build_release("0.24.0", out=tmp_path, faults={"start": "exit"})) as tar:
        tar.extractall(tmp_path, filter="tar")
    env = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path), "OLLAMA_HOST": "127.0.0.1:0"}
    said = subprocess.run(
        [tmp_path / "bin/ollama", "serve"], env=env, capture_output=True, timeout=60, check=False
    )
    assert said.returncode == 1


def test_what_is_no_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a version: 'latest'"):
        build_release("latest", out=tmp_path)


def test_the_command_line_prints_the_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["--version", "0.32.15", "--arch", "arm64", "--format", "tar.zst", "--out", str(tmp_path)]) == 0
    )
    assert capsys.readouterr().out.strip() == str(tmp_path / "ollama-linux-arm64.tar.zst")
