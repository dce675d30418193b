"""After an apply the host is as fleet.yaml says, and a second one finds nothing to do."""

from __future__ import annotations

import json
import shlex
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from converge.conftest import Rack, Release
from converge.outside_view import ask, connects, layer, main_pid, manifest, process_environment
from lab import Lab
from lab.host import Host

pytestmark = pytest.mark.lab

MODELS = "/srv/ollama models/m"
REASONER = "registry.ollama.ai/library/reasoner/latest"
OPERATIONS = {
    "Lock",
    "Record",
    "User of the service",
    "Directories",
    "Firewall",
    "Release",
    "Rollout",
    "Proof",
    "Prune",
    "Outcome",
}


@pytest.fixture(params=["gpu-01", "gpu-02"])
def host(request: pytest.FixtureRequest, rack: Rack) -> Host:
    """Each host of the rack in turn: as root behind ufw, through sudo behind nftables."""
    return {host.name: host for host in rack.hosts}[request.param]


def test_first_apply_ends_with_one_line_per_host(rack: Rack, release: Release) -> None:
    for host in rack.hosts:
        line = f"Ollama {release.version} on {host.address}:11434: reasoner:latest"
        assert rack.first.told(host.name).count(line) == 1, str(rack.first)
        assert rack.first.failed(host.name) == set()


def test_version(host: Host, rack: Rack, release: Release) -> None:
    told = host.run(["/usr/local/bin/ollama", "--version"]).stdout
    assert release.version in told
    assert host.run(["readlink", "-f", "/usr/local/bin/ollama"]).stdout.strip() == (
        f"/opt/ollama/{release.version}/bin/ollama"
    )
    asked = ask(rack.lab.office, host.office_address(), "/api/version")
    assert json.loads(asked) == {"version": release.version}


def test_unit(host: Host) -> None:
    shown = host.run(
        [
            "systemctl",
            "show",
            "ollama",
            "-p",
            "User,Group,ActiveState,UnitFileState,FragmentPath,DropInPaths,Restart",
        ]
    ).stdout
    assert dict(line.split("=", 1) for line in shown.splitlines()) == {
        "User": "ollama",
        "Group": "ollama",
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "FragmentPath": "/etc/systemd/system/ollama.service",
        "DropInPaths": "/etc/systemd/system/ollama.service.d/zz-fleet.conf",
        "Restart": "always",
    }
    complaints = host.run(["systemd-analyze", "verify", "ollama.service"])
    assert complaints.stderr == ""
    owner = host.run(["stat", "-c", "%U %G", f"/proc/{main_pid(host)}"]).stdout.split()
    assert owner == ["ollama", "ollama"]


