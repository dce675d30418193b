"""What fleet.yaml leaves open is decided for the GPUs that are found, and lands on the hosts as planned."""

from __future__ import annotations

import json
from typing import Any

import pytest

from converge.conftest import MODEL, MakeFleet
from converge.outside_view import layer, manifest
from lab import Lab
from lab.fixtures import BootHost
from lab.host import Host
from lab.tiny_gguf import tiny_gguf

pytestmark = pytest.mark.lab

MODELS_DIR = "/srv/models"


@pytest.fixture(scope="module")
def small_base(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another form of the tiny model, for the smaller card."""
    gguf = tiny_gguf(tmp_path_factory.mktemp("model") / "tiny-q8.gguf", quantization="Q8_0")
    lab.registry.push_gguf(f"{MODEL}-q8", gguf, parameters={"top_k": 9})
    return f"{lab.registry.host}/{MODEL}-q8:latest"


def created(host: Host) -> dict[str, Any]:
    """The parameters of the model on the host, read from its files."""
    stored = manifest(host, MODELS_DIR, "registry.ollama.ai/library/reasoner/latest")
    params: dict[str, Any] = json.loads(layer(host, MODELS_DIR, stored, "params"))
    return params


def test_each_card_gets_what_was_planned_for_it(
    make_fleet: MakeFleet, new_host: BootHost, base: str, small_base: str
) -> None:
    large, small, wrong = (
        new_host(gpus=["rtx-4090"]),
        new_host(gpus=["rtx-4060-ti-16gb"]),
        new_host(gpus=["rtx-4090"]),
    )
    fleet = make_fleet(
        {
            "defaults": {"models_dir": MODELS_DIR},
            "models": {
                "reasoner": {
                    "variants": {"F16": base, "Q8_0": small_base},
                    "quantization": ["F16", "Q8_0"],
                    "num_ctx": 512,
                    "num_ctx_min": 256,
                    "num_gpu": "auto",
                    "per_gpu": {"rtx-4060-ti-16gb": {"quantization": "Q8_0", "num_gpu": 2, "num_ctx": 384}},
                }
            },
            "hosts": {
                # One card is found, one is declared, one is declared and not there.
                large.name: {"address": large.address, "gpus": "auto", "models": ["reasoner"]},
                small.name: {"address": small.address, "gpus": ["rtx-4060-ti-16gb"], "models": ["reasoner"]},
                wrong.name: {"address": wrong.address, "gpus": ["rtx-3090"], "models": ["reasoner"]},
            },
        }
    )

    first = fleet.apply()

    assert first.code != 0
    (failure,) = [line for line in first.told(wrong.name) if "rtx-3090" in line]
    assert "gpus: rtx-3090 declared, but found: NVIDIA GeForce RTX 4090" in failure
    assert "fleet.yaml:" in failure
    assert "Traceback" not in first.text
    assert not wrong.exists("/opt/ollama")

    # The stand-in has the older engine, which needs the number: two layers and the output are all there is.
    assert {key: created(large)[key] for key in ("num_ctx", "num_gpu", "num_batch")} == {
        "num_ctx": 512,
        "num_gpu": 3,
        "num_batch": 512,
    }
    chosen = created(small)
    assert (chosen["num_ctx"], chosen["num_gpu"], chosen["top_k"]) == (384, 2, 9)
    assert created(large)["top_k"] == 7

    # Now that a model is loaded and memory in use, the same is decided.
    large.use_gpu_memory({0: 20_000})
    second = fleet.apply("--limit", large.name, "--limit", small.name)
    for host in (large, small):
        assert second.changed(host.name) == set(), str(second)
    assert second.code == 0, str(second)

    # Offline, the plan of what is declared says the same as stands on the host.
    planned = json.loads(fleet.run("ollama-fleet", "plan", small.name, "--json").stdout)
    (placement,) = planned["hosts"][small.name]["placements"]
    assert (placement["num_gpu"], placement["num_ctx"], placement["base"]) == (2, 384, small_base)
    assert any("num_gpu 2 means layers, not GPUs" in remark for remark in placement["remarks"])
    assert any("num_gpu 2 means layers, not GPUs" in note for note in first.notes(small.name))
