from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.artifacts.lock import (
    ArchiveLock,
    FileLock,
    Lock,
    LockError,
    ModelLock,
    NotLocked,
    ReleaseLock,
)
from ollama_fleet.artifacts.manifest import Layer, Manifest, media_type
from ollama_fleet.artifacts.model_config import ModelConfig
from ollama_fleet.artifacts.names import ModelName

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
URL = "https://mirror.lan/0.32.15/ollama-linux-amd64.tar.zst"
NAME = ModelName.parse("deepseek-r1:32b")

MANIFEST = Manifest(
    Layer("application/vnd.docker.container.image.v1+json", A, 10),
    (Layer(media_type("model"), B, 1000, "base"), Layer(media_type("params"), C, 5)),
    raw=b"{}",
)
PARAMS: dict[str, Any] = {
    "temperature": 0.6,
    "stop": ["<｜User｜>", "a\nb"],
    "seed": -0.0,
    "num_ctx": 4096,
    "on": True,
}
MODEL = ModelLock.of(
    MANIFEST, PARAMS, ModelConfig("gguf", "qwen2", "32B", "Q4_K_M"), {"blocks": [1, 2.5, None, "x"]}
)
ARCHIVE = ArchiveLock(url=URL, sha256="d" * 64, size=7)


def full_lock() -> Lock:
    return (
        Lock()
        .with_release("0.32.15", ReleaseLock(archives={"linux-amd64": ARCHIVE}))
        .with_model(NAME, MODEL)
        .with_file("models/a b.gguf", FileLock(sha256="e" * 64, size=3))
    )


def test_a_lock_reads_back_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "fleet.lock"
    lock = full_lock()
    assert lock.save(path)
    assert Lock.load(path) == lock
    assert repr(Lock.load(path).model(NAME).params["seed"]) == "-0.0"


def test_the_text_is_made_for_review() -> None:
    text = full_lock().dumps()
    assert text.startswith("# Written by `ollama-fleet lock`")
    assert text.splitlines()[1] == "version: 1"
    assert "  deepseek-r1:32b:\n" in text
    assert "<｜User｜>" in text
    assert "&" not in text
    assert '- "a\\nb"\n' in text
    assert [line for line in text.splitlines()[1:] if line[0] not in " -"] == [
        "version: 1",
        "files:",
        "models:",
        "releases:",
    ]


def test_order_of_writing_makes_no_difference() -> None:
    one = Lock().with_model(ModelName.parse("b"), MODEL).with_model(ModelName.parse("a"), MODEL)
    other = Lock().with_model(ModelName.parse("a"), MODEL).with_model(ModelName.parse("b"), MODEL)
    assert one.dumps() == other.dumps()


def test_saving_the_same_again_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "fleet.lock"
    full_lock().save(path)
    before = path.stat()
    assert full_lock().save(path) is False
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_saving_keeps_the_mode_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "fleet.lock"
    Lock().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.chmod(0o640)
    full_lock().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.lock"]


def test_a_link_to_a_lock_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "fleet.lock", tmp_path / "fleet.lock"
    Lock().save(real)
    link.symlink_to(real)
    full_lock().save(link)
    assert link.is_symlink()
    assert Lock.load(real) == full_lock()


def test_a_lock_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "fleet.lock"
    path.mkdir()
    with pytest.raises(OSError, match=r"."):
        full_lock().save(path)
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.lock"]


def test_what_is_locked_is_found() -> None:
    lock = full_lock()
    assert lock.archive("0.32.15", "linux-amd64").name == "ollama-linux-amd64.tar.zst"
    assert lock.model(ModelName.parse("DeepSeek-R1:32B")) == MODEL
    assert lock.file("models/a b.gguf").size == 3


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda lock: lock.release("0.1.0"), 'release "0.1.0"'),
        (lambda lock: lock.archive("0.32.15", "linux-arm64"), '"linux-arm64" of release "0.32.15"'),
        (lambda lock: lock.model(ModelName.parse("qwen3")), 'model "qwen3:latest"'),
        (lambda lock: lock.file("b.gguf"), 'file "b.gguf"'),
    ],
)
def test_what_is_not_locked_says_what_to_run(ask: Any, what: str) -> None:
    with pytest.raises(NotLocked) as caught:
        ask(full_lock())
    message = str(caught.value)
    assert what in message
    assert message.endswith("is not in fleet.lock; run `ollama-fleet lock`")


def test_a_model_is_replaced_whatever_the_case_of_its_name() -> None:
    lock = full_lock().with_model(ModelName.parse("DEEPSEEK-R1:32b"), MODEL)
    assert list(lock.models) == ["DEEPSEEK-R1:32b"]


def test_a_model_gives_back_its_manifest_and_config() -> None:
    manifest = MODEL.manifest()
    assert [(layer.kind, layer.digest, layer.size) for layer in manifest.layers] == [
        ("model", B, 1000),
        ("params", C, 5),
    ]
    assert manifest.total_size == MODEL.size == 1015
    assert MODEL.model_details() == ModelConfig("gguf", "qwen2", "32B", "Q4_K_M")
    assert MODEL.digest == MANIFEST.digest


