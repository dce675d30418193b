"""The lab itself: real hosts boot, are reached and shut as they should be, and leave nothing behind."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import Host, Lab, LabError, cleanup
from lab.client import Client
from lab.fixtures import BootHost
from lab.registry import MANIFEST_TYPE, MODEL_TYPE
from lab.slot import Slot
from lab.snapshot import differences
from lab.tether import sweep

pytestmark = pytest.mark.lab

TESTS = Path(__file__).parents[1]
PORT = 11434
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1).close()"


@pytest.fixture(scope="module")
def rack(lab: Lab) -> Iterator[dict[str, Host]]:
    """Four hosts, booted at once: ufw, two GPUs; nftables, no zstd; no firewall, small disk; firewalld."""
    hosts = lab.hosts(
        {
            "rack-1": {"firewall": "ufw", "gpus": ["rtx-4090", "rtx-4060-ti-16gb"]},
            "rack-2": {"firewall": "nftables", "without": ["zstd"]},
            "rack-3": {"disk": "64M"},
            "rack-4": {"firewall": "firewalld"},
        }
    )
    for host in hosts:
        # Listens on both families for as long as the host runs.
        host.run(f"systemd-run --unit=listener python3 -m http.server --bind :: --directory /srv {PORT}")
        host.run(f"until curl -s -o /dev/null http://localhost:{PORT}/; do sleep 0.02; done")
    yield {host.name: host for host in hosts}
    for host in hosts:
        lab.remove(host)


@pytest.fixture(params=["rack-1", "rack-2", "rack-3", "rack-4"])
def host(rack: dict[str, Host], request: pytest.FixtureRequest) -> Host:
    return rack[request.param]


def ssh(
    host: Host, command: str, *, user: str = "root", address: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*host.ssh_command(user, address=address), command],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def controller_reaches(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def reaches(client: Client, address: str, port: int) -> bool:
    return client.run([sys.executable, "-c", CONNECT, address, str(port)]).returncode == 0


def who_reaches(lab: Lab, host: Host, port: int, family: int) -> set[str]:
    """From which networks a port answers; asked from all at once, because silence takes a second each."""
    lan = host.address if family == 4 else host.address6
    with ThreadPoolExecutor() as pool:
        asked = {
            "lan": pool.submit(controller_reaches, lan, port),
            "office": pool.submit(reaches, lab.office, host.office_address(family), port),
            "outside": pool.submit(reaches, lab.outside, host.outside_address(family), port),
        }
        return {network for network, answer in asked.items() if answer.result()}


def test_host_is_a_machine_of_its_own_and_fully_up(host: Host) -> None:
    assert host.run("systemctl is-system-running").stdout == "running\n"
    assert host.run("hostname").stdout == f"{host.name}\n"
    assert host.run("cat /proc/1/comm").stdout == "systemd\n"


def test_no_two_hosts_share_machine_id_or_host_key(rack: dict[str, Host]) -> None:
    for path in ("/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"):
        assert len({host.read(path) for host in rack.values()}) == len(rack)


@pytest.mark.parametrize("user", ["root", "admin", "student"])
def test_ssh_by_key_over_both_families(host: Host, user: str) -> None:
    for address in (host.address, host.address6):
        assert ssh(host, "id -un; hostname", user=user, address=address).stdout == f"{user}\n{host.name}\n"


def test_admin_may_become_root_and_student_may_not(rack: dict[str, Host]) -> None:
    host = rack["rack-1"]
    assert ssh(host, "sudo -n id -un", user="admin").stdout == "root\n"
    refused = ssh(host, "sudo -n id -un", user="student")
    assert refused.returncode != 0
    assert refused.stdout == ""


def test_student_has_user_services_that_linger(rack: dict[str, Host]) -> None:
    host = rack["rack-1"]
    assert (
        host.run("loginctl enable-linger && systemctl --user is-system-running", user="student").stdout
        == "running\n"
    )


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", ["rack-1", "rack-2", "rack-4"])
def test_firewall_lets_nobody_but_ssh_in(lab: Lab, rack: dict[str, Host], name: str, family: int) -> None:
    assert who_reaches(lab, rack[name], PORT, family) == set()
    assert who_reaches(lab, rack[name], 22, family) == {"lan", "office", "outside"}


@pytest.mark.parametrize("family", [4, 6])
def test_without_a_firewall_everybody_gets_in(lab: Lab, rack: dict[str, Host], family: int) -> None:
    assert who_reaches(lab, rack["rack-3"], PORT, family) == {"lan", "office", "outside"}


def test_an_opened_port_is_open_for_those_and_only_those(lab: Lab, rack: dict[str, Host]) -> None:
    ufw, nft, daemon = rack["rack-1"], rack["rack-2"], rack["rack-4"]
    nft.run(f"nft add rule inet filter input iifname office tcp dport {PORT} accept")
    daemon.run(f"firewall-cmd --zone=internal --add-port={PORT}/tcp")
    for cidr in lab.cidrs("office"):
        ufw.run(f"ufw allow from {cidr} to any port {PORT} proto tcp")
        daemon.run(f"firewall-cmd --zone=internal --add-source={cidr}")
    for host in (ufw, nft, daemon):
        for family in (4, 6):
            assert who_reaches(lab, host, PORT, family) == {"office"}


def test_clients_have_no_way_to_networks_that_are_not_theirs(lab: Lab, rack: dict[str, Host]) -> None:
    open_host = rack["rack-3"]
    for client in (lab.office, lab.outside):
        for address in (open_host.address, open_host.address6, lab.registry.address):
            assert not reaches(client, address, 22)


def test_hosts_have_no_way_out(host: Host) -> None:
    routes = host.run("ip route show default; ip -6 route show default").stdout
    assert routes == ""


def test_sessions_are_counted_on_the_server(rack: dict[str, Host]) -> None:
    host = rack["rack-2"]
    mark = host.mark()
    assert host.ssh_sessions(mark) == []
    ssh(host, "true")
    ssh(host, "true", address=host.address6)
    *options, target = host.ssh_command()
    interactive = subprocess.run(
        [*options, "-tt", target], input="exit\n", capture_output=True, text=True, timeout=30, check=False
    )
    assert interactive.returncode == 0, interactive.stderr
    files = ["sftp", "-b", "-", *options[1:], target]
    transfer = subprocess.run(files, input="ls /\n", capture_output=True, text=True, timeout=30, check=False)
    assert transfer.returncode == 0, transfer.stderr
    host.run("true")
    assert host.ssh_sessions(mark) == ["exec", "exec", "shell", "subsystem"]
    assert host.ssh_sessions(host.mark()) == []


def test_untouched_host_gives_the_same_snapshot_and_each_kind_of_change_shows(rack: dict[str, Host]) -> None:
    host = rack["rack-1"]
    host.write("/srv/file", "one")
    before = host.snapshot()
    assert differences(before, host.snapshot()) == []
    assert before["/srv/file"].content == hashlib.sha256(b"one").hexdigest()
    changes = {
        "/srv/file": "printf two >/srv/file",
        "/etc/hostname": "chmod 0600 /etc/hostname",
        "/etc/hosts": "chown admin /etc/hosts",
        "/srv/link": "ln -s file /srv/link",
        "/home/student/.profile": "rm /home/student/.profile",
        "/srv/directory": "mkdir /srv/directory",
    }
    for command in changes.values():
        host.run(command)
    after = host.snapshot()
    # A directory's own entry tells of mode and owner, so it does not change with what is in it.
    assert {
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    } == changes.keys()
    assert len(differences(before, after)) == len(changes)
    assert differences(host.snapshot(exclude=["/srv"]), host.snapshot(exclude=["/srv", "/etc/hosts"])) == [
        "/etc/hosts: -"
    ]


def test_files_are_written_with_mode_and_owner_and_read_back(rack: dict[str, Host]) -> None:
    host = rack["rack-1"]
    content = b"\x00\xff'\"$HOME\n"
    host.write("/run/a new/place", content, 0o640, owner="admin:student")
    assert host.read_bytes("/run/a new/place") == content
    assert host.run(["stat", "-c", "%a %U %G", "/run/a new/place"]).stdout == "640 admin student\n"
    with pytest.raises(FileNotFoundError):
        host.read("/nowhere")


def test_failing_command_is_an_error_with_its_complaint(rack: dict[str, Host]) -> None:
    host = rack["rack-1"]
    with pytest.raises(LabError, match=r"rack-1: .*exit status 2: .*No such file"):
        host.run("ls /nowhere")
    assert host.run("exit 7", check=False).returncode == 7
    assert host.run(["cat"], stdin="through\n").stdout == "through\n"


def test_nothing_of_the_callers_environment_gets_in(
    rack: dict[str, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "elsewhere")
    assert "OLLAMA_HOST" not in rack["rack-1"].run("env").stdout


def test_reboot_keeps_the_disk_and_brings_the_firewall_back(new_host: BootHost) -> None:
    host = new_host(firewall="nftables")
    host.write("/srv/kept", "kept")
    first = host.run("journalctl --boot --output=export -n1 | grep _BOOT_ID").stdout
    host.reboot()
    assert host.read("/srv/kept") == "kept"
    assert host.run("journalctl --boot --output=export -n1 | grep _BOOT_ID").stdout != first
    assert "policy drop" in host.run("nft list chain inet filter input").stdout
    assert ssh(host, "hostname").stdout == f"{host.name}\n"


def test_power_cut_ends_everything_at_once_and_the_disk_survives(new_host: BootHost) -> None:
    host = new_host()
    host.write("/srv/kept", "kept")
    host.run("systemd-run --unit=stubborn sh -c 'trap : TERM; while :; do sleep 1; done'")
    host.stop()
    assert not controller_reaches(host.address, 22)
    with pytest.raises(LabError, match="is off"):
        host.run("true")
    host.start()
    assert host.read("/srv/kept") == "kept"


def test_cut_cable_loses_everything_until_it_is_plugged_in(rack: dict[str, Host]) -> None:
    host = rack["rack-3"]
    host.cut_network()
    try:
        assert not controller_reaches(host.address, 22)
        assert not controller_reaches(host.address6, 22)
        assert host.run("hostname").stdout == "rack-3\n"
    finally:
        host.restore_network()
    for address in (host.address, host.address6):
        deadline = time.monotonic() + 10
        while not controller_reaches(address, 22) and time.monotonic() < deadline:
            pass
        assert ssh(host, "hostname", address=address).stdout == "rack-3\n"


def test_missing_package_can_be_installed_by_apt(rack: dict[str, Host]) -> None:
    host = rack["rack-2"]
    assert host.run("command -v zstd", check=False).returncode != 0
    host.run("apt-get -qq update && apt-get -qq install -y zstd", timeout=60)
    assert host.run("echo packed | zstd | zstd -d").stdout == "packed\n"


def test_full_disk_is_full_for_that_host_only(lab: Lab, rack: dict[str, Host]) -> None:
    host = rack["rack-3"]
    full = host.run("head -c 80M /dev/zero >/srv/big", check=False)
    assert "No space left on device" in full.stderr
    host.run("rm /srv/big")
    rack["rack-1"].run("head -c 80M /dev/zero >/srv/big && rm /srv/big")


def test_nvidia_smi_answers_on_hosts_with_gpus_and_is_missing_on_others(rack: dict[str, Host]) -> None:
    host = rack["rack-1"]
    query = "nvidia-smi --query-gpu=index,name,memory.total,compute_cap --format=csv,noheader,nounits"
    assert host.run(query).stdout == (
        "0, NVIDIA GeForce RTX 4090, 24564, 8.9\n1, NVIDIA GeForce RTX 4060 Ti, 16380, 8.9\n"
    )
    host.use_gpu_memory({0: 4000})
    used = "nvidia-smi -i 0 --query-gpu=memory.used --format=csv,noheader,nounits"
    assert host.run(used).stdout == "4001\n"
    assert rack["rack-3"].run("command -v nvidia-smi", check=False).returncode != 0


def test_names_are_checked_and_not_given_twice(lab: Lab, rack: dict[str, Host]) -> None:
    for name in ("rack-1", "registry", "switch"):
        with pytest.raises(LabError, match="is taken"):
            lab.host(name)
    for name in ("", "../etc", "UPPER", "a b", "x" * 31, "-a"):
        with pytest.raises(LabError, match="is no host name"):
            lab.host(name)


# --- the registry


def fetch(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


@pytest.fixture
def no_faults(lab: Lab) -> Iterator[None]:
    yield
    lab.registry.set_faults()


def test_a_pushed_model_can_be_pulled_whole_and_in_parts(lab: Lab) -> None:
    content = os.urandom(300_000)
    pushed = lab.registry.push("library/parts", [(MODEL_TYPE, content)])
    base = f"{lab.registry.url}/v2/library/parts"
    status, _, manifest = fetch(f"{base}/manifests/latest", Accept=MANIFEST_TYPE)
    assert status == 200
    assert pushed == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    (layer,) = json.loads(manifest)["layers"]
    blob = f"{base}/blobs/{layer['digest']}"
    assert layer["size"] == len(content)
    for method in ("GET", "HEAD"):
        status, headers, body = fetch(blob, method)
        assert (status, headers["Content-Length"], headers["Location"]) == (200, str(len(content)), blob)
        assert body == (content if method == "GET" else b"")
    for start, end in ((0, 99_999), (100_000, 299_999), (299_999, 299_999)):
        status, headers, body = fetch(blob, Range=f"bytes={start}-{end}")
        assert (status, body) == (206, content[start : end + 1])
        assert headers["Content-Range"] == f"bytes {start}-{end}/{len(content)}"


def test_a_tag_can_be_moved_and_what_is_not_there_is_404(lab: Lab) -> None:
    first = lab.registry.push("library/moved", [(MODEL_TYPE, b"one")], tag="v1")
    second = lab.registry.push("library/moved", [(MODEL_TYPE, b"two")], tag="v1")
    assert first != second
    url = f"{lab.registry.url}/v2/library/moved/manifests"
    assert f"sha256:{hashlib.sha256(fetch(f'{url}/v1', Accept=MANIFEST_TYPE)[2]).hexdigest()}" == second
    assert fetch(f"{url}/v2", Accept=MANIFEST_TYPE)[0] == 404
    assert fetch(f"{lab.registry.url}/v2/library/moved/blobs/sha256:{'0' * 64}")[0] == 404


def test_files_are_served_to_hosts_whole_and_from_the_middle(
    lab: Lab, rack: dict[str, Host], tmp_path: Path
) -> None:
    archive = tmp_path / "release.tgz"
    archive.write_bytes(os.urandom(50_000))
    url = lab.registry.publish(archive, "v1/release.tgz")
    host = rack["rack-1"]
    host.run(f"curl -fsS -r 0-9999 -o /srv/release.tgz {url} && curl -fsS -C - -o /srv/release.tgz {url}")
    assert host.read_bytes("/srv/release.tgz") == archive.read_bytes()
    assert fetch(f"{lab.registry.files_url}../../key")[0] == 404
    assert fetch(f"{lab.registry.files_url}nothing")[0] == 404
    mine = [request for request in lab.registry.requests() if request["client"] == host.address]
    assert [(request["status"], request["bytes"]) for request in mine][-2:] == [(206, 10_000), (206, 40_000)]


@pytest.mark.usefixtures("no_faults")
def test_faults_break_answers_off_and_go_away_again(lab: Lab, tmp_path: Path) -> None:
    content = os.urandom(50_000)
    (tmp_path / "file").write_bytes(content)
    url = lab.registry.publish(tmp_path / "file")
    lab.registry.set_faults(drop_after=20_000)
    with pytest.raises(http.client.IncompleteRead) as broken:
        fetch(url)
    assert broken.value.partial == content[:20_000]
    lab.registry.set_faults(status=503)
    assert fetch(url)[0] == 503
    lab.registry.set_faults(drop_after=0, bytes_per_second=1)
    with pytest.raises(http.client.IncompleteRead):
        fetch(url)
    lab.registry.set_faults(corrupt=1)
    assert fetch(url)[2][1:] == content[1:]
    assert fetch(url)[2][0] != content[0]
    lab.registry.set_faults()
    assert fetch(url)[2] == content
    with pytest.raises(LabError, match="no fault called drop"):
        lab.registry.set_faults(drop=1)


# --- nothing is left behind

STARTER = """
import sys, time
from lab import Lab
lab = Lab.start("doomed")
lab.hosts(["one", "two"], firewall="ufw")
print(lab.slot.number, flush=True)
time.sleep(600)
"""


def start_doomed() -> tuple[subprocess.Popen[str], Slot]:
    process = subprocess.Popen([sys.executable, "-c", STARTER], cwd=TESTS, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        slot = Slot(int(process.stdout.readline()))
    assert len(cleanup.remnants(slot)) > 20
    return process, slot


def wait_until_gone(slot: Slot) -> None:
    deadline = time.monotonic() + 30
    while cleanup.remnants(slot) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert cleanup.remnants(slot) == []


def test_killed_lab_leaves_nothing(lab: Lab) -> None:
    process, slot = start_doomed()
    process.kill()
    process.wait()
    wait_until_gone(slot)
    assert cleanup.remnants(lab.slot), "and nobody else's lab was touched"


def test_lab_killed_together_with_its_keeper_is_swept_by_the_next_one(lab: Lab) -> None:
    process, slot = start_doomed()
    os.kill(int(slot.keeper_path.read_text()), 9)
    process.kill()
    process.wait()
    assert cleanup.remnants(slot)
    deadline = time.monotonic() + 10
    while slot.number not in sweep() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert cleanup.remnants(slot) == []


def test_two_labs_at_once_have_networks_of_their_own(lab: Lab) -> None:
    with Lab.start("second") as second:
        for name, network in lab.networks.items():
            assert not network.prefix4.overlaps(second.networks[name].prefix4)
            assert not network.prefix6.overlaps(second.networks[name].prefix6)
        assert fetch(f"{second.registry.url}/v2/")[0] == 200
        slot = second.slot
    assert cleanup.remnants(slot) == []
    assert fetch(f"{lab.registry.url}/v2/")[0] == 200
    second.stop()


def test_command_keeps_a_lab_until_it_is_taken_down(lab: Lab) -> None:
    def command(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "lab", *arguments],
            cwd=TESTS,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    started = command("up", "1", "--firewall", "ufw", "--gpu", "rtx-4090")
    slot = started[started.index("lab ") :].split()[1]
    try:
        assert "gpu-01" in started
        (line,) = [line for line in command("status").splitlines() if line.startswith(f"lab {slot} (up)")]
        assert "kept until `down`" in line
    finally:
        # Only this one: whoever runs the tests may have a lab of their own running.
        ended = command("down", slot)
    assert f"lab {slot} is gone" in ended
    listed = command("status")
    assert f"lab {slot} (up)" not in listed
    assert f"lab {lab.slot.number} (tests)" in listed, "labs of tests are left alone"
