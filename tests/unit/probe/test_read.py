"""The probe's script run by a real shell, and its parser fed with what no script would print."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe.read import MARKER, ProbeError, parse, script
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.sections.release import STAMP

REQUEST = ProbeRequest(Layout.of("user"))


def lines(home: Path, request: ProbeRequest = REQUEST) -> list[str]:
    """What the script prints on this machine for an account with another home."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(home / "run")}
    done = subprocess.run(
        ["sh", "-c", script(request)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def read(home: Path, request: ProbeRequest = REQUEST) -> HostState:
    return parse(lines(home, request), request)[0]


def model(home: Path, name: str, layers: dict[str, bytes]) -> None:
    """Store a model the way a server does."""
    folder = home / ".ollama/models"
    described = []
    for kind, content in {**layers, "config": b"{}"}.items():
        digest = hashlib.sha256(content).hexdigest()
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        (folder / f"blobs/sha256-{digest}").write_bytes(content)
        described.append({"mediaType": f"x.{kind}", "digest": f"sha256:{digest}", "size": len(content)})
    path = folder / "manifests/registry.ollama.ai/library" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = {"schemaVersion": 2, "config": described.pop(), "layers": described}
    path.write_text(json.dumps(manifest))


def test_empty_home(tmp_path: Path) -> None:
    state = read(tmp_path)
    assert state.platform.home == str(tmp_path)
    assert state.platform.uid == os.getuid()
    assert state.platform.architecture == os.uname().machine
    assert not state.platform.user_manager
    assert state.release.versions == {}
    assert state.release.current is None
    assert state.store.models == ()
    assert state.service.active == "inactive"
    assert state.service.environment is None


def test_layout_comes_back_with_the_home(tmp_path: Path) -> None:
    _, layout = parse(lines(tmp_path), REQUEST)
    assert layout.releases == f"{tmp_path}/.local/opt/ollama"
    assert layout.models == f"{tmp_path}/.ollama/models"


def test_models_and_small_blobs(tmp_path: Path) -> None:
    weights = b"w" * 20_000
    model(tmp_path, "reasoner/latest", {"model": weights, "params": b'{"num_ctx":512}'})
    (tmp_path / ".ollama/models/blobs/sha256-unfinished-partial").write_text("x")
    state = read(tmp_path)
    (stored,) = state.store.models
    assert stored.name.short == "reasoner:latest"
    digest = f"sha256:{hashlib.sha256(weights).hexdigest()}"
    assert state.store.blob_sizes[digest] == len(weights)
    assert digest not in state.store.small_blobs
    assert b'{"num_ctx":512}' in state.store.small_blobs.values()
    assert not any("partial" in name for name in state.store.blob_sizes)


def test_what_a_broken_download_has_left(tmp_path: Path) -> None:
    model(tmp_path, "reasoner/latest", {"model": b"w"})
    partial = tmp_path / ".ollama/models/blobs" / f"sha256-{'a' * 64}-partial"
    with partial.open("wb") as file:
        file.write(b"w" * 100_000)
        file.truncate(50_000_000)
    partial.with_name(f"{partial.name}-0").write_text("{}")
    archive = tmp_path / ".local/opt/ollama/.download" / f"{'b' * 16}-ollama-linux-amd64.tar.zst.part"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"x" * 77)

    state = read(tmp_path)
    (there,) = state.store.partial_sizes.items()
    assert there[0] == f"sha256:{'a' * 64}"
    assert 100_000 <= there[1] < 1_000_000
    assert state.release.downloads == {f"{'b' * 16}-ollama-linux-amd64.tar.zst": 77}


def test_free_space_is_that_of_the_nearest_directory_there_is(tmp_path: Path) -> None:
    request = ProbeRequest(Layout.of("user", "/proc/no such/place"))
    state = read(tmp_path, request)
    there, proc = state.disks[f"{tmp_path}/.local/opt/ollama"], state.disks["/proc/no such/place"]
    space = os.statvfs(tmp_path)
    assert 0 < there.free <= space.f_blocks * space.f_frsize
    assert there.number == str(tmp_path.stat().st_dev)
    assert (proc.number, proc.free) == (str(Path("/proc").stat().st_dev), 0)


def test_files_that_are_no_models_are_passed_over(tmp_path: Path) -> None:
    model(tmp_path, "reasoner/latest", {"model": b"w"})
    for stray in (".DS_Store", "library/a b/c", "one"):
        path = tmp_path / ".ollama/models/manifests/registry.ollama.ai" / stray
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert [stored.name.short for stored in read(tmp_path).store.models] == ["reasoner:latest"]


def test_models_directory_with_a_difficult_name(tmp_path: Path) -> None:
    odd = 'it\'s $HOME `id` "x" %h'
    (tmp_path / odd).mkdir()
    request = ProbeRequest(Layout.of("user", f"{tmp_path}/{odd}"))
    state = read(tmp_path, request)
    assert state.files[f"{tmp_path}/{odd}"].kind == "directory"


def test_release_and_its_evidence(tmp_path: Path) -> None:
    binary = tmp_path / ".local/opt/ollama/0.24.0/bin/ollama"
    binary.parent.mkdir(parents=True)
    binary.write_text("#!/bin/sh\n")
    (tmp_path / ".local/opt/ollama/current").symlink_to("0.24.0")
    (binary.parents[1] / STAMP).write_text("stamp of it")
    first = read(tmp_path).release
    assert (first.current, first.versions["0.24.0"].stamp) == ("0.24.0", "stamp of it")
    evidence = first.versions["0.24.0"].evidence
    assert read(tmp_path).release.versions["0.24.0"].evidence == evidence
    binary.write_text("#!/bin/sh\n#\n")
    assert read(tmp_path).release.versions["0.24.0"].evidence != evidence


def test_somebody_elses_binary(tmp_path: Path) -> None:
    command = tmp_path / ".local/bin/ollama"
    command.parent.mkdir(parents=True)
    command.write_text(
        "#!/bin/sh\necho 'Warning: could not connect'\necho 'Warning: client version is 0.11.4'\n"
    )
    command.chmod(0o755)
    foreign = read(tmp_path).release.foreign
    assert foreign is not None
    assert (foreign.path, foreign.version) == (str(command), "0.11.4")


def test_file_contents_byte_for_byte(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5
    unit = tmp_path / ".config/systemd/user/ollama.service"
    unit.parent.mkdir(parents=True)
    unit.write_bytes(content)
    unit.chmod(0o640)
    there = read(tmp_path).files[str(unit)]
    assert (there.kind, there.mode, there.content) == ("file", 0o640, content)


def test_supervised_process_and_its_environment(tmp_path: Path) -> None:
    state, settings = tmp_path / ".local/state/ollama-fleet", tmp_path / ".config/ollama-fleet"
    for folder in (state, settings):
        folder.mkdir(parents=True)
    (settings / "environment").write_text("# ours\nOLLAMA_HOST=x\nHTTPS_PROXY=x\n")
    variables = {"OLLAMA_HOST": "a=b 'c'", "HTTPS_PROXY": "http://me:secret@proxy", "OTHER": "not ours"}
    server = tmp_path / "bin/ollama"
    server.parent.mkdir()
    server.write_text("#!/bin/sh\nread never\n")
    server.chmod(0o755)
    process = subprocess.Popen(
        [server, "serve"], stdin=subprocess.PIPE, env={"PATH": os.environ["PATH"], **variables}
    )
    try:
        (state / "server.pid").write_text(str(process.pid))
        printed = lines(tmp_path)
    finally:
        process.kill()
        process.communicate()
    service = parse(printed, REQUEST)[0].service
    assert (service.load, service.active, service.pid) == ("supervised", "active", process.pid)
    assert service.environment == {"OLLAMA_HOST": "a=b 'c'"}
    # What may hold a secret comes as a hash, and what we did not set does not come at all.
    assert service.environment_hashes == {
        "HTTPS_PROXY": hashlib.sha256(variables["HTTPS_PROXY"].encode()).hexdigest()
    }
    assert not any("secret" in line or "not ours" in line for line in printed)
    assert read(tmp_path).service.active == "inactive"


def test_number_that_belongs_to_another_process_by_now(tmp_path: Path) -> None:
    state = tmp_path / ".local/state/ollama-fleet"
    state.mkdir(parents=True)
    (state / "server.pid").write_text(str(os.getpid()))
    assert read(tmp_path).service.active == "inactive"


@lru_cache
def genuine() -> tuple[str, ...]:
    """One real answer, to be damaged."""
    import tempfile

    with tempfile.TemporaryDirectory() as home:
        model(Path(home), "reasoner/latest", {"model": b"w", "params": b"{}"})
        return tuple(lines(Path(home)))


def test_cut_off_is_told() -> None:
    with pytest.raises(ProbeError, match="cut off"):
        parse(list(genuine())[:-1], REQUEST)
    with pytest.raises(ProbeError, match="cut off"):
        parse([], REQUEST)


SECTIONS = ("platform", "files", "accounts", "release", "service", "firewall", "models", "devices")
TAGS = (
    "stat", "content", "sha256", "user", "member", "group", "uid", "home", "current", "version", "evidence", "command",
    "foreign", "supervised", "runs_as", "environ", "Id=", "MainPID=", "file", "ufw", "ufw6", "nft", "looked", "blob",
    "tar", "memory", "smi",
)  # fmt: skip
LINE = st.one_of(
    st.text(max_size=60).filter(lambda line: "\n" not in line),
    st.builds("{} {}".format, st.sampled_from(TAGS), st.text(max_size=40)),
    st.sampled_from(TAGS),
    st.sampled_from(SECTIONS).map(lambda name: f"{MARKER} {name}"),
)


@given(st.lists(LINE, max_size=20))
def test_garbage_is_refused_in_one_way(garbage: list[str]) -> None:
    _parsed_or_refused([*garbage, f"{MARKER} end"], REQUEST)


@given(st.data())
def test_damaged_answers_are_refused_in_one_way(data: st.DataObject) -> None:
    damaged = list(genuine())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.sampled_from(["drop", "double", "cut", "replace", "insert"])):
            case "drop":
                del damaged[at]
            case "double":
                damaged.insert(at, damaged[at])
            case "cut":
                damaged[at] = damaged[at][: data.draw(st.integers(0, 40))]
            case "replace":
                damaged[at] = data.draw(LINE)
            case _:
                damaged.insert(at, data.draw(LINE))
    _parsed_or_refused(damaged, REQUEST)


@given(st.sampled_from(SECTIONS), st.lists(LINE, max_size=6))
def test_one_bad_section_is_refused_in_one_way(section: str, garbage: list[str]) -> None:
    request = ProbeRequest(Layout.of("system"))
    platform = [line for line in genuine() if line != f"{MARKER} end"]
    _parsed_or_refused([*platform, f"{MARKER} {section}", *garbage, f"{MARKER} end"], request)


def _parsed_or_refused(answer: list[str], request: ProbeRequest) -> None:
    with contextlib.suppress(ProbeError):
        state, _ = parse(answer, request)
        assert isinstance(state, HostState)