def test_sandbox(host: Host) -> None:
    """The server sees devices, writes nothing but its home and its models, and can become nobody else."""
    pid = main_pid(host)
    inside = f"nsenter --target {pid} --mount --"
    reached = f"[ -c /dev/null ] && [ -w {shlex.quote(MODELS)} ] && ! touch /etc/x 2>&1 && ls /home"
    assert "Read-only file system" in host.run(f"{inside} sh -c {shlex.quote(reached)}").stdout
    status = dict(line.split(":", 1) for line in host.read(f"/proc/{pid}/status").splitlines())
    assert (status["CapBnd"].strip("\t0"), status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == (
        "",
        "1",
        "2",
    )
    score = host.run("systemd-analyze security --no-pager ollama.service | tail -n 1").stdout
    assert float(score.partition("ollama.service: ")[2].split()[0]) < 4.0


def test_environment_of_the_running_process(host: Host, rack: Rack) -> None:
    environment = process_environment(host, main_pid(host))
    wanted = {
        "OLLAMA_HOST": "[::]:11434",
        "OLLAMA_MODELS": MODELS,
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_DEBUG": "1",
        "FLEET_CANARY": rack.fleet.document["defaults"]["env"]["FLEET_CANARY"],
    }
    assert {name: environment.get(name) for name in wanted} == wanted
    assert not host.exists("/canary")


def test_ownership(host: Host) -> None:
    def owner(path: str) -> str:
        return host.run(["stat", "-c", "%U:%G %a", path]).stdout.strip()

    assert owner(MODELS) == "ollama:ollama 755"
    foreign = host.run(f"find {shlex.quote(MODELS)} ! -user ollama").stdout
    assert foreign == ""
    assert host.run("find /opt/ollama ! -user root").stdout == ""
    assert host.run("find /opt/ollama ! -type l -perm /022").stdout == ""
    assert owner("/etc/ollama-fleet/environment") == "root:root 600"
    for path in ("/etc/systemd/system/ollama.service", "/etc/profile.d/ollama-fleet.sh"):
        assert owner(path) == "root:root 644"
    assert host.run("find / -xdev -name '*.fleet-new' -o -xdev -name '.download'").stdout == ""


def test_service_user_reaches_its_models(host: Host) -> None:
    assert host.run(["runuser", "-u", "ollama", "--", "ls", f"{MODELS}/blobs"]).stdout.startswith("sha256-")


def test_ufw_rules(rack: Rack) -> None:
    status = rack.one.run(["ufw", "status"]).stdout
    rules = {
        tuple(line.split("#")[0].split()) for line in status.splitlines() if "ALLOW" in line or "DENY" in line
    }
    assert rules == {
        ("22/tcp", "ALLOW", "Anywhere"),
        ("22/tcp", "(v6)", "ALLOW", "Anywhere", "(v6)"),
        *(("11434/tcp", "ALLOW", network) for network in (*rack.lab.cidrs("lan"), *rack.lab.cidrs("office"))),
    }


def test_nftables_rules(rack: Rack) -> None:
    listed = rack.two.run(["nft", "list", "ruleset"]).stdout
    table, own = listed.split("table inet ollama_fleet", 1)
    for text in (table, own):
        for network in (*rack.lab.cidrs("lan"), *rack.lab.cidrs("office")):
            assert text.count(f"saddr {network} tcp dport 11434 accept") == 1
    assert own.count("tcp dport 11434 drop") == 1
    assert "tcp dport 22 accept" in table


def test_base_is_the_one_in_the_registry(host: Host, base: str, lab: Lab) -> None:
    registry, _, name = base.partition("/")
    stored = host.read_bytes(f"{MODELS}/manifests/{registry}/{name.replace(':', '/')}")
    request = urllib.request.Request(
        f"{lab.registry.url}/v2/library/tiny/manifests/latest",
        headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        assert json.loads(stored) == json.loads(answer.read())


def test_created_model(host: Host, rack: Rack, base: str) -> None:
    registry, _, name = base.partition("/")
    made = manifest(host, MODELS, REASONER)
    source = manifest(host, MODELS, f"{registry}/{name.replace(':', '/')}")

    def weights(of: dict[str, list[dict[str, str]]]) -> list[str]:
        return [entry["digest"] for entry in of["layers"] if entry["mediaType"].endswith(".model")]

    assert weights(made) == weights(source)
    assert json.loads(layer(host, MODELS, made, "params")) == {
        "temperature": 0.6,
        "top_k": 7,
        "stop": ["<a>", 'b "c"'],
        "num_ctx": 512,
        "num_gpu": 0,
    }
    system = rack.fleet.document["models"]["reasoner"]["system"]
    assert layer(host, MODELS, made, "system") == system
    shown = json.loads(ask(rack.lab.office, host.office_address(), "/api/show", {"model": "reasoner"}))
    assert shown["system"] == system


def test_preloaded_model_is_in_memory(host: Host, rack: Rack) -> None:
    loaded = json.loads(ask(rack.lab.office, host.office_address(), "/api/ps"))
    assert [model["name"] for model in loaded["models"]] == ["reasoner:latest"]


@pytest.mark.parametrize("family", [4, 6])
def test_allowed_network_reaches_the_port(host: Host, rack: Rack, family: int) -> None:
    assert ask(rack.lab.office, host.office_address(family), "/") == "Ollama is running"


def test_third_network_does_not(rack: Rack) -> None:
    addresses = [host.outside_address(family) for host in rack.hosts for family in (4, 6)]
    with ThreadPoolExecutor() as pool:
        answers = dict(
            zip(addresses, pool.map(lambda at: connects(rack.lab.outside, at), addresses), strict=True)
        )
    assert all(answer.startswith("none") for answer in answers.values()), answers
    # Not because there is no way: ssh is open to everybody.
    assert {connects(rack.lab.outside, at, 22) for at in addresses} == {"connected"}


def test_shell_users_find_the_server(host: Host) -> None:
    listed = host.run(["bash", "-lc", "ollama list"], user="student").stdout
    assert "reasoner:latest" in listed
    told = host.run(["bash", "-lc", 'printf %s "$OLLAMA_MODELS"'], user="student").stdout
    assert told == MODELS


def test_second_apply_changes_nothing_and_costs_one_exec(rack: Rack) -> None:
    before = {host.name: (host.snapshot(), main_pid(host), host.mark()) for host in rack.hosts}
    again = rack.fleet.apply()
    assert again.code == 0, str(again)
    for host in rack.hosts:
        tree, pid, mark = before[host.name]
        assert again.unchanged(host.name) == OPERATIONS, str(again)
        assert again.items(host.name) == set()
        assert host.ssh_sessions(since=mark) == ["exec"]
        assert main_pid(host) == pid
        assert host.snapshot() == tree
    assert again.document["results"]["totals"] == {
        "hosts": 2 * len(OPERATIONS),
        "success": 0,
        "error": 0,
        "no_change": 2 * len(OPERATIONS),
    }


def test_second_apply_says_no_changes_in_plain_text(rack: Rack) -> None:
    again = rack.fleet.pyinfra("-y")
    assert again.code == 0, str(again)
    for host in rack.hosts:
        assert again.told(host.name).count("No changes") == len(OPERATIONS), str(again)
        assert "Success" not in again.told(host.name)


def test_next_run_sees_what_has_changed_since(rack: Rack) -> None:
    assert rack.fleet.drift().code == 0
    rack.one.run("echo '# by hand' >> /etc/systemd/system/ollama.service.d/zz-fleet.conf")
    seen = rack.fleet.drift()
    assert seen.code == 2, str(seen)
    assert [change["name"] for change in seen.document["hosts"]["gpu-01"]["changes"]] == [
        "/etc/systemd/system/ollama.service.d/zz-fleet.conf"
    ]
    assert seen.document["hosts"]["gpu-01"]["restarts"] is True
    assert seen.document["hosts"]["gpu-02"]["changes"] == []
    repaired = rack.fleet.apply()
    assert repaired.code == 0, str(repaired)
    assert repaired.changed("gpu-02") == set()
    assert rack.fleet.drift().code == 0
