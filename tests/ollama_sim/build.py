"""Release archives of the stand-in, the same bytes for the same arguments.

`python -m ollama_sim.build --version 0.24.0 --arch amd64 --format tgz --out DIR`
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ollama_sim.release import Generation

Arch = Literal["amd64", "arm64"]
Format = Literal["tgz", "tar.zst"]

PACKAGE = Path(__file__).parent
SHEBANG = b"#!/usr/bin/env python3\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_ZSTD_MAGIC = 0xFD2FB528
_ZSTD_BLOCK = 1 << 17
_CPU_VARIANTS = ["alderlake", "haswell", "icelake", "sandybridge", "skylakex", "sse42", "x64"]


def build_release(
    version: str = "0.24.0",
    arch: Arch = "amd64",
    format: Format = "tgz",  # noqa: A002
    out: Path = Path(),
    faults: Mapping[str, Any] | None = None,
) -> Path:
    """Write `ollama-linux-ARCH.FORMAT` and `sha256sum.txt` into the folder `out`; the archive's path.

    `faults` are baked into the release as its scenario (see `machine`), so that one version can be broken where its
    neighbour is not. Two of them concern the archive itself: `{"archive": "truncated"}` cuts it short and
    `{"archive": "no-binary"}` leaves `bin/ollama` out. Raises ValueError for what is not a version.
    """
    Generation.of(version)
    given = dict(faults or {})
    damage = given.pop("archive", "")
    members = _members(version, arch, given)
    if damage == "no-binary":
        members = [member for member in members if member[0] != "bin/ollama"]
    raw = _tar(members)
    packed = _gzip(raw) if format == "tgz" else zstd_stored(raw)
    if damage == "truncated":
        packed = packed[: len(packed) // 2]
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"ollama-linux-{arch}.{format}"
    path.write_bytes(packed)
    write_checksums(out)
    return path


def build_windows_release(
    version: str = "0.24.0",
    arch: Arch = "amd64",
    out: Path = Path(),
    faults: Mapping[str, Any] | None = None,
) -> Path:
    """Write `ollama-windows-ARCH.zip` and `sha256sum.txt` into the folder `out`; the archive's path.

    Its ollama.exe is the same program as on Linux: the tests' Windows host runs it where it would run an .exe.
    """
    generation = Generation.of(version)
    members = [("ollama.exe", program(version, arch, dict(faults or {})))]
    names = ["ggml-base.dll", "cuda_v12/ggml-cuda.dll", *(["llama.dll"] if generation.llama_server else [])]
    members += [(f"lib/ollama/{name}", _library(name, version, arch)) for name in names]
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"ollama-windows-{arch}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    write_checksums(out)
    return path


def write_checksums(folder: Path) -> None:
    """Write `sha256sum.txt` over the archives in `folder`, names with "./" before them."""
    lines = []
    for path in sorted(folder.glob("ollama-*")):
        lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.name}\n")
    (folder / "sha256sum.txt").write_text("".join(lines), "ascii")


def program(version: str, arch: Arch, faults: Mapping[str, Any]) -> bytes:
    """The executable `bin/ollama`: this package as a zip behind a shebang line."""
    identity = json.dumps({"version": version, "arch": arch, "faults": faults}, sort_keys=True)
    files = {f"ollama_sim/{path.name}": path.read_bytes() for path in sorted(PACKAGE.glob("*.py"))}
    files["ollama_sim/release.json"] = identity.encode()
    files["__main__.py"] = b"import sys\nfrom ollama_sim.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    return SHEBANG + buffer.getvalue()


def _members(version: str, arch: Arch, faults: Mapping[str, Any]) -> list[tuple[str, bytes, int]]:
    """Name, content and mode of every file; folders are made of the names."""
    generation = Generation.of(version)
    libraries = ["libggml-base.so"]
    libraries += (
        [f"libggml-cpu-{name}.so" for name in _CPU_VARIANTS] if arch == "amd64" else ["libggml-cpu.so"]
    )
    libraries += ["cuda_v12/libggml-cuda.so", "cuda_v13/libggml-cuda.so", "vulkan/libggml-vulkan.so"]
    members = [("bin/ollama", program(version, arch, faults), 0o755)]
    if generation.llama_server:
        libraries += ["libllama.so", "libmtmd.so"]
        for name in ("llama-quantize", "llama-server"):
            script = f'#!/bin/sh\necho "{name} of the stand-in runs nothing" >&2\nexit 1\n'
            members.append((f"lib/ollama/{name}", script.encode(), 0o755))
    members += [(f"lib/ollama/{name}", _library(name, version, arch), 0o755) for name in libraries]
    return sorted(members)


def _library(name: str, version: str, arch: str) -> bytes:
    """Two KiB that differ from release to release, as a library would."""
    text = f"stand-in for {name} {version} {arch}\n".encode()
    return text + hashlib.shake_256(text).digest(2048)


def _tar(members: Sequence[tuple[str, bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    # The real archives have entries for the folders below lib/ollama only.
    folders = sorted({str(Path(name).parent) for name, _, _ in members if name.count("/") > 2})
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for folder in folders:
            info = tarfile.TarInfo(f"{folder}/")
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        for name, data, mode in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _gzip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as file:
        file.write(data)
    return buffer.getvalue()


def zstd_stored(data: bytes) -> bytes:
    """A Zstandard frame of raw blocks (RFC 8878, 3.1.1): valid for every decoder, and no encoder is needed."""
    single_segment_8_byte_size = 0b1110_0000
    frame = [_ZSTD_MAGIC.to_bytes(4, "little"), bytes([single_segment_8_byte_size])]
    frame.append(len(data).to_bytes(8, "little"))
    for start in range(0, max(len(data), 1), _ZSTD_BLOCK):
        block = data[start : start + _ZSTD_BLOCK]
        last = start + _ZSTD_BLOCK >= len(data)
        frame += [(len(block) << 3 | last).to_bytes(3, "little"), block]
    return b"".join(frame)


def main(arguments: Sequence[str]) -> int:
    """Build one archive and print its path."""
    parser = argparse.ArgumentParser(prog="python -m ollama_sim.build", description=__doc__)
    parser.add_argument("--version", default="0.24.0")
    parser.add_argument("--arch", choices=["amd64", "arm64"], default="amd64")
    parser.add_argument("--format", choices=["tgz", "tar.zst"], default="tgz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--faults", type=json.loads, default=None, metavar="JSON")
    given = parser.parse_args(list(arguments))
    print(build_release(given.version, given.arch, given.format, given.out, given.faults))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
