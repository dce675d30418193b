"""Changes in the repository reach the hosts, and only where they belong."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from converge.conftest import Rack
from converge.drifts import ENVIRONMENT, FIREWALL, LOADED, MODELS, SERVICE
from converge.outside_view import connects, layer, main_pid, manifest

pytestmark = pytest.mark.lab


@pytest.fixture
def restored(rack: Rack) -> Iterator[None]:
    """fleet.yaml and its folder as before, and the hosts with them."""
    document = rack.fleet.document
    yield
    rack.fleet.document = document
    rack.fleet.write()
    for path in rack.fleet.path.glob("modelfiles/*"):
        path.unlink()
    applied = rack.fleet.apply()
    assert applied.code == 0, str(applied)


@pytest.mark.usefixtures("restored")
def test_own_modelfile_template(rack: Rack) -> None:
    folder = rack.fleet.path / "modelfiles"
    folder.mkdir(exist_ok=True)
    (folder / "default.Modelfile.j2").write_text(
        "FROM {{ base }}\nPARAMETER top_p 0.25\nSYSTEM {{ host }} speaking.\n"
    )
    pids = [main_pid(host) for host in rack.hosts]
    dry = rack.fleet.dry()
    for host in rack.hosts:
        assert dry.items(host.name) == {"model reasoner:latest"}, str(dry)
    applied = rack.fleet.apply()
    assert applied.code == 0, str(applied)
    for host in rack.hosts:
        assert applied.changed(host.name) == {"Lock", "Record", "Rollout", "Outcome"}
        made = manifest(host, MODELS, "registry.ollama.ai/library/reasoner/latest")
        assert layer(host, MODELS, made, "system") == f"{host.name} speaking."
        assert json.loads(layer(host, MODELS, made, "params"))["top_p"] == 0.25
    assert [main_pid(host) for host in rack.hosts] == pids


@pytest.mark.usefixtures("restored")
def test_setting_of_one_host(rack: Rack) -> None:
    rack.fleet.change(hosts={"gpu-02": {"env": {"OLLAMA_NUM_PARALLEL": 3}}})
    dry = rack.fleet.dry()
    assert dry.items("gpu-01") == set(), str(dry)
    assert dry.items("gpu-02") == {f"file {ENVIRONMENT}", SERVICE}, str(dry)
    pid = main_pid(rack.one)
    applied = rack.fleet.apply()
    assert applied.code == 0, str(applied)
    assert applied.changed("gpu-01") == set()
    assert main_pid(rack.one) == pid


@pytest.mark.usefixtures("restored")
def test_fewer_allowed_networks(rack: Rack) -> None:
    rack.fleet.change(defaults={"firewall": {"allow_from": rack.lab.cidrs("lan")}})
    dry = rack.fleet.dry()
    assert {host.name: dry.items(host.name) for host in rack.hosts} == {
        host.name: {FIREWALL} for host in rack.hosts
    }, str(dry)
    applied = rack.fleet.apply()
    assert applied.code == 0, str(applied)
    assert all(LOADED not in applied.items(host.name) for host in rack.hosts)
    for host in rack.hosts:
        assert connects(rack.lab.office, host.office_address()).startswith("none")
