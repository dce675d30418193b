"""The page's content: the figures of the plan, what was found, and nobody's names as code."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.measured import Measurement, Measurements, Terms
from ollama_fleet.deploys.source import template_texts
from ollama_fleet.deploys.surveyed import Surveyed
from ollama_fleet.hardware.device import Device
from ollama_fleet.outputs.plans import plan_document, planned_host
from ollama_fleet.outputs.report.content import content_of
from ollama_fleet.outputs.report.page import page
from ollama_fleet.planner.render import RenderError
from ollama_fleet.spec.fleet import Fleet
from page.fleets import MADE, SMALL, fleet_of, large_fleet, large_runs, write_page
from unit.planner.states import FRESH
from unit.planner.test_host_plan import FLEET, LOCK, plan

GIB = 2**30
TERMS = ("weights", "kv", "compute", "reserve")


class Read(HTMLParser):
    """A page as a program reads it: its tags, its texts, and each model's figures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.targets: list[str] = []
        self.texts: list[str] = []
        self.figures: dict[tuple[str, str], list[tuple[str, int]]] = {}
        self._host = self._model = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.handlers += [name for name in said if name.startswith("on")]
        self.targets += [said[name] for name in ("href", "src") if name in said]
        if tag == "details" and said.get("class") == "host":
            self._host = said["id"].removeprefix("host-")
        if "data-model" in said:
            self._model = said["data-model"]
            self.figures[self._host, self._model] = []
        if "data-bytes" in said:
            self.figures[self._host, self._model].append((said["data-term"], int(said["data-bytes"])))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(tmp_path: Path, text: str = SMALL, **more: Any) -> Read:
    return Read(write_page(tmp_path / "page.html", text, **more).read_text(encoding="utf-8"))


def test_figures_are_those_of_the_plan(tmp_path: Path) -> None:
    planned = plan_document([planned_host(host, Lock()) for host in fleet_of(SMALL).hosts])

    expected: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for name, host in planned["hosts"].items():
        for placement in host["placements"]:
            figures = expected.setdefault((name, placement["model"]), [])
            for device in (placement["estimate"] or {"devices": []})["devices"]:
                figures += [(term, device[term]) for term in TERMS]
                figures.append(("free", max(device["free"] - device["total"], 0)))
            if placement["estimate"]:
                figures.append(("host", placement["estimate"]["host"]["total"]))
    assert len(expected["gpu-01", "reasoner"]) == 11
    assert expected["gpu-02", "unknown"] == []
    assert read(tmp_path).figures == expected


def test_a_bar_is_as_long_as_its_parts(tmp_path: Path) -> None:
    for host in content_of(fleet_of(SMALL).hosts, Lock()).hosts:
        for bar in (bar for model in host.models for bar in model.bars):
            assert sum(part.width for part in bar.parts) == pytest.approx(1000, abs=0.1)
            for before, after in zip(bar.parts, bar.parts[1:], strict=False):
                assert before.start + before.width == pytest.approx(after.start, abs=0.02)
            assert (bar.limit is None) == (bar.lacks == 0)


def test_what_does_not_fit_is_told_and_sticks_out(tmp_path: Path) -> None:
    told = " ".join(read(tmp_path).texts)
    assert "1 to be looked at" in told
    assert "lacks 31.3 GiB" in told


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'"


def test_names_are_never_code(tmp_path: Path) -> None:
    fleet = SMALL.replace("somebody/else:1b", "./" + HOSTILE.replace("'", "''") + ".gguf")
    surveyed = [Surveyed(host.name, None, None, f"the host said {HOSTILE}") for host in fleet_of(fleet).hosts]

    clean, hostile = read(tmp_path), read(tmp_path, fleet, surveyed=surveyed)

    assert HOSTILE in "".join(hostile.texts)
    assert hostile.tags.count("script") == clean.tags.count("script") == 1
    assert hostile.handlers == []
    assert {target.partition(":")[0] for target in hostile.targets if not target.startswith("#")} == {
        "chatbox",
        "cherrystudio",
        "data",
    }


def unpacked(page: str) -> list[str]:
    """The parts of a large page that its script puts in."""
    found = re.search(r'id="packed">([^<]*)<', page)
    assert found
    parts: list[str] = json.loads(zlib.decompress(base64.b64decode(found[1])))
    return parts


