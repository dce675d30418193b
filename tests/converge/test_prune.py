"""What nobody declares any more: told with its size, and removed only when asked, last of all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from converge.conftest import Rack
from converge.drifts import MODELS, UNIT
from converge.outside_view import ask, main_pid
from lab import Lab
from lab.host import Host
from lab.tiny_gguf import tiny_gguf

pytestmark = pytest.mark.lab

OLD = "/opt/ollama/0.1.0"
DROP_IN = f"{UNIT}.d/fleet.conf"
LITTER = f"""
set -e
mkdir -p {OLD}/bin /opt/ollama/mine/bin
head -c 3000000 /dev/zero >{OLD}/bin/ollama
echo "{"a" * 64} seen" >{OLD}/.installed
printf '# Written by ollama-fleet; long ago.\\n[Service]\\n' >{DROP_IN}
systemctl daemon-reload
"""


@pytest.fixture
def littered(rack: Rack, base: str, lab: Lab, tmp_path: Path) -> Iterator[Host]:
    """A host of the rack with models, a release and a drop-in that nobody declares."""
    host = rack.one
    gguf = tiny_gguf(tmp_path / "other.gguf", name="other", layers=8, seed=3)
    lab.registry.push_gguf("library/other", gguf)
    other = lab.registry.model("library/other")
    api(host, "pull", {"model": other, "insecure": True})
    # Made from the same weights as what is declared, under its name with another tag, and a copy of it.
    api(host, "create", {"model": "reasoner:old", "from": base, "system": "Nobody asks for me."})
    api(host, "copy", {"source": "reasoner", "destination": "mine/copy"})
    api(host, "generate", {"model": other})
    host.run(LITTER)
    yield host
    rack.fleet.change(prune="report")
    host.run(f"rm -rf {OLD} /opt/ollama/mine {DROP_IN}; systemctl daemon-reload")
    for name in (other, "reasoner:old", "mine/copy"):
        host.run(f"OLLAMA_HOST='[::1]:11434' ollama rm {name}", check=False)


def api(host: Host, path: str, body: dict[str, object]) -> None:
    data = json.dumps({**body, "stream": False})
    host.run(["curl", "-gsSf", "-m", "60", "-d", data, f"http://[::1]:11434/api/{path}"], timeout=90)


def digests(rack: Rack, host: Host) -> dict[str, str]:
    tags = json.loads(ask(rack.lab.office, host.office_address(), "/api/tags"))["models"]
    return {model["name"]: model["digest"] for model in tags}


def blobs(host: Host) -> int:
    return int(host.run(f"du -sb '{MODELS}/blobs' | cut -f1").stdout)


def test_told_then_removed_and_what_is_declared_stays(rack: Rack, littered: Host, base: str) -> None:
    fleet, host, name = rack.fleet, littered, littered.name
    before, pid, size = digests(rack, host), main_pid(host), blobs(host)
    other = rack.lab.registry.model("library/other")

    told = fleet.dry()
    assert told.items(name) == set(), str(told)
    (line,) = [note for note in told.notes(name) if "not in fleet.yaml" in note]
    assert all(
        word in line for word in (f"model {other} (", "model reasoner:old (", "release 0.1.0 (2.9 MiB)")
    )
    assert fleet.drift().code == 0

    fleet.change(prune=True)
    drift = fleet.drift(name)
    assert drift.code == 2
    going = {f"prune model {model}" for model in (other, "reasoner:old", "mine/copy:latest")}
    expected = going | {"prune release 0.1.0", f"prune file {DROP_IN}"}
    assert {f"{c['kind']} {c['name']}" for c in drift.document["hosts"][name]["changes"]} == expected
    assert fleet.dry().items(name) == expected
    assert digests(rack, host) == before

    applied = fleet.apply()
    assert applied.code == 0, str(applied)
    assert applied.changed(name) >= {"Prune"}
    (freed,) = [line for line in applied.told(name) if line.startswith("pruned ")]
    assert "freed" in freed
    # Digests of what is declared, the process, and the weights that were shared are as before.
    kept = {model: digest for model, digest in before.items() if model in ("reasoner:latest", base)}
    assert digests(rack, host) == kept
    assert main_pid(host) == pid
    assert blobs(host) < size
    one_token = {"options": {"num_predict": 1}}
    api(host, "generate", {"model": "reasoner", "prompt": "Are you still there?", **one_token})
    loaded = json.loads(ask(rack.lab.office, host.office_address(), "/api/ps"))["models"]
    assert [model["name"] for model in loaded] == ["reasoner:latest"]
    assert not host.exists(OLD)
    assert not host.exists(DROP_IN)
    assert host.exists("/opt/ollama/mine/bin")

    again = fleet.apply()
    assert again.changed(name) == set(), str(again)


def test_nothing_is_removed_where_the_proof_fails(rack: Rack, littered: Host) -> None:
    fleet, host = rack.fleet, littered
    fleet.change(prune=True)
    lan = next(network for network in rack.lab.cidrs("lan") if "." in network)
    host.run("nft add table ip wall; nft 'add chain ip wall in { type filter hook input priority -400; }'")
    host.run(f"nft add rule ip wall in ip saddr {lan} tcp dport 11434 drop")
    try:
        failed = fleet.apply()
    finally:
        host.run("nft delete table ip wall")
    assert "Proof" in failed.failed(host.name), str(failed)
    assert host.exists(OLD)
    assert "mine/copy:latest" in digests(rack, host)
