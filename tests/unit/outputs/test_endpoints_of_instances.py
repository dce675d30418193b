"""Where several servers of a host answer, and what is said where only the host knows its cards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.measured import Measurement, Measurements, Terms
from ollama_fleet.deploys.surveyed import Surveyed
from ollama_fleet.outputs.endpoints import Endpoint, endpoints_of
from ollama_fleet.outputs.report.content import content_of
from unit.planner.test_host_plan import LOCK
from unit.planner.test_instances import card, cards, host, plan, with_cards

UUID = card(0, "rtx-4090").uuid
LOCKED = Lock.loads(LOCK.encode())


def shown(found: Iterable[Endpoint]) -> list[tuple[str, int, list[str]]]:
    return [
        (one.instance, int(one.url.rpartition(":")[2]), [model.name for model in one.models]) for one in found
    ]


def test_declared_cards_tell_every_server_and_the_names_there() -> None:
    found = endpoints_of(host(instances="per-gpu", gpus=["rtx-4090", "rtx-4060-ti-16gb"]), LOCKED)

    assert shown(found) == [
        ("rtx-4090", 11434, ["reasoner", "other"]),
        ("rtx-4060-ti-16gb", 11435, ["reasoner", "other:rtx-4060-ti-16gb"]),
    ]
    assert all(one.complete for one in found)


def test_cards_that_only_the_host_knows_leave_the_first_server_with_what_is_the_same_on_all() -> None:
    (one,) = endpoints_of(host(instances="per-gpu"), LOCKED)

    assert shown([one]) == [("", 11434, ["reasoner"])]
    assert (one.complete, one.left_out) == (False, ("other",))


def test_a_list_tells_its_servers_whatever_their_cards_are() -> None:
    listed = [
        {"name": "large", "devices": [UUID], "port": 11500, "models": ["reasoner"]},
        {"name": "small", "devices": [card(1, "rtx-3090").uuid]},
    ]
    found = endpoints_of(host(instances=listed), LOCKED)

    assert shown(found) == [("large", 11500, ["reasoner"]), ("small", 11435, ["reasoner"])]
    assert [one.left_out for one in found] == [(), ("other",)]
    assert [one.complete for one in found] == [True, False]


@pytest.mark.parametrize("more", [{}, {"gpus": ["rtx-4060-ti-16gb", "rtx-4090"]}])
def test_a_page_of_live_hosts_has_every_server(more: dict[str, Any]) -> None:
    spec = host(instances="per-gpu", **more)
    state = with_cards(cards("rtx-4060-ti-16gb", "rtx-4090"))

    (content,) = content_of([spec], LOCKED, [Surveyed("h", plan(spec, state), state, None)]).hosts

    assert shown(content.endpoints) == [
        ("rtx-4060-ti-16gb", 11434, ["reasoner", "other:rtx-4060-ti-16gb"]),
        ("rtx-4090", 11435, ["reasoner", "other"]),
    ]
    assert all(one.complete for one in content.endpoints)


def test_what_was_measured_on_a_card_stands_beside_the_server_that_has_one() -> None:
    terms = Terms(weights=1 << 30, kv=1 << 30, compute=1 << 30)
    seen = Measurement(
        model="x", num_gpu=1, num_ctx=512, kv_cache_type="f16", planned=terms, observed=terms, beside=0
    )
    measured = Measurements().with_one("sha256:" + "d" * 64, "0.24.0", "rtx-3090", seen)
    spec = host(instances="per-gpu", gpus=["rtx-4090", "rtx-3090"])

    (content,) = content_of([spec], LOCKED.with_measured(measured)).hosts

    assert [(model.name, model.measured is not None) for model in content.models] == [
        ("reasoner on rtx-4090", False),
        ("other on rtx-4090", False),
        ("reasoner on rtx-3090", True),
        ("other on rtx-3090", True),
    ]
