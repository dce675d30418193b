"""Several servers on a Windows host: a task and a start script each, and what of an earlier arrangement goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.deploys.source import load_templates
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_plan import HostPlan, plan_host
from ollama_fleet.planner.items.windows.service import WindowsService
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import FileState, HostState, Platform, ServiceState
from ollama_fleet.planner.windows import task
from ollama_fleet.planner.windows.retirement import windows_retirement
from ollama_fleet.planner.windows.state import TaskState, WindowsState
from ollama_fleet.probe.windows.task import parse
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec
from unit.planner.test_host_plan import LOCK
from unit.planner.test_instances import card, cards

PLATFORM = Platform("amd64", "Windows", "fleet", "", 0, "C:\\", frozenset(), False, False, False, False)
KINDS = ("rtx-4090", "rtx-4060-ti-16gb")
MODELS_DIR = "D:\\Models"
LAYOUT = Layout.of("windows", MODELS_DIR)
REGISTRY = "registry.lan"
LOCKED = LOCK.replace("linux-amd64", "windows-amd64").replace("registry.lan:5000", REGISTRY)


def windows(**more: Any) -> HostSpec:
    document = {
        "version": 1,
        "release": {"version": "0.24.0"},
        "models": {
            "reasoner": {"from": f"{REGISTRY}/library/tiny", "num_ctx": 512, "num_gpu": 0},
            "other": {
                "from": f"{REGISTRY}/library/tiny",
                "num_ctx": 512,
                "num_gpu": 0,
                "per_gpu": {"rtx-4060-ti-16gb": {"num_ctx": 256}},
            },
        },
        "hosts": {"h": {"os": "windows", "models": ["reasoner", "other"], "models_dir": MODELS_DIR, **more}},
    }
    return Fleet.parse(json.dumps(document), catalogue().keys()).host("h")


def plan(spec: HostSpec, state: HostState) -> HostPlan:
    templates = load_templates(Path("/nonexistent"))
    lock = Lock.loads(LOCKED.encode())
    return plan_host(spec, lock, frozenset({REGISTRY}), templates, {}, state, LAYOUT)


def there(found: Sequence[Device], *names: str) -> HostState:
    """A host with these servers; the empty name is the only one of a host."""
    own = {name: LAYOUT.for_instance(name) if name else LAYOUT for name in names}
    known = {
        name: TaskState(enabled=True, running=True, definition=task.definition(layout.environment))
        for name, layout in own.items()
    }
    return HostState(
        PLATFORM,
        files={
            layout.environment: FileState("file", 0, "", "", sha256=name or "only")
            for name, layout in own.items()
        },
        service=ServiceState("loaded", "active", "enabled", 1) if "" in names else ServiceState(),
        instances={name: ServiceState("loaded", "active", "enabled", 2) for name in names if name},
        devices=tuple(found),
        windows=WindowsState(
            variables={"OLLAMA_NOPRUNE": "1"},
            task=known.get(""),
            tasks={name: one for name, one in known.items() if name},
        ),
    )


def test_each_card_has_a_task_and_a_script_bound_to_it_by_uuid() -> None:
    found = plan(windows(instances="per-gpu"), there(cards(*KINDS)))

    assert [(one.name, one.port, one.layout.task) for one in found.instances] == [
        ("rtx-4090", 11434, "Ollama-rtx-4090"),
        ("rtx-4060-ti-16gb", 11435, "Ollama-rtx-4060-ti-16gb"),
    ]
    scripts = {item.path.rpartition("\\")[2]: item.content.decode("utf-8-sig") for item in found.files}
    assert set(scripts) == {"serve-rtx-4090.ps1", "serve-rtx-4060-ti-16gb.ps1", "instances"}
    for number, one in enumerate(found.instances):
        text = scripts[f"serve-{one.name}.ps1"]
        uuid = card(number, KINDS[number]).uuid
        assert f"('CUDA_VISIBLE_DEVICES', '{uuid}')" in text
        assert f"('OLLAMA_HOST', '127.0.0.1:{11434 + number}')" in text
        assert f"'\\server-{one.name}.log'" in text
        assert f"\\Fleet\\Ollama-{one.name}," in text
        service = one.service
        assert isinstance(service, WindowsService)
        assert f"serve-{one.name}.ps1" in service.xml
    assert [[model.name for model in one.models] for one in found.instances] == [
        ["reasoner:latest", "other:latest"],
        ["reasoner:latest", "other:rtx-4060-ti-16gb"],
    ]
    assert found.gone == ()


def test_what_the_whole_system_has_is_the_first_ones_address_and_what_all_have_alike() -> None:
    instances = [
        {"name": "a", "devices": ["rtx-4090"], "env": {"OLLAMA_NUM_PARALLEL": 4}},
        {"name": "b", "devices": ["rtx-4060-ti-16gb"]},
    ]
    env = {"OLLAMA_NUM_PARALLEL": 2, "OLLAMA_KEEP_ALIVE": "5m"}
    found = plan(windows(instances=instances, env=env), there(cards(*KINDS)))
    assert {one.name: one.value for one in found.variables} == {
        "OLLAMA_HOST": "127.0.0.1:11434",
        "OLLAMA_KEEP_ALIVE": "5m",
        "OLLAMA_MODELS": MODELS_DIR,
        "OLLAMA_NOPRUNE": None,
    }


def test_from_one_server_to_several_and_back_the_others_go() -> None:
    several = plan(windows(instances="per-gpu"), there(cards(*KINDS), ""))
    assert [one.name for one in several.gone] == ["ollama"]
    assert [str(one) for one in several.gone[0].differences(there(cards(*KINDS), ""))] == [
        "task: present → absent",
        "running: active → stopped",
        f"file {LAYOUT.environment}: present → absent",
    ]
    state = there(cards(*KINDS), "rtx-4090", "left")
    fewer = plan(windows(instances="per-gpu"), state)
    assert [one.name for one in fewer.gone] == ["ollama@left"]
    alone = plan(windows(), state)
    assert [one.name for one in alone.gone] == ["ollama@left", "ollama@rtx-4090"]
    assert LAYOUT.instance_note in alone.gone[-1].files
    assert [one.layout.task for one in alone.instances] == ["Ollama"]


def test_a_card_that_is_gone_is_an_error_that_names_those_that_are_there() -> None:
    gone = card(7, "rtx-4090").uuid
    with pytest.raises(PlanError, match=f"{gone}, which is not there; there are .*rtx-4090.*rtx-4060"):
        plan(windows(instances=[{"name": "a", "devices": [gone]}]), there(cards(*KINDS)))


def test_a_tray_app_whose_server_is_stopped_has_all_servers_started_again() -> None:
    state = there(cards(*KINDS), "rtx-4090", "rtx-4060-ti-16gb")
    assert state.windows is not None
    state = replace(state, windows=replace(state.windows, tray_apps=1))
    found = plan(windows(instances="per-gpu"), state)
    assert all("tray app" in one.service.restart_because for one in found.instances)


def test_retire_removes_each_task() -> None:
    found = windows_retirement(windows(instances="per-gpu"), there(cards(*KINDS), "", "left"), LAYOUT)
    assert found.tasks == ("Ollama", "Ollama-left")
    assert "service ollama@left: stopped, the task \\Fleet\\Ollama-left removed" in found.goes


def process(number: int, parent: int, name: str, line: str) -> dict[str, Any]:
    return {"id": number, "parent": parent, "name": name, "path": f"C:\\{name}", "line": line}


def test_a_server_is_that_of_the_script_that_started_it_and_any_other_is_the_only_one() -> None:
    shells = [
        process(number, 1, "powershell.exe", f"powershell.exe {task.arguments(layout.environment)}")
        for number, layout in ((10, LAYOUT.for_instance("a")), (11, LAYOUT.for_instance("a-2")))
    ]
    servers = [
        process(20, 11, "ollama.exe", '"C:\\ollama.exe" serve'),
        process(21, 10, "ollama.exe", '"C:\\ollama.exe" serve'),
        process(22, 21, "ollama.exe", '"C:\\ollama.exe" runner --port 1'),
        process(23, 5, "ollama.exe", '"C:\\ollama.exe" serve'),
    ]
    known: dict[str, Any] = {
        "processes": [*shells, *servers],
        "tasks": [],
        "started": {"started-from-a": "AB", "started-from": "CD"},
        "files": [{"path": LAYOUT.for_instance("left").environment}, {"path": LAYOUT.environment}],
        "variables": {},
        "setups": [],
    }
    only, instances, windows_state = parse(known)
    assert only.pid == 23
    assert {name: one.pid for name, one in instances.items()} == {"a": 21, "a-2": 20, "left": 0}
    assert (windows_state.started_by("a"), windows_state.started_by("")) == ("ab", "cd")
