"""What a host was before, put back byte for byte: the very lines that run on hosts, run in a home of the test's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ollama_fleet.operations import snapshot
from ollama_fleet.operations.shell import script
from ollama_fleet.planner.layout import Layout

MANIFEST = "registry.ollama.ai/library/m/latest"
NEW = "registry.ollama.ai/library/n/latest"
PULLED = "registry.ollama.ai/library/base/latest"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A host with a release, files and a model; its server's number never changes, so it is never started."""
    made = Layout.of("user").at(str(tmp_path / "a home"), "me", "me")
    write(made.state + "/server.pid", "1234")
    write(made.drop_in, "old drop-in")
    write(made.environment, "OLLAMA_HOST=old", 0o600)
    for version in ("0.1.0", "0.2.0"):
        write(f"{made.releases}/{version}/bin/ollama", version, 0o755)
    link(made.current, "0.1.0")
    link(made.command, made.binary)
    write(f"{made.models}/manifests/{MANIFEST}", "manifest of old")
    write(f"{made.models}/blobs/sha256-aa", "old prompt")
    write(f"{made.models}/blobs/sha256-bb-partial", "half")
    return made


def write(path: str, text: str, mode: int = 0o644) -> None:
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(mode)


def link(path: str, target: str) -> None:
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def run(lines: list[str]) -> list[str]:
    done = subprocess.run(
        ["/bin/sh", "-c", script(*lines).get_raw_value()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def tree(layout: Layout) -> dict[str, tuple[int, str]]:
    found = {}
    for path in sorted(Path(layout.service_home).rglob("*")):
        if path.is_symlink():
            found[str(path)] = (0, str(path.readlink()))
        elif path.is_file():
            found[str(path)] = (path.stat().st_mode & 0o777, path.read_text())
    return found


def change(layout: Layout) -> None:
    """What an upgrade does, and a server that removes what no model needs any more."""
    write(layout.drop_in, "new drop-in")
    write(layout.environment, "OLLAMA_HOST=new", 0o640)
    write(layout.profile, "new file")
    link(f"{layout.releases}/previous", "0.1.0")
    link(layout.current, "0.2.0")
    write(f"{layout.models}/manifests/{MANIFEST}", "manifest of new")
    Path(f"{layout.models}/blobs/sha256-aa").unlink()
    write(f"{layout.models}/manifests/{NEW}", "manifest of another")


def take(layout: Layout) -> None:
    run(snapshot.take(layout, "supervisor"))


def test_back_to_what_was(layout: Layout) -> None:
    before = tree(layout)
    take(layout)
    assert (Path(layout.unproven).stat().st_mode & 0o777) == 0o700
    change(layout)
    said = run(snapshot.put_back(layout, "supervisor", created=[MANIFEST, NEW]))
    assert said[0] == "release 0.1.0"
    assert tree(layout) == before


def test_what_was_pulled_stays(layout: Layout) -> None:
    take(layout)
    write(f"{layout.models}/manifests/{PULLED}", "a base")
    run(snapshot.put_back(layout, "supervisor", created=[MANIFEST, NEW]))
    assert Path(f"{layout.models}/manifests/{PULLED}").read_text() == "a base"


def test_a_snapshot_of_a_change_that_has_not_ended_is_older_and_stays(layout: Layout) -> None:
    before = tree(layout)
    take(layout)
    change(layout)
    take(layout)
    run(snapshot.put_back(layout, "supervisor", created=[NEW]))
    assert tree(layout) == before


def test_going_back_twice(layout: Layout) -> None:
    take(layout)
    change(layout)
    run(snapshot.put_back(layout, "supervisor"))
    assert run(snapshot.put_back(layout, "supervisor")) == ["nothing"]


def test_a_proven_upgrade_keeps_the_release_before_for_a_rollback(layout: Layout) -> None:
    take(layout)
    change(layout)
    run(snapshot.settle(layout))
    assert not Path(layout.unproven).exists()
    assert not Path(layout.models_before).exists()
    assert Path(f"{layout.kept}/release").read_text() == "0.1.0\n"
    copies = [path.read_text() for path in sorted(Path(f"{layout.kept}/files").iterdir()) if path.is_file()]
    assert {"old drop-in", "OLLAMA_HOST=old"} <= set(copies)


def test_a_proven_change_of_models_keeps_what_was_kept(layout: Layout) -> None:
    take(layout)
    change(layout)
    run(snapshot.settle(layout))
    kept = Path(f"{layout.kept}/release").read_text()
    take(layout)
    write(f"{layout.models}/manifests/{MANIFEST}", "manifest of newer")
    run(snapshot.settle(layout))
    assert Path(f"{layout.kept}/release").read_text() == kept
    assert not Path(layout.unproven).exists()


def test_a_link_that_led_nowhere_is_not_kept(layout: Layout) -> None:
    link(layout.current, "0.0.9")
    take(layout)
    link(layout.current, "0.1.0")
    run(snapshot.settle(layout))
    assert not Path(layout.unproven).exists()
    assert not Path(layout.kept).exists()


def test_an_installation_of_somebody_else_is_kept(layout: Layout) -> None:
    Path(layout.current).unlink()
    Path(layout.command).unlink()
    write(layout.command, "theirs", 0o755)
    take(layout)
    link(layout.command, layout.binary)
    link(layout.current, "0.1.0")
    run(snapshot.settle(layout))
    assert Path(f"{layout.kept}/files/7").read_text() == "theirs"


def test_settling_where_nothing_is_under_way(layout: Layout) -> None:
    before = tree(layout)
    run(snapshot.settle(layout))
    assert tree(layout) == before


def test_a_cut_off_snapshot_is_none(layout: Layout) -> None:
    write(f"{layout.unproven}.new/files/0", "half")
    before = tree(layout)
    assert run(snapshot.put_back(layout, "supervisor")) == ["nothing"]
    take(layout)
    change(layout)
    run(snapshot.put_back(layout, "supervisor", created=[NEW]))
    assert {path: e for path, e in before.items() if "unproven.new" not in path} == tree(layout)
