"""What pyinfra is given of the hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.deploys.host_entries import check_keys, host_entry, inventory
from ollama_fleet.deploys.needs import needs_of
from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.fleet import Fleet

FLEET = """\
version: 1
release: {version: 0.24.0}
defaults: {ssh: {user: admin, key: /no/such/key}}
models:
  reasoner:
    from: registry.lan:5000/library/tiny
    num_ctx: 512
    num_gpu: 0
groups:
  rack: {hosts: [gpu-02], models: [reasoner]}
hosts:
  gpu-01: {address: 192.168.1.11, sudo: true, ssh: {port: 2222}, arch: arm64}
  gpu-02: {address: 192.168.1.12, ssh: {key: KEY}, release: {version: 0.24.1}}
  here: {address: '@local'}
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    key = tmp_path / "key"
    key.write_text("key")
    return Fleet.parse(FLEET.replace("KEY", str(key)))


def test_connection_data_are_plain(fleet: Fleet) -> None:
    name, data = host_entry(fleet.host("gpu-01"), Path("/fleet.yaml"))
    assert name == "gpu-01"
    plain = {key: value for key, value in data.items() if key != "ssh_paramiko_connect_kwargs"}
    assert plain == {
        "ollama_fleet_host": "gpu-01",
        "ollama_fleet_file": "/fleet.yaml",
        "_sudo": True,
        "ssh_hostname": "192.168.1.11",
        "ssh_user": "admin",
        "ssh_port": 2222,
        "ssh_key": "/no/such/key",
    }
    # pyinfra checks the types of connection data, and a subclass of str is none of them.
    assert {type(value) for value in plain.values()} <= {str, int, bool}


def test_local_host_needs_no_ssh(fleet: Fleet) -> None:
    name, data = host_entry(fleet.host("here"), Path("/fleet.yaml"))
    assert name == "@local"
    assert not any(key.startswith("ssh") for key in data)


def test_keys_that_are_not_there_are_told_once_with_their_line(fleet: Fleet) -> None:
    with pytest.raises(SpecErrors) as error:
        check_keys(fleet.hosts)
    (line,) = [str(mistake) for mistake in error.value.errors]
    assert line.startswith("fleet.yaml:3:")
    assert "/no/such/key" in line
    check_keys([fleet.host("gpu-02")])


def test_wrong_fleet_ends_the_run_before_it_begins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLLAMA_FLEET", raising=False)
    (tmp_path / "fleet.yaml").write_text("version: 1\nhosts: 3\n")
    with pytest.raises(SystemExit) as end:
        inventory(str(tmp_path / "inventory/hosts.py"))
    assert end.value.code == 1


def test_everything_that_hosts_may_need_is_locked(fleet: Fleet) -> None:
    needs = needs_of(fleet, Lock())
    assert {version: set(archives) for version, archives in needs.releases.items()} == {
        # GPUs that nobody has declared may be AMD's.
        "0.24.0": {"linux-amd64", "linux-amd64-rocm", "linux-arm64"},
        "0.24.1": {"linux-amd64", "linux-amd64-rocm", "linux-arm64"},
    }
    assert list(needs.bases) == ["registry.lan:5000/library/tiny"]
