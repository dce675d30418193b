"""`ollama-fleet lock`, as it is typed; the release is a directory, so that no network is needed."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from unit.cli.command import document, refused, run

FLEET = """\
version: 1
release: {version: 0.24.0, source: SOURCE}
models:
  mine: {from: ./mine.gguf, num_ctx: 256, num_gpu: 0}
hosts:
  pc: {gpus: [], arch: amd64, models: [mine]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from unit.deploys.local_fleet import gguf

    releases = tmp_path / "releases"
    releases.mkdir()
    (releases / "ollama-linux-amd64.tar.zst").write_bytes(b"amd64")
    gguf(tmp_path / "mine.gguf")
    (tmp_path / "fleet.yaml").write_text(FLEET.replace("SOURCE", releases.as_uri()))
    return tmp_path


def change_archive(folder: Path) -> None:
    (folder / "releases/ollama-linux-amd64.tar.zst").write_bytes(b"other")


def test_what_changed_is_said(folder: Path) -> None:
    first = run("lock", cwd=folder)
    assert first.returncode == 0, first.stderr
    added = [line for line in first.stdout.splitlines() if line.startswith("added ")]
    assert [line.split(":")[0] for line in added] == [
        "added release 0.24.0 linux-amd64",
        "added file ./mine.gguf",
    ]
    assert first.stdout.endswith("fleet.lock: written\n")

    again = run("lock", cwd=folder)
    assert (again.stdout, again.stderr) == ("fleet.lock: unchanged\n", "")

    change_archive(folder)
    assert run("lock", cwd=folder).stdout == "fleet.lock: unchanged\n"
    updated = run("lock", "--update", "0.24.0", cwd=folder)
    (line, written) = updated.stdout.splitlines()
    assert line.startswith("updated release 0.24.0 linux-amd64: sha256:")
    assert " → sha256:" in line
    assert written == "fleet.lock: written"


@pytest.mark.parametrize("name", ["lock", "lock-check"])
def test_json_is_what_its_schema_says(name: str, folder: Path) -> None:
    schema = json.loads(run("schema", name, cwd=folder).stdout)
    first = document("lock", cwd=folder)
    change_archive(folder)
    if name == "lock":
        found = [first, document("lock", "--update", cwd=folder), document("lock", cwd=folder)]
        assert [it["status"] for it in found] == ["changed", "changed", "unchanged"]
        assert [it["change"] for it in found[1]["entries"]] == ["updated", "kept"]
    else:
        found = [
            document("lock", "--check", cwd=folder, code=2),
            document("lock", "--check", "--offline", cwd=folder),
        ]
        assert [it["status"] for it in found] == ["moved", "locked"]
    for it in found:
        jsonschema.Draft202012Validator(schema).validate(it)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(schema).validate({**it, "unknown": 1})


def test_exit_codes_of_check(folder: Path) -> None:
    assert "no such file or directory; run `ollama-fleet lock`" in refused("lock", "--check", cwd=folder)
    run("lock", cwd=folder)
    before = (folder / "fleet.lock").read_text()

    done = run("lock", "--check", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "fleet.lock: complete and current\n")
    done = run("lock", "--check", "--offline", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "fleet.lock: complete\n")

    change_archive(folder)
    done = run("lock", "--check", cwd=folder)
    assert done.returncode == 2
    assert done.stdout.endswith("fleet.lock: complete, but upstream has moved\n")
    assert run("lock", "--check", "--offline", cwd=folder).returncode == 0

    (folder / "fleet.yaml").write_text(
        (folder / "fleet.yaml").read_text().replace("arch: amd64", "arch: arm64")
    )
    for options in ([], ["--offline"]):
        done = run("lock", "--check", *options, cwd=folder)
        assert done.returncode == 1
        assert "release 0.24.0 linux-arm64: fleet.yaml needs it and it is not locked" in done.stdout
        assert done.stdout.endswith("fleet.lock: not what fleet.yaml needs\n")
    assert (folder / "fleet.lock").read_text() == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["mine"], "names are for --update"),
        (["--check", "--update"], "give one of them"),
        (["--offline"], "--offline is for --check"),
        (["--update", "minf"], 'did you mean "mine"?'),
    ],
)
def test_options_that_do_not_go_together(options: list[str], says: str, folder: Path) -> None:
    assert says in refused("lock", *options, cwd=folder)


def test_a_lock_of_another_time_is_not_overwritten_unasked(folder: Path) -> None:
    (folder / "fleet.lock").write_text("version: 2\n")
    for options in ([], ["--check"], ["--update", "mine"]):
        line = refused("lock", *options, cwd=folder)
        assert (
            "fleet.lock:1:1: version: version is 2; this ollama-fleet reads version 1; use the ollama-fleet"
            in line
        )
    assert (folder / "fleet.lock").read_text() == "version: 2\n"

    (folder / "fleet.lock").write_text("<<<<<<< HEAD\n")
    assert "fleet.lock" in refused("lock", cwd=folder)
    assert run("lock", "--update", cwd=folder).returncode == 0
