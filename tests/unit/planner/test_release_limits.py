"""What a release cannot do is told by the plan, before a host is touched."""

from __future__ import annotations

import json

import pytest

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.lock_entries import ConfigLock
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.release_limits import check_request
from unit.planner.fleets import decisions, host_of, lock_entry

MODELS = {"m": {"from": "hf.co/some/model:Q8_0", "num_ctx": 4096}}


def locked(requires: str) -> Lock:
    entry = lock_entry(None).model_copy(update={"config": ConfigLock(requires=requires)})
    return Lock().with_model(ModelName.parse("hf.co/some/model:Q8_0"), entry)


@pytest.mark.parametrize("requires", ["0.24.1", "v0.25", "1", "0.30.0-rc1"])
def test_a_base_that_requires_a_newer_release(requires: str) -> None:
    with pytest.raises(PlanError) as caught:
        decisions(MODELS, [], release="0.24.0", lock=locked(requires))
    assert str(caught.value) == (
        f"fleet.yaml:1: m: hf.co/some/model:Q8_0 requires Ollama {requires}, and the release is 0.24.0; "
        "ask for a newer release on this host, or for another model"
    )


@pytest.mark.parametrize("requires", ["", "0.24.0", "v0.9", "0", "any"])
def test_a_base_that_does_not(requires: str) -> None:
    assert decisions(MODELS, [], release="0.24.0", lock=locked(requires)).keys() == {"m"}


@pytest.mark.parametrize(
    ("key", "first", "last"),
    [("renderer", "0.12.0", "0.11.11"), ("parser", "0.12.0", "0.9.0"), ("requires", "0.14.0", "0.13.5")],
)
def test_directives_of_a_modelfile(key: str, first: str, last: str) -> None:
    models = json.loads(json.dumps(MODELS))
    check_request(host_of(models, [], release=first), "m", {key: "x"})
    check_request(host_of(models, [], release=last), "m", {key: None, "system": "x"})
    with pytest.raises(
        PlanError, match=f"{key.upper()} in its Modelfile came with {first}, and the release is {last}"
    ):
        check_request(host_of(models, [], release=last), "m", {key: "x"})
