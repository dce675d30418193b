"""A whole plan out of fleet.yaml, fleet.lock and what a host has."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.deploys.source import load_templates
from ollama_fleet.operations.packages import INSTALL
from ollama_fleet.planner.changes import change_lines
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_plan import HostPlan, plan_host
from ollama_fleet.planner.items.release import PACKAGE_MANAGERS
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import (
    FileState,
    ForeignBinary,
    HostState,
    OtherModels,
    OtherServer,
    ReleaseState,
    ServiceState,
)
from ollama_fleet.spec.fleet import Fleet
from unit.planner.states import FRESH, PLATFORM, STUDENT

AMD64, ARM64 = "a" * 64, "b" * 64
WEIGHTS, CONFIG, PARAMS = "1" * 64, "2" * 64, "3" * 64
LOCK = f"""
version: 1
releases:
  0.24.0:
    archives:
      linux-amd64: {{url: 'https://mirror/ollama-linux-amd64.tar.zst', sha256: {AMD64}, size: 10}}
      linux-arm64: {{url: 'https://mirror/ollama-linux-arm64.tar.zst', sha256: {ARM64}, size: 10}}
models:
  registry.lan:5000/library/tiny:latest:
    digest: sha256:{"d" * 64}
    size: 1020
    config: {{architecture: llama, model_format: gguf, parameter_size: 1M, quantization: F16}}
    config_layer: {{digest: 'sha256:{CONFIG}', media_type: application/vnd.docker.container.image.v1+json, size: 10}}
    layers:
    - {{digest: 'sha256:{WEIGHTS}', media_type: application/vnd.ollama.image.model, size: 1000}}
    - {{digest: 'sha256:{PARAMS}', media_type: application/vnd.ollama.image.params, size: 10}}
    params: {{top_k: 7}}
"""
FLEET = """
version: 1
release: {version: 0.24.0}
defaults: {listen: '0.0.0.0:11434', firewall: {allow_from: [192.168.1.0/24]}, models_dir: /srv/models}
registries: {'registry.lan:5000': {insecure: true}}
models:
  reasoner: {from: 'registry.lan:5000/library/tiny', num_ctx: 512, num_gpu: 0, parameters: {temperature: 0.6}}
hosts:
  gpu-01: {address: 192.168.1.11, models: [reasoner]}
