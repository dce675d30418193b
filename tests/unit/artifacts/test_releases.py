from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.artifacts.releases import (
    EngineEra,
    ReleaseError,
    Version,
    archive_name,
    parse_checksums,
    upstream_url,
)

A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.32.15", Version(0, 32, 15)),
        ("v0.32.15", Version(0, 32, 15)),
        ("0.33.0-rc2", Version(0, 33, 0, 2)),
        ("1.0.0-rc0", Version(1, 0, 0, 0)),
    ],
)
def test_versions_are_read(text: str, version: Version) -> None:
    assert Version.parse(text) == version
    assert str(version) == text.removeprefix("v")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "latest",
        "0.32",
        "0.32.15.1",
        "0.32.x",
        "00.1.2",
        "0.32.15-beta",
        "0.32.15-rc",
        "0.32.15-rc01",
        "V1.2.3",
        "../0.32.15",
        "0.32.15\n",
        " 0.32.15",
        "0.32.15/..",
        "0.32.15;id",
        "٠.1.2",
        "1" * 9 + ".0.0",
        None,
        0.32,
    ],
)
def test_what_is_no_version_gets_nowhere_near_a_path(text: object) -> None:
    with pytest.raises(ReleaseError) as caught:
        Version.parse(text)
    assert str(caught.value).isprintable()


def test_versions_are_ordered_candidates_before_their_release() -> None:
    ordered = ["0.9.10", "0.11.0", "0.32.15", "0.33.0-rc2", "0.33.0-rc10", "0.33.0", "1.0.0-rc0"]
    assert sorted(sorted(ordered), key=Version.parse) == ordered
    assert Version.parse("0.33.0-rc2") <= Version.parse("0.33.0-rc2") < Version.parse("0.33.0")


versions = st.builds(
    Version, st.integers(0, 3), st.integers(0, 40), st.integers(0, 20), st.none() | st.integers(0, 12)
)


@given(versions)
def test_every_version_reads_back(version: Version) -> None:
    assert Version.parse(str(version)) == version


@given(versions, versions)
def test_order_is_total(one: Version, other: Version) -> None:
    assert (one < other) + (other < one) + (one == other) == 1


@pytest.mark.parametrize(
    ("text", "era"),
    [
        ("0.9.0", EngineEra.ESTIMATE),
        ("0.11.10", EngineEra.ESTIMATE),
        ("0.11.11", EngineEra.LAYOUT),
        ("0.24.0", EngineEra.LAYOUT),
        ("0.30.0-rc1", EngineEra.LLAMA_SERVER),
        ("0.30.0", EngineEra.LLAMA_SERVER),
        ("1.0.0", EngineEra.LLAMA_SERVER),
    ],
)
def test_the_era_tells_how_layers_are_placed(text: str, era: EngineEra) -> None:
    assert Version.parse(text).era is era


@pytest.mark.parametrize(
    ("version", "target", "name"),
    [
        ("0.13.5", "linux-amd64", "ollama-linux-amd64.tgz"),
        ("0.14.0", "linux-amd64", "ollama-linux-amd64.tar.zst"),
        ("0.14.0-rc1", "linux-arm64", "ollama-linux-arm64.tar.zst"),
        ("0.32.15", "linux-amd64-rocm", "ollama-linux-amd64-rocm.tar.zst"),
        ("0.32.15", "linux-arm64-jetpack6", "ollama-linux-arm64-jetpack6.tar.zst"),
        ("0.12.6", "linux-arm64-jetpack5", "ollama-linux-arm64-jetpack5.tgz"),
        ("0.32.15", "windows-amd64", "ollama-windows-amd64.zip"),
        ("0.32.15", "windows-setup", "OllamaSetup.exe"),
        ("0.32.15", "darwin", "ollama-darwin.tgz"),
    ],
)
def test_archives_have_the_names_they_are_published_under(version: str, target: str, name: str) -> None:
    assert archive_name(Version.parse(version), target) == name


@pytest.mark.parametrize(
    ("version", "target", "reason"),
    [
        ("0.32.15", "linux-riscv", "no kind of archive"),
        ("0.23.0", "linux-amd64-mlx", "0.23.1 is the first"),
        ("0.3.6", "linux-amd64", "0.3.7 is the first"),
    ],
)
def test_an_archive_that_was_never_published_is_refused(version: str, target: str, reason: str) -> None:
    with pytest.raises(ReleaseError, match=reason):
        archive_name(Version.parse(version), target)


def test_upstream_files_have_the_version_in_their_address() -> None:
    url = upstream_url(Version.parse("v0.32.15"), "sha256sum.txt")
    assert url == "https://github.com/ollama/ollama/releases/download/v0.32.15/sha256sum.txt"


def test_checksums_are_read_with_and_without_dot_slash() -> None:
    text = (
        f"{A}  ./ollama-linux-amd64.tar.zst\n{B.upper()} *install.sh\n\n{A}  ./ollama-linux-amd64.tar.zst\n"
    )
    assert parse_checksums(text, "x") == {"ollama-linux-amd64.tar.zst": A, "install.sh": B}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{A}  ./x\n<html>", "x.txt:2: this is no line"),
        (f"{A[:-1]}  ./x", "x.txt:1"),
        (f"{A}  ../../etc/passwd", "x.txt:1"),
        (f"{A}  ./.hidden", "x.txt:1"),
        (f"{A}  /etc/passwd", "x.txt:1"),
        (f"{A}  ./x\n{B}  ./x", "x.txt:2: a second, different hash for x"),
        ("a" * (2 << 20), "too large"),
    ],
)
def test_a_list_of_checksums_that_is_none_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ReleaseError) as caught:
        parse_checksums(text, "x.txt")
    assert reason in str(caught.value)
