"""Several servers on one host: which has which card, which port, which form of a model, and what goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.deploys.source import load_templates, published
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.hardware.device import Device
from ollama_fleet.operations.retirement import retirement_script
from ollama_fleet.outputs.plans import planned_host
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_plan import HostPlan, plan_host
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.retirement import retirement
from ollama_fleet.planner.slots import Note, declared_slots, note_of, slots_of
from ollama_fleet.planner.state import FileState, HostState, ModelStore, ServiceState, StoredModel
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec
from unit.planner.states import FRESH
from unit.planner.test_host_plan import LOCK

KINDS = ("rtx-4090", "rtx-4060-ti-16gb", "rtx-3090", "rtx-4060-ti-16gb")
MODELS_DIR = "/srv/models"


def card(number: int, kind: str, index: int | None = None) -> Device:
    """A card that the driver tells of; its UUID follows from `number`."""
    uuid = f"GPU-00000000-0000-4000-8000-{number:012d}"
    declared = Device.declared(kind, number if index is None else index)
    return replace(declared, uuid=uuid, memory_free=declared.memory_total)


def cards(*kinds: str) -> list[Device]:
    return [card(number, kind) for number, kind in enumerate(kinds)]


def host(**more: Any) -> HostSpec:
    document = {
        "version": 1,
        "release": {"version": "0.24.0"},
        "models": {
            "reasoner": {"from": "registry.lan:5000/library/tiny", "num_ctx": 512, "num_gpu": 0},
            "other": {
                "from": "registry.lan:5000/library/tiny",
                "num_ctx": 512,
                "num_gpu": 0,
                "per_gpu": {"rtx-4060-ti-16gb": {"num_ctx": 256}},
            },
        },
        "hosts": {"h": {"models": ["reasoner", "other"], "models_dir": MODELS_DIR, **more}},
    }
    return Fleet.parse(json.dumps(document), catalogue().keys()).host("h")


def plan(spec: HostSpec, state: HostState) -> HostPlan:
    templates = load_templates(Path("/nonexistent"))
    layout = Layout.of("system", MODELS_DIR)
    lock = Lock.loads(LOCK.encode())
    return plan_host(spec, lock, frozenset({"registry.lan:5000"}), templates, {}, state, layout)


def with_cards(found: Sequence[Device], note: str = "") -> HostState:
    layout = Layout.of("system", MODELS_DIR)
    files = {layout.instance_note: FileState("file", 0o644, "root", "root", note.encode())} if note else {}
    return replace(FRESH, devices=tuple(found), files=files)


def ports(spec: HostSpec, found: Sequence[Device], note: str = "") -> dict[str | None, tuple[str, int]]:
    """By the UUID of a card the name and the port of its instance."""
    slots = slots_of(spec, found, None, Note.parse(note.encode()))
    return {slot.devices[0].uuid: (slot.name, slot.port) for slot in slots}


def note_for(spec: HostSpec, found: Sequence[Device], note: str = "") -> str:
    return note_of(slots_of(spec, found, None, Note.parse(note.encode())), spec.listen.port)


def test_each_card_gets_a_server_bound_to_it_by_uuid() -> None:
    found = plan(host(instances="per-gpu"), with_cards(cards(*KINDS)))

    assert [(one.name, one.port) for one in found.instances] == [
        ("rtx-4090", 11434),
        ("rtx-4060-ti-16gb", 11435),
        ("rtx-3090", 11436),
        ("rtx-4060-ti-16gb-2", 11437),
    ]
    for number, one in enumerate(found.instances):
        environment = one.service.environment
        assert environment["CUDA_VISIBLE_DEVICES"] == card(number, KINDS[number]).uuid
        assert environment["OLLAMA_HOST"] == f"127.0.0.1:{11434 + number}"
        assert environment["OLLAMA_MODELS"] == MODELS_DIR
    # One of them tidies up what no model uses; the others must not, while it pulls.
    assert ["OLLAMA_NOPRUNE" in one.service.environment for one in found.instances] == [
        False,
        True,
        True,
        True,
    ]
    units = [item.name for item in found.items() if item.kind == "service"]
    assert units == [f"ollama@{one.name}" for one in found.instances]
    paths = {item.path for item in found.files}
    assert "/etc/systemd/system/ollama@.service" in paths
    assert "/etc/systemd/system/ollama.service" not in paths


def test_a_model_has_one_name_where_all_make_the_same_of_it_and_one_for_each_form_where_not() -> None:
    found = plan(host(instances="per-gpu"), with_cards(cards(*KINDS)))

    served = {one.name: [model.name for model in one.models] for one in found.instances}
    assert served == {
        "rtx-4090": ["reasoner:latest", "other:latest"],
        "rtx-4060-ti-16gb": ["reasoner:latest", "other:rtx-4060-ti-16gb"],
        "rtx-3090": ["reasoner:latest", "other:latest"],
        "rtx-4060-ti-16gb-2": ["reasoner:latest", "other:rtx-4060-ti-16gb"],
    }


@settings(deadline=None, max_examples=12)
@given(st.permutations(range(len(KINDS))))
def test_other_indices_change_nothing(order: list[int]) -> None:
    spec = host(instances="per-gpu")
    note = note_for(spec, cards(*KINDS))
    moved = [card(number, KINDS[number], index) for index, number in enumerate(order)]

    assert ports(spec, moved, note) == ports(spec, cards(*KINDS))
    before, after = plan(spec, with_cards(cards(*KINDS), note)), plan(spec, with_cards(moved, note))
    assert [one.service.environment for one in before.instances] == [
        one.service.environment for one in after.instances
    ]
    assert [item.content for item in before.files] == [item.content for item in after.files]


def test_a_card_that_goes_takes_its_server_along_and_a_new_one_gets_what_is_free() -> None:
    spec = host(instances="per-gpu")
    there = cards(*KINDS)
    note = note_for(spec, there)

    left = [*there[:1], *there[2:]]
    assert ports(spec, left, note) == {
        uuid: slot for uuid, slot in ports(spec, there).items() if uuid != there[1].uuid
    }
    swapped = [card(9, "rtx-2080-ti-22gb"), *left]
    found = ports(spec, swapped, note)
    assert found.pop(swapped[0].uuid) == ("rtx-2080-ti-22gb", 11435)
    assert found == ports(spec, left, note)


def test_declared_cards_give_names_and_ports_and_the_note_tells_two_of_a_kind_apart() -> None:
    spec = host(instances="per-gpu", gpus=["rtx-4060-ti-16gb", "rtx-4060-ti-16gb", "rtx-4090"])
    one, two, three = card(5, "rtx-4060-ti-16gb"), card(6, "rtx-4060-ti-16gb"), card(7, "rtx-4090")
    first = ports(spec, [three, one, two])

    assert first == {
        one.uuid: ("rtx-4060-ti-16gb", 11434),
        two.uuid: ("rtx-4060-ti-16gb-2", 11435),
        three.uuid: ("rtx-4090", 11436),
    }
    assert ports(spec, [two, three, one], note_for(spec, [three, one, two])) == first
    offline = declared_slots(spec)
    assert offline is not None
    assert [(slot.name, slot.port) for slot in offline] == list(first.values())
    with pytest.raises(PlanError, match="rtx-4090 declared, but found: NVIDIA GeForce RTX 4060 Ti"):
        ports(spec, [one, two])


def test_a_listed_card_that_is_gone_is_an_error_that_names_what_is_there() -> None:
    one, two = cards("rtx-4090", "rtx-3090")
    spec = host(
        instances=[
            {"name": "big", "devices": [one.uuid]},
            {"name": "small", "devices": [two.uuid], "port": 9000},
        ]
    )

    assert ports(spec, [two, one]) == {one.uuid: ("big", 11434), two.uuid: ("small", 9000)}
    with pytest.raises(PlanError) as caught:
        ports(spec, [one])
    assert str(caught.value).endswith(
        f"the instance small has {two.uuid}, which is not there; there is {one.uuid} (rtx-4090)"
    )
    assert str(caught.value).startswith("fleet.yaml:")


def test_a_listed_instance_has_its_own_variables_and_models_and_the_cpu_one_no_card() -> None:
    spec = host(
        env={"OLLAMA_NUM_PARALLEL": 2},
        instances=[
            {
                "name": "gpu",
                "devices": ["rtx-4090"],
                "models": ["reasoner"],
                "env": {"OLLAMA_NUM_PARALLEL": None},
            },
            {"name": "cpu", "devices": [], "models": ["other"], "env": {"OLLAMA_KEEP_ALIVE": "1h"}},
        ],
    )
    gpu, cpu = plan(spec, with_cards(cards("rtx-4090"))).instances

    assert [model.name for model in (*gpu.models, *cpu.models)] == ["reasoner:latest", "other:latest"]
    assert "OLLAMA_NUM_PARALLEL" not in gpu.service.environment
    assert cpu.service.environment["OLLAMA_NUM_PARALLEL"] == "2"
    assert cpu.service.environment["OLLAMA_KEEP_ALIVE"] == "1h"
    assert cpu.service.environment["CUDA_VISIBLE_DEVICES"] == "-1"


def test_from_one_server_to_several_and_back_the_units_of_before_go() -> None:
    running = ServiceState(
        load="loaded", active="active", enabled="enabled", fragment="/etc/systemd/system/ollama.service"
    )
    ours = FileState("file", 0o644, "root", "root", b"# Written by ollama-fleet")
    alone = replace(
        with_cards(cards("rtx-4090", "rtx-3090")),
        service=running,
        files=dict.fromkeys(("/etc/systemd/system/ollama.service", "/etc/ollama-fleet/environment"), ours),
    )
    several = plan(host(instances="per-gpu"), alone)
    (gone,) = several.gone
    assert gone.name == "ollama"
    assert {difference.aspect for difference in gone.differences(alone)} == {
        "running",
        "enabled",
        "file /etc/systemd/system/ollama.service",
        "file /etc/ollama-fleet/environment",
    }

    both = replace(
        alone, service=ServiceState(), files={}, instances={"rtx-3090": running, "rtx-4090": running}
    )
    back = plan(host(), both)
    assert [item.name for item in back.gone] == ["ollama@rtx-3090", "ollama@rtx-4090"]
    assert (
        plan(host(instances="per-gpu"), replace(both, devices=both.devices[:1])).gone[0].name
        == "ollama@rtx-3090"
    )


def test_the_ports_of_all_servers_are_opened_and_no_other() -> None:
    open_to = {"listen": "0.0.0.0:11434", "firewall": {"allow_from": ["10.0.0.0/24"]}}
    found = plan(host(instances="per-gpu", **open_to), with_cards(cards("rtx-4090", "rtx-3090"))).firewall

    assert found is not None
    assert found.ports == (11434, 11435)
    assert found.name == "ports 11434, 11435"


def test_names_of_forms_follow_the_devices_and_mean_the_same_everywhere() -> None:
    models = {"reasoner": {"from": "deepseek-r1:14b", "num_ctx": 16384, "num_gpu": "auto"}}
    models["reasoner"]["per_gpu"] = {"rtx-4060-ti-16gb": {"num_ctx": 8192}}
    document = {
        "version": 1,
        "release": {"version": "0.32.15"},
        "models": models,
        "hosts": {"h": {"models": ["reasoner"], "gpus": list(KINDS), "instances": "per-gpu"}},
    }
    fleet = Fleet.parse(json.dumps(document), catalogue().keys(), published=published)

    planned = planned_host(fleet.host("h"), Lock())

    assert [(one.name, one.instance) for one in planned.served] == [
        ("reasoner:latest", "rtx-4090"),
        ("reasoner:rtx-4060-ti-16gb", "rtx-4060-ti-16gb"),
        ("reasoner:latest", "rtx-3090"),
        ("reasoner:rtx-4060-ti-16gb", "rtx-4060-ti-16gb-2"),
    ]
    assert [item.decision.num_ctx for item in planned.decided] == [16384, 8192, 16384, 8192]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), max_size=6, unique_by=lambda one: one[0]),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_cards_come_and_go_who_stays_keeps_name_and_port(
    history: list[list[tuple[int, int]]],
) -> None:
    """Each round is the cards of one apply, in the driver's order: number, and one of two kinds that it is of."""
    spec = host(instances="per-gpu")
    note = ""
    before: dict[str | None, tuple[str, int]] = {}
    for there in history:
        found = [card(number + 10 * kind, KINDS[kind], index) for index, (number, kind) in enumerate(there)]
        if not found:
            with pytest.raises(PlanError, match="no GPU was found"):
                ports(spec, found, note)
            continue
        now = ports(spec, found, note)
        assert len({name for name, _ in now.values()}) == len(found)
        assert len({port for _, port in now.values()}) == len(found)
        assert {uuid: slot for uuid, slot in now.items() if uuid in before} == {
            uuid: slot for uuid, slot in before.items() if uuid in now
        }
        note, before = note_for(spec, found, note), now