"""


def plan(state: HostState = FRESH, fleet: str = FLEET, lock: str = LOCK) -> HostPlan:
    (spec,) = Fleet.parse(textwrap.dedent(fleet)).hosts
    there = state.platform
    layout = Layout.of(spec.scope, spec.models_dir).at(there.home, there.user, there.group)
    templates = load_templates(Path("/nonexistent"))
    locked = Lock.loads(lock.encode())
    return plan_host(spec, locked, frozenset({"registry.lan:5000"}), templates, {}, state, layout)


def converged() -> HostState:
    """A host that has every file of the plan."""
    wanted = plan()
    files = {
        item.path: FileState(
            "file",
            item.mode,
            item.owner,
            item.group,
            content=item.content,
            sha256=sha256(item.content).hexdigest(),
        )
        for item in wanted.files
    }
    return replace(FRESH, files=files)


@pytest.mark.parametrize(
    ("architecture", "archive", "sha256"),
    [
        ("x86_64", "ollama-linux-amd64.tar.zst", AMD64),
        ("amd64", "ollama-linux-amd64.tar.zst", AMD64),
        ("aarch64", "ollama-linux-arm64.tar.zst", ARM64),
        ("arm64", "ollama-linux-arm64.tar.zst", ARM64),
    ],
)
def test_archive_for_the_processor(architecture: str, archive: str, sha256: str) -> None:
    state = replace(FRESH, platform=replace(PLATFORM, architecture=architecture))
    (chosen,) = plan(state).release.archives
    assert (chosen.name, chosen.sha256) == (archive, sha256)


def test_items_of_a_fresh_host() -> None:
    kinds = [item.kind for item, _ in plan().differences(FRESH)]
    assert kinds == [
        "account",
        "directory",
        "directory",
        "directory",
        "file",
        "file",
        "file",
        "file",
        "release",
        "service",
        "base",
        "model",
    ]
    assert plan().restarts


def test_every_line_of_change_names_its_item() -> None:
    wanted = plan()
    lines = list(change_lines(wanted, FRESH))
    assert "release 0.24.0: version: absent → 0.24.0" in lines
    assert "model reasoner:latest: model: absent → present" in lines
    items = {f"{item.kind} {item.name}" for item, _ in wanted.differences(FRESH)}
    assert all(any(line.startswith(item) for item in items) or line.startswith("note: ") for line in lines)


def test_same_input_same_plan() -> None:
    first, second = plan(), plan()
    assert [item.name for item in first.items()] == [item.name for item in second.items()]
    assert list(change_lines(first, FRESH)) == list(change_lines(second, FRESH))


def test_server_listens_and_stores_where_it_was_told() -> None:
    environment = plan().service.environment
    assert environment["OLLAMA_HOST"] == "0.0.0.0:11434"
    assert environment["OLLAMA_MODELS"] == "/srv/models"


def test_restart_only_for_what_the_server_reads() -> None:
    there = converged()
    files = dict(there.files)
    profile = plan().layout.profile
    files[profile] = replace(files[profile], content=b"edited")
    quiet = plan(replace(there, files=files))
    assert "file" not in quiet.service.restart_because
    drop_in = quiet.layout.drop_in
    files[drop_in] = replace(files[drop_in], content=b"edited")
    assert "file" in plan(replace(there, files=files)).service.restart_because


def test_user_scope_wants_nothing_that_needs_root() -> None:
    fleet = FLEET.replace("gpu-01: {", "gpu-01: {scope: user, ").replace("models_dir: /srv/models", "env: {}")
    wanted = plan(STUDENT, fleet)
    assert wanted.account is None
    assert wanted.firewall is None
    paths = [item.path for item in (*wanted.directories, *wanted.files, *wanted.lines)]
    assert all(path.startswith("/home/student/") for path in paths), paths
    assert any("no firewall is touched" in line for line in wanted.told)


def test_loopback_needs_no_firewall() -> None:
    fleet = FLEET.replace("listen: '0.0.0.0:11434', firewall: {allow_from: [192.168.1.0/24]},", "")
    wanted = plan(FRESH, fleet)
    assert wanted.loopback_only
    assert not any(item.kind == "firewall" for item, _ in wanted.differences(FRESH))


def test_somebody_elses_unit_stays_and_our_drop_in_overrides_it() -> None:
    unit = FileState(
        "file", 0o644, "root", "root", content=b"[Service]\nExecStart=/usr/local/bin/ollama serve\n"
    )
    state = replace(
        FRESH,
        files={"/etc/systemd/system/ollama.service": unit},
        release=ReleaseState(foreign=ForeignBinary("/usr/local/bin/ollama", "0.24.0")),
        service=ServiceState("loaded", "active", "enabled", 7, fragment="/etc/systemd/system/ollama.service"),
    )
    wanted = plan(state)
    contents = {item.path: item.content for item in wanted.files}
    assert "/etc/systemd/system/ollama.service" not in contents
    assert b'ExecStart=\nExecStart="/usr/local/bin/ollama" serve\n' in contents[wanted.layout.drop_in]
    assert wanted.release.differences(state) == []


def test_unit_that_we_made_is_ours_whatever_has_been_written_into_it() -> None:
    unit = FileState(
        "file", 0o644, "root", "root", content=b"[Service]\nExecStart=/usr/local/bin/ollama serve\n"
    )
    path = "/etc/systemd/system/ollama.service"
    note = FileState("file", 0o644, "root", "root", content=f"absent {path}\n".encode())
    state = replace(FRESH, files={path: unit, "/var/lib/ollama-fleet/before": note})
    wanted = plan(state)
    assert f"file {path}" in {f"{item.kind} {item.name}" for item, _ in wanted.differences(state)}
    assert not any("is not ours" in line for line in wanted.told)


def test_what_is_found_is_told_with_what_becomes_of_it() -> None:
    found = ServiceState(
        others=(OtherServer(7, "", ":11434"), OtherServer(8, "llm.service", "")),
        other_models=(OtherModels("/data/models", 2, 3 << 30),),
    )
    foreign = ForeignBinary("/usr/local/bin/ollama", "0.23.0")
    told = plan(replace(FRESH, service=found, release=ReleaseState(foreign=foreign))).told
    assert "process 7 runs another Ollama, on port 11434; it is left alone" in told
    assert any("llm.service runs another Ollama on the same port: it is stopped" in line for line in told)
    assert any("(0.23.0) is kept as /usr/local/bin/ollama.before-fleet" in line for line in told)
    assert any(
        "2 models (3.0 GiB) in /data/models" in line and "models_dir: /data/models" in line for line in told
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architecture": "riscv64"}, "riscv64 is no processor that Ollama is released for"),
        ({"systemd": False}, "does not run systemd"),
        ({"uid": 1000, "user": "admin"}, "admin is not root there; set `sudo: true`"),
    ],
)
def test_platform_that_cannot_be(changed: dict[str, object], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan(replace(FRESH, platform=replace(PLATFORM, **changed)))  # type: ignore[arg-type]


def test_what_is_not_locked_is_told_with_what_to_do() -> None:
    for lock in (LOCK.replace("0.24.0", "0.23.0"), LOCK.replace("library/tiny", "library/other")):
        with pytest.raises(PlanError, match="ollama-fleet lock"):
            plan(lock=lock)


def test_declared_gpu_that_is_not_there() -> None:
    fleet = FLEET.replace("models: [reasoner]", "models: [reasoner], gpus: [rtx-4090]")
    with pytest.raises(PlanError, match=r"fleet\.yaml:\d+.*rtx-4090 declared, but found: none"):
        plan(FRESH, fleet)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("FROM {{ base }}\nPARAMETER num_gpu 3\n", "writes num_gpu by itself"),
        ("FROM other\n", "FROM is 'other'"),
        ("FROM {{ base }}\nADAPTER ./x\n", "ADAPTER is not supported"),
        ("FROM {{ nothing }}\n", "line 1"),
        ("FRAM x\n", "Modelfile"),
    ],
)
def test_modelfile_template_that_will_not_do(template: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "modelfiles").mkdir()
    (tmp_path / "modelfiles/default.Modelfile.j2").write_text(template)
    (spec,) = Fleet.parse(FLEET).hosts
    layout = Layout.of("system", spec.models_dir)
    with pytest.raises(PlanError, match=message) as error:
        plan_host(spec, Lock.loads(LOCK.encode()), frozenset(), load_templates(tmp_path), {}, FRESH, layout)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tools", "uid", "missing"),
    [
        ({"zstd"}, 1000, False),
        ({"apt-get"}, 0, False),
        ({"apt-get"}, 1000, True),
        (set(), 0, True),
    ],
)
def test_archives_that_a_host_cannot_unpack_are_told_before_anything_is_touched(
    tools: set[str], uid: int, missing: bool
) -> None:
    there = replace(STUDENT.platform if uid else PLATFORM, tools=frozenset(tools))
    fleet = FLEET.replace("{address: 192.168.1.11,", "{address: 192.168.1.11, scope: user,") if uid else FLEET
    with_tgz = LOCK.replace(".tar.zst", ".tgz")
    state = replace(FRESH, platform=there)
    assert plan(state, fleet, with_tgz).host == "gpu-01"
    if missing:
        with pytest.raises(PlanError, match="zstd is missing on the host and cannot be installed from here"):
            plan(state, fleet)
    else:
        assert plan(state, fleet).host == "gpu-01"


def test_package_managers_are_those_that_bring_zstd() -> None:
    assert tuple(INSTALL) == PACKAGE_MANAGERS