TEXT = full_lock().dumps()


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(TEXT.splitlines(), start=1) if text in line)


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("version: 1", "version: 2", "version: 1", "version is 2"),
        ("version: 1", "version: '1'", "version: 1", 'version is "1"'),
        ("version: 1", "version: true", "version: 1", "version is true"),
        ("size: 1015", "size: 1016", "deepseek", "its layers have 1015 bytes together"),
        ("size: 1015", "size: -1", "size: 1015", "greater than or equal to 0"),
        ("size: 1015", "size: 1015.0", "size: 1015", "valid integer"),
        ("size: 1015", "sizes: 1015", "size: 1015", "unknown key"),
        ("size: 1015", "sizes: 1015", "deepseek", "size: is missing"),
        (f"digest: {A}", f"digest: {A.upper()}", f"digest: {A}", "is not a digest"),
        (f"digest: {A}", "digest: sha256:../../x", f"digest: {A}", "is not a digest"),
        ("e" * 64, "E" * 64, "e" * 64, "is no sha256"),
        ("deepseek-r1:32b:", "deepseek-r1:", "deepseek", 'must be written "deepseek-r1:latest"'),
        ("deepseek-r1:32b:", "../deepseek:", "deepseek", "must begin with"),
        ("0.32.15:", "v0.32.15:", "0.32.15:", "written with a v"),
        ("0.32.15:", "../etc:", "0.32.15:", "no version"),
        ("linux-amd64:", "linux-mips:", "linux-amd64:", "no kind of archive"),
        ("models/a b.gguf:", '"models\\e[0m":', "a b.gguf", "is no path"),
        (URL, "ftp://mirror/x.tgz", URL, "no http, https or file URL"),
        (URL, "file:x.tgz", URL, "no absolute file URL"),
        (URL, "file://host/x.tgz", URL, "no absolute file URL"),
        (URL, "https:///x.tgz", URL, "names no host"),
        (URL, "https://me:secret@mirror/x.tgz", URL, "must not stand in a lock"),
        (URL, "https://mirror/", URL, "plain name of a file"),
        (URL, "https://mirror/a%2F..%2F-rf", URL, "plain name of a file"),
        (URL, "'https://mirror/x y.tgz'", URL, "no http"),
        (URL, "'https://[mirror/x.tgz'", URL, "Invalid IPv6"),
        ("temperature: 0.6", "temperature: .nan", "params:", "cannot be written as JSON"),
        ("temperature: 0.6", "temperature: 2020-01-01", "temperature", "put it in quotes"),
        ("temperature: 0.6", "temperature: !!python/object:os.system x", "temperature", "tags have no place"),
        ("temperature: 0.6", "temperature: &a 1", "temperature", "anchors and aliases"),
        ("temperature: 0.6", "temperature: *a", "temperature", "anchors and aliases"),
        ("temperature: 0.6", "seed: 1", "temperature", "given twice"),
        ("temperature: 0.6", "? [a]\n      : 1", "temperature", "a key must be a word"),
        ("temperature: 0.6", "1: 2", "temperature", "a key must be a word"),
        (
            "media_type: application/vnd.ollama.image.params",
            "media_type: ''",
            "image.params",
            "not a media type",
        ),
    ],
)
def test_a_lock_that_is_wrong_is_refused_with_file_and_line(
    old: str, new: str, line: str, reason: str
) -> None:
    assert TEXT.count(old) >= 1
    with pytest.raises(LockError) as caught:
        Lock.loads(TEXT.replace(old, new, 1).encode(), "fleet.lock")
    lines = str(caught.value).splitlines()
    matching = [message for message in lines if reason in message]
    assert matching, lines
    if reason != "given twice":  # told at the second of the two
        number = line_of(line)
        assert any(
            message.startswith(f"fleet.lock:{near}:") for message in matching for near in (number, number + 1)
        )
    assert "secret" not in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(LockError) as caught:
        Lock.loads(TEXT.replace(A, "x").replace(B, "y").encode())
    assert len(caught.value.errors) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# only a comment\n",
        b"[]",
        b"{}",
        b"version",
        b"\xff\xfe",
        b"version: 1\n---\nversion: 1\n",
        b"version: 1\nmodels: 5",
        b"version: 1\nmodels: {a: }",
        b"version: 1\x00",
        b"version: 1\nfiles: " + b"[" * 200_000,
        b"version: 1\nfiles: " + b"{a: " * 200_000,
        b"- " * 200_000,
        b"a: &a [x, x]\nb: &b [*a, *a]\nversion: 1\n",
        b"version: 1\nmodels: {'a:1': " + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_lock_is_refused_without_a_traceback(content: bytes) -> None:
    with pytest.raises(LockError) as caught:
        Lock.loads(content)
    assert all(str(error).startswith("fleet.lock") for error in caught.value.errors)


@given(
    st.binary(max_size=60)
    | st.text(alphabet="version: 1\n-[]{}&*!?|>'\"#%@`models,files", max_size=60).map(str.encode)
)
def test_no_bytes_end_in_anything_but_a_lock_or_a_lock_error(content: bytes) -> None:
    try:
        lock = Lock.loads(content)
    except LockError as error:
        lock = Lock().with_file(str(len(error.errors)), FileLock(sha256="e" * 64, size=0))
    assert Lock.loads(lock.dumps().encode()) == lock


def test_two_spellings_of_one_model_are_refused() -> None:
    entry = TEXT[TEXT.index("  deepseek-r1:32b:\n") : TEXT.index("releases:")]
    twice = TEXT.replace("releases:", entry.replace("deepseek", "DeepSeek") + "releases:")
    with pytest.raises(LockError, match="ignores case"):
        Lock.loads(twice.encode())


def test_no_lock_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"fleet\.lock: no such file or directory; run `ollama-fleet lock`"):
        Lock.load(tmp_path / "fleet.lock")
    with pytest.raises(LockError, match="is a directory"):
        Lock.load(tmp_path)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(texts, json_values, max_size=4))
def test_any_parameters_and_facts_survive_the_file(values: dict[str, Any]) -> None:
    model = ModelLock.of(MANIFEST, values, facts=values)
    again = Lock.loads(Lock().with_model(NAME, model).dumps().encode()).model(NAME)
    assert repr(again.params) == repr(dict(sorted(values.items()))) or again.params == values
    assert again.facts == values