def test_a_host_that_is_retired_loses_every_server_and_every_form_of_its_models() -> None:
    layout = Layout.of("system", MODELS_DIR)
    environment = layout.for_instance("rtx-4090").environment
    note = b"first 11434\ninstance rtx-4090 11440 GPU-1\n"
    state = replace(
        with_cards(cards("rtx-4090", "rtx-4060-ti-16gb")),
        instances={"rtx-4090": ServiceState(load="loaded", active="active", enabled="enabled")},
        files={
            environment: FileState("file", 0o600, "root", "root"),
            layout.instance_unit: FileState("file", 0o644, "root", "root"),
            layout.instance_note: FileState("file", 0o644, "root", "root", note),
        },
        store=ModelStore(
            models=tuple(
                StoredModel(ModelName.parse(name), b"{}")
                for name in ("other:rtx-4060-ti-16gb", "reasoner", "somebody-elses")
            )
        ),
    )

    plan_ = retirement(host(instances="per-gpu"), state, layout)

    assert "service ollama@rtx-4090: stopped" in plan_.goes
    assert {environment, layout.instance_unit} <= set(plan_.files)
    assert [stored.name.short for stored in plan_.models.going] == [
        "other:rtx-4060-ti-16gb",
        "reasoner:latest",
    ]
    script = retirement_script(plan_, state)
    assert "systemctl disable --now --quiet ollama@rtx-4090.service" in script


@pytest.mark.parametrize("several", [True, False])
def test_a_unit_of_somebody_else_runs_again_where_several_took_its_place(several: bool) -> None:
    layout = Layout.of("system", MODELS_DIR)
    theirs = FileState("file", 0o644, "root", "root", b"[Service]\nExecStart=/usr/local/bin/ollama serve\n")
    mine = {"rtx-4090": ServiceState(load="loaded", active="active", enabled="enabled")} if several else {}
    state = replace(with_cards(cards("rtx-4090")), instances=mine, files={layout.unit: theirs})

    plan_ = retirement(host(instances="per-gpu"), state, layout)
    script = retirement_script(plan_, state)

    assert plan_.foreign_unit
    # One that somebody has stopped, and whose place nobody took, stays stopped.
    assert ("systemctl enable --quiet ollama.service" in script) is several
    assert ("systemctl restart ollama.service" in script) is several