def test_names_are_never_code_in_what_is_packed_either(tmp_path: Path) -> None:
    base = "./" + HOSTILE.replace("'", "''") + ".gguf"
    text = write_page(tmp_path / "page.html", large_fleet(20).replace("deepseek-r1:7b", base)).read_text()

    parts = [Read(part) for part in unpacked(text)]

    assert len(parts) == 20
    assert all(HOSTILE in "".join(part.texts) for part in parts)
    assert not any("script" in part.tags or part.handlers for part in parts)
    assert Read(text).tags.count("script") == 2  # its own, and the data


def test_what_is_packed_has_the_figures_of_the_plan(tmp_path: Path) -> None:
    hosts = fleet_of(large_fleet(20)).hosts
    parts = unpacked(write_page(tmp_path / "page.html", large_fleet(20)).read_text())

    for host, part in zip(hosts, parts, strict=True):
        (planned,) = plan_document([planned_host(host, Lock())])["hosts"].values()
        estimates = [placement["estimate"] for placement in planned["placements"]]
        weights = [device["weights"] for estimate in estimates for device in estimate["devices"]]
        assert [int(size) for size in re.findall(r'data-term="weights" data-bytes="(\d+)"', part)] == weights


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(found.tags)
    assert all(target.startswith(("#", "data:image/png;base64,", "ch")) for target in found.targets)


def test_what_was_found() -> None:
    card = Device.declared("rtx-4090", 0)
    state = replace(FRESH, devices=(replace(card, memory_free=card.memory_total - 5 * GIB),))
    (spec,) = Fleet.parse(FLEET).hosts

    (host,) = content_of([spec], Lock(), [Surveyed("gpu-01", plan(state), state, None)]).hosts

    assert host.found is not None
    assert host.gpus == ("rtx-4090",)
    assert [model.name for model in host.models] == ["reasoner"]
    assert [(gpu.name, gpu.used) for gpu in host.found.gpus] == [("rtx-4090", 5 * GIB)]
    assert {change.wanted for change in host.found.changes if change.item.startswith("release ")} >= {
        "0.24.0"
    }
    assert host.found.state == f"{len(host.found.changes)} to change"
    assert host.troubled


def test_what_was_measured_stands_beside_what_was_planned() -> None:
    lock = Lock.loads(LOCK.encode())
    (spec,) = Fleet.parse(FLEET.replace("gpu-01: {", "gpu-01: {gpus: [rtx-4090], ")).hosts
    measurement = Measurement(
        model="reasoner",
        num_gpu=2,
        num_ctx=512,
        kv_cache_type="f16",
        planned=Terms(weights=4 * GIB, kv=GIB, compute=GIB),
        observed=Terms(weights=4 * GIB, kv=GIB, compute=3 * GIB),
        beside=0,
    )
    measured = Measurements().with_one("sha256:" + "d" * 64, "0.24.0", "rtx-4090", measurement)

    content = content_of([spec], lock.with_measured(measured))

    (model,) = content.hosts[0].models
    assert model.measured is not None
    assert model.measured.terms == (
        ("weights", 4 * GIB, 4 * GIB),
        ("kv", GIB, GIB),
        ("compute", GIB, 3 * GIB),
    )
    text = page(content, template_texts(Path("/nowhere")), MADE)
    assert 'aria-label="observed: weights 4.0 GiB, kv 1.0 GiB, compute 3.0 GiB"' in text
    assert f'data-observed="{3 * GIB}">3.0 GiB' in text
    (other,) = content_of([spec], lock).hosts[0].models
    assert other.measured is None


@pytest.mark.parametrize("measured", [False, True])
def test_a_hundred_hosts_stay_below_a_megabyte(measured: bool, tmp_path: Path) -> None:
    runs = large_runs(100) if measured else []
    path = write_page(tmp_path / "page.html", large_fleet(100), runs=runs)
    assert path.stat().st_size < 1_000_000


def test_a_hundred_hosts_that_are_all_to_be_looked_at(tmp_path: Path) -> None:
    """The first few lie unfolded; the rest would make the page as long as all of them."""
    found = [
        Surveyed(host.name, None, None, "no connection, " * 20) for host in fleet_of(large_fleet(100)).hosts
    ]
    path = write_page(tmp_path / "page.html", large_fleet(100), surveyed=found)
    assert path.stat().st_size < 1_000_000
    assert Read(path.read_text()).tags.count("h4") > 0


def test_a_template_of_the_users_own_that_is_broken(tmp_path: Path) -> None:
    content = content_of(fleet_of(SMALL).hosts, Lock())
    with pytest.raises(RenderError, match=r"^report\.html\.j2: "):
        page(content, {"report.html.j2": "{{ nothing }}", "report.css.j2": "", "report.js.j2": ""}, MADE)
