"""A lock that is not what its fleet needs, told apart from an upstream that has moved on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.deploys.lock_check import Finding, check_lock
from ollama_fleet.deploys.locking import make_lock
from ollama_fleet.outputs.locks import finding_lines, status_of
from ollama_fleet.spec.fleet import Fleet
from unit.artifacts.local_server import Reply
from unit.deploys.local_fleet import DECLARED, Registry, gguf, local_fleet


@pytest.fixture
def fleet(tmp_path: Path, registry: Registry, releases: str) -> Fleet:
    return local_fleet(tmp_path, registry, releases, DECLARED)


@pytest.fixture
def lock(fleet: Fleet, registry: Registry) -> Lock:
    made = make_lock(fleet)
    registry.server.requests.clear()
    return made


def odd(findings: list[Finding]) -> dict[str, str]:
    return {f"{it.kind} {it.name}": it.state for it in findings if it.state != "locked"}


def tiny(registry: Registry, tag: str) -> str:
    return f"{registry.server.host}/library/tiny:{tag}"


def test_all_is_locked_and_upstream_serves_it(fleet: Fleet, lock: Lock, registry: Registry) -> None:
    findings = check_lock(fleet, lock, offline=False)
    assert odd(findings) == {}
    assert status_of(findings) == "locked"
    assert len(findings) == 5
    assert registry.manifests_asked_for == {"q8_0", "q4_k_m"}
    assert all(it.found == it.locked for it in findings)


def test_offline_contacts_nobody_and_reads_no_weights(
    fleet: Fleet, lock: Lock, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "mine.gguf").unlink()
    registry.server.routes.clear()

    assert odd(check_lock(fleet, lock, offline=True)) == {}
    assert registry.server.requests == []


def test_an_upstream_that_moved_is_told_with_both_digests(
    fleet: Fleet, lock: Lock, registry: Registry, tmp_path: Path
) -> None:
    content = gguf(tmp_path / "other.gguf").read_bytes()
    registry.push("tiny", "q8_0", content)
    (tmp_path / "mine.gguf").write_bytes(content + b"x")
    (tmp_path / "releases/ollama-linux-arm64.tar.zst").write_bytes(b"rebuilt")

    findings = check_lock(fleet, lock, offline=False)
    assert odd(findings) == {
        f"model {tiny(registry, 'q8_0')}": "moved",
        "file ./mine.gguf": "moved",
        "release 0.32.15 linux-arm64": "moved",
    }
    assert status_of(findings) == "moved"
    was, now = (hashlib.sha256(bytes_).hexdigest() for bytes_ in (b"arm64", b"rebuilt"))
    assert (
        f"release 0.32.15 linux-arm64: upstream has sha256:{now}, locked is sha256:{was}; "
        "if the change is wanted, run `ollama-fleet lock --update 0.32.15`"
    ) in list(finding_lines(findings))


def test_what_upstream_does_not_have_any_more_has_moved_too(
    fleet: Fleet, lock: Lock, registry: Registry, tmp_path: Path
) -> None:
    registry.server.routes["/v2/library/tiny/manifests/q8_0"] = Reply(404)
    (tmp_path / "mine.gguf").unlink()

    findings = check_lock(fleet, lock, offline=False)
    assert odd(findings) == {f"model {tiny(registry, 'q8_0')}": "moved", "file ./mine.gguf": "moved"}


def test_one_archive_that_has_gone_does_not_hide_the_others(fleet: Fleet, lock: Lock, tmp_path: Path) -> None:
    (tmp_path / "releases/ollama-linux-arm64.tar.zst").unlink()
    (tmp_path / "releases/ollama-linux-amd64.tar.zst").write_bytes(b"rebuilt")

    found = {it.name: it for it in check_lock(fleet, lock, offline=False)}
    assert found["0.32.15 linux-amd64"].found == f"sha256:{hashlib.sha256(b'rebuilt').hexdigest()}"
    gone = found["0.32.15 linux-arm64"]
    assert (gone.state, gone.found) == ("moved", None)
    assert "no such file" in gone.reason


@pytest.mark.parametrize("status", [403, 401, 500])
def test_what_cannot_be_asked_is_only_told(status: int, fleet: Fleet, lock: Lock, registry: Registry) -> None:
    registry.server.routes["/v2/library/tiny/manifests/q8_0"] = Reply(status)

    findings = check_lock(fleet, lock, offline=False)
    assert odd(findings) == {f"model {tiny(registry, 'q8_0')}": "unchecked"}
    assert status_of(findings) == "locked"
    (line,) = finding_lines(findings)
    assert line.startswith(f"note: model {tiny(registry, 'q8_0')}: could not be held against upstream: ")


def test_what_is_missing(fleet: Fleet, lock: Lock, registry: Registry) -> None:
    less = Lock(models={tiny(registry, "q8_0"): lock.models[tiny(registry, "q8_0")]})

    findings = check_lock(fleet, less, offline=True)
    assert odd(findings) == {
        "release 0.32.15 linux-amd64": "missing",
        "release 0.32.15 linux-arm64": "missing",
        f"model {tiny(registry, 'q4_k_m')}": "missing",
        "file ./mine.gguf": "missing",
    }
    assert status_of(findings) == "stale"
    assert all(line.endswith("run `ollama-fleet lock`") for line in finding_lines(findings))


def test_a_lock_that_is_stale_is_that_also_where_upstream_moved(
    fleet: Fleet, lock: Lock, registry: Registry, tmp_path: Path
) -> None:
    registry.push("tiny", "q8_0", gguf(tmp_path / "other.gguf").read_bytes())
    more = lock.with_model(ModelName.parse("old/model"), lock.models[tiny(registry, "q8_0")])
    more = more.with_release("0.1.0", lock.release("0.32.15"))

    findings = check_lock(fleet, more, offline=False)
    assert odd(findings) == {
        "model old/model:latest": "unneeded",
        "release 0.1.0 linux-amd64": "unneeded",
        "release 0.1.0 linux-arm64": "unneeded",
        f"model {tiny(registry, 'q8_0')}": "moved",
    }
    assert status_of(findings) == "stale"


def test_a_release_from_another_source_than_fleet_yaml_says(
    lock: Lock, registry: Registry, tmp_path: Path, releases: str
) -> None:
    moved = local_fleet(tmp_path, registry, "https://mirror.example/ollama", DECLARED)

    findings = check_lock(moved, lock, offline=True)
    assert odd(findings) == {f"release 0.32.15 linux-{arch}": "stale" for arch in ("amd64", "arm64")}
    line = next(iter(finding_lines(findings)))
    assert "fleet.yaml says https://mirror.example/ollama/ollama-linux-amd64.tar.zst" in line


def test_what_lock_leaves_is_never_stale(
    fleet: Fleet, lock: Lock, registry: Registry, tmp_path: Path
) -> None:
    hosts = {**DECLARED, "who-knows": {"models": ["open"]}}
    wider = local_fleet(tmp_path, registry, (tmp_path / "releases").as_uri(), hosts)

    assert odd(check_lock(wider, make_lock(wider, lock), offline=True)) == {}
