"""What a fleet needs locked, and the lock that is made of it with a registry on loopback."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ollama_fleet.artifacts.families import families
from ollama_fleet.artifacts.gguf import facts_of_file
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.locking import LockingError
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.deploys.locking import make_lock
from ollama_fleet.deploys.needs import needs_of
from ollama_fleet.deploys.source import published
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.planner.choice import USUAL
from ollama_fleet.planner.host_decisions import declared_devices, host_decisions
from ollama_fleet.spec.fleet import Fleet
from unit.deploys.local_fleet import DECLARED, Registry, local_fleet
from unit.planner.fleets import lock_entry

R1 = {
    name: model.names[0]
    for name, model in families()["deepseek-r1"].sizes["32b"].models.items()
    if model.names
}


def fleet_of(models: dict[str, Any], hosts: dict[str, Any], **more: Any) -> Fleet:
    document = {"version": 1, "release": {"version": "0.32.15"}, "models": models, "hosts": hosts, **more}
    return Fleet.parse(json.dumps(document), catalogue().keys(), published=published)


AUTO = {"m": {"from": "deepseek-r1:32b", "num_ctx": 8192, "quantization": "auto", "num_gpu": "auto"}}


def test_a_host_with_declared_gpus_needs_what_is_decided_for_these() -> None:
    hosts = {
        "large": {"gpus": ["rtx-4090"], "models": ["m"]},
        "small": {"gpus": ["rtx-4090", "rtx-4090"], "models": {"m": {"quantization": "Q8_0"}}},
    }
    needs = needs_of(fleet_of(AUTO, hosts), Lock())

    assert list(needs.bases) == [R1["Q4_K_M"], R1["Q8_0"]]


def test_a_host_that_alone_knows_its_gpus_may_need_all_that_may_be_chosen() -> None:
    few = {"quantization": ["Q4_K_M", "Q8_0"], "per_gpu": {"rtx-3090": {"quantization": "IQ3_M"}}}
    models = {"m": {**AUTO["m"], **few, "variants": {"IQ3_M": "hf.co/o/n:IQ3_M"}}}
    needs = needs_of(fleet_of(models, {"who-knows": {"models": ["m"]}}), Lock())
    of_all = needs_of(fleet_of(AUTO, {"who-knows": {"models": ["m"]}}), Lock())

    assert set(needs.bases) == {R1["Q4_K_M"], R1["Q8_0"], "hf.co/o/n:IQ3_M"}
    assert set(of_all.bases) == {R1[name] for name in USUAL}


@pytest.mark.parametrize(
    ("host", "archives"),
    [
        ({"gpus": ["rtx-4090"]}, {"linux-amd64", "linux-arm64"}),
        ({"gpus": ["rtx-4090"], "arch": "amd64"}, {"linux-amd64"}),
        ({"gpus": ["rx-7900-xtx"], "arch": "amd64"}, {"linux-amd64", "linux-amd64-rocm"}),
        ({"gpus": "auto"}, {"linux-amd64", "linux-amd64-rocm", "linux-arm64"}),
        ({"gpus": [], "arch": "arm64"}, {"linux-arm64"}),
    ],
)
def test_archives_for_what_a_host_may_be(host: dict[str, Any], archives: set[str]) -> None:
    needs = needs_of(fleet_of({}, {"pc": host}), Lock())

    assert set(needs.releases["0.32.15"]) == archives


def test_one_version_has_one_source() -> None:
    mirror = {"release": {"source": "https://mirror.lan/ollama"}}
    with pytest.raises(
        LockingError, match=r"release 0\.32\.15 comes from upstream and, for b, from https://mirror"
    ):
        needs_of(fleet_of({}, {"a": {}, "b": mirror}), Lock())


def test_a_choice_among_what_nobody_knows_needs_all_of_it_and_then_what_is_decided() -> None:
    variants = {"Q8_0": "who/ever:7b-q8", "Q4_K_M": "who/ever:7b"}
    model = {"from": "who/ever:7b", "variants": variants, "quantization": ["Q8_0", "Q4_K_M"], "num_ctx": 4096}
    fleet = fleet_of({"m": model}, {"pc": {"gpus": ["rtx-3060-12gb"], "models": ["m"]}})
    assert list(needs_of(fleet, Lock()).bases) == ["who/ever:7b-q8", "who/ever:7b"]

    known = families()["deepseek-r1"].sizes["14b"].models
    lock = Lock()
    for quantization, name in variants.items():
        entry = lock_entry(known[quantization].facts.to_dict())
        lock = lock.with_model(ModelName.parse(name), entry)
    assert list(needs_of(fleet, lock).bases) == ["who/ever:7b"]


def test_a_lock_holds_facts_that_come_back_as_they_were(
    tmp_path: Path, registry: Registry, releases: str
) -> None:
    fleet = local_fleet(tmp_path, registry, releases, DECLARED)
    lock = make_lock(fleet)

    again = Lock.loads(lock.dumps().encode())
    assert again == lock
    # All that is to be chosen among is known, not only what is chosen: so the plan is the same without a network.
    for quantization in ("Q8_0", "Q4_K_M"):
        locked = again.models[f"{registry.server.host}/library/tiny:{quantization.lower()}"]
        assert locked.params == {"top_k": 7}
        assert locked.model_facts == facts_of_file(tmp_path / f"{quantization}.gguf")
    mine = again.file("./mine.gguf")
    content = (tmp_path / "mine.gguf").read_bytes()
    assert (mine.sha256, mine.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert ModelFacts.from_dict(mine.facts) == facts_of_file(tmp_path / "mine.gguf")
    assert set(again.release("0.32.15").archives) == {"linux-amd64", "linux-arm64"}


def test_the_same_fleet_makes_the_same_lock(tmp_path: Path, registry: Registry, releases: str) -> None:
    hosts = {**DECLARED, "who-knows": {"models": ["mine", "open"]}}
    fleet = local_fleet(tmp_path, registry, releases, hosts)
    turned = local_fleet(tmp_path, registry, releases, dict(reversed(hosts.items())))

    text = make_lock(fleet).dumps()
    assert make_lock(fleet).dumps() == text
    assert make_lock(turned).dumps() == text


def test_what_is_decided_is_locked_and_with_the_lock_the_same_is_decided(
    tmp_path: Path, registry: Registry, releases: str
) -> None:
    fleet = local_fleet(tmp_path, registry, releases, DECLARED)
    lock = make_lock(fleet)
    (host,) = fleet.hosts
    devices = declared_devices(host)
    assert devices is not None

    first, mine = (item.decision for item in host_decisions(host, devices, lock))
    assert first.candidate.base == f"{registry.server.host}/library/tiny:q8_0"
    assert mine.candidate.base == "./mine.gguf"
    assert first.estimate is not None
    assert first.estimate.full


def test_a_host_whose_gpus_nobody_knows_has_all_that_it_may_need_locked(
    tmp_path: Path, registry: Registry, releases: str
) -> None:
    fleet = local_fleet(tmp_path, registry, releases, {"who-knows": {"models": ["open"]}})

    assert len(make_lock(fleet).models) == 2
    assert registry.manifests_asked_for == {"q8_0", "q4_k_m"}


def test_everything_that_is_resolved_is_told(tmp_path: Path, registry: Registry, releases: str) -> None:
    told: list[str] = []
    make_lock(local_fleet(tmp_path, registry, releases, DECLARED), told=told.append)

    assert told[0].startswith("release 0.32.15: linux-amd64, ")
    assert f"model {registry.server.host}/library/tiny:q8_0" in told
    assert "model ./mine.gguf" in told


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), (b"PK\x03\x04", "no GGUF"), (b"GGUF" + bytes(4), "mine.gguf")],
)
def test_a_file_that_is_no_model_is_told(
    content: bytes | None, says: str, tmp_path: Path, registry: Registry, releases: str
) -> None:
    fleet = local_fleet(tmp_path, registry, releases, DECLARED)
    (tmp_path / "mine.gguf").unlink()
    if content is not None:
        (tmp_path / "mine.gguf").write_bytes(content)

    with pytest.raises(LockingError) as caught:
        make_lock(fleet)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_gguf_are_told(tmp_path: Path, registry: Registry, releases: str) -> None:
    fleet = local_fleet(tmp_path, registry, releases, DECLARED)
    registry.push("tiny", "q8_0", b"GGUF" + b"\xff" * 100)

    with pytest.raises(LockingError) as caught:
        make_lock(fleet)
    assert str(caught.value).startswith(f"model {registry.server.host}/library/tiny:q8_0: ")
    assert "\n" not in str(caught.value)
