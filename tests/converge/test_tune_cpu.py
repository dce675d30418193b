"""`tune` and `bench` on a host without a GPU, with whichever release the hosts install."""

from __future__ import annotations

import json
import urllib.request

import pytest

from converge.conftest import Rack

pytestmark = pytest.mark.lab

HOST = "gpu-02"


def in_memory(rack: Rack) -> list[tuple[str, int, bool]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{rack.two.address}:11434/api/ps", timeout=30) as answer:
        models = json.load(answer)["models"]
    return [(one["name"], one["context_length"], one["expires_at"] > "2200") for one in models]


def test_layers_of_a_host_without_a_gpu(rack: Rack) -> None:
    before = in_memory(rack)
    run = rack.fleet.run("ollama-fleet", "tune", HOST, "--json")
    assert run.code == 0, str(run)
    found = run.document["models"]["reasoner"]
    assert (found["num_gpu"], found["loads"], found["memory"]) == (0, 1, None)
    (step,) = found["steps"]
    assert step["held"] is True
    assert (
        min(step["tokens_per_second"], step["full_tokens_per_second"], step["prompt_tokens_per_second"]) > 0
    )
    assert run.document["patch"] == "", "num_gpu: 0 is what stands there"
    assert in_memory(rack) == before


def test_rates_of_a_host_without_a_gpu(rack: Rack) -> None:
    before = in_memory(rack)
    run = rack.fleet.run("ollama-fleet", "bench", HOST, "--repeat", "1", "--fill", "0,90", "--json")
    assert run.code == 0, str(run)
    runs = run.document["hosts"][HOST]["models"]["reasoner"]["runs"]
    assert [one["fill"] for one in runs] == [0, 90]
    assert all(one["generation"]["median"] > 0 and one["throughput"]["median"] > 0 for one in runs)
    assert in_memory(rack) == before
