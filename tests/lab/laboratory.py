"""The lab as a whole: start it, put hosts on it, stop it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypedDict, Unpack

from . import cgroup, cleanup, firewall, gpus, image
from .client import Client
from .container import Container
from .host import Host
from .network import FIRST_HOST, CLIENT, REGISTRY, Network, make_namespace, make_switch, plan_networks
from .process import LabError, run, succeeds
from .registry import NAME as REGISTRY_NAME
from .registry import Registry
from .slot import Slot, all_slots


class HostOptions(TypedDict, total=False):
    """What can be asked of a host besides its name; see `Lab.host`."""

    firewall: str | None
    gpus: Sequence[str]
    without: Sequence[str]
    disk: str


@dataclass
class _Keeper:
    slot: Slot
    process: subprocess.Popen[str]


class Lab:
    """A running lab. A context manager: leaving it stops it."""

    def __init__(self, name: str, keeper: _Keeper, base: Path) -> None:
        self.name = name
        self.slot = keeper.slot
        self._keeper = keeper
        self._image = base
        self._lock = threading.Lock()
        self._hosts: dict[str, Host] = {}
        self.networks: dict[str, Network] = plan_networks(self.slot)
        self.office = Client(self.slot, self.networks["office"])
        self.outside = Client(self.slot, self.networks["outside"])
        self.registry = Registry(self.slot, self.networks["lan"], base)

    @classmethod
    def start(cls, name: str = "lab", *, say: Callable[[str], None] = lambda _: None) -> Lab:
        """Start an empty lab: networks, clients and the registry; sweeps what dead labs left.

        `say` is told in one line about what takes long. Raises LabError where it cannot run here or fails.
        """
        if os.geteuid() != 0:
            raise LabError("the lab needs root")
        image.install_tools(say)
        if (reason := cls.available()) is not None:
            raise LabError(reason)
        base = image.base_image(say)
        sweep()
        keeper = _start_keeper()
        lab = None
        try:
            lab = cls(name, keeper, base)
            lab._build()
        except BaseException:
            _end_keeper(keeper)
            if lab is not None:
                lab.registry.collect()
            raise
        return lab

    @staticmethod
    def available() -> str | None:
        """Why no lab can run here, in one line; None where it can. Tries it, with the tools that are there."""
        if os.geteuid() != 0:
            return "the lab needs root"
        if not shutil.which("apt-get") and any(not shutil.which(tool) for tool in image.REQUIRED):
            return "the lab needs Debian's tools (mmdebstrap, systemd-nspawn) or apt-get to install them"
        if not cgroup.hierarchies():
            return "the lab needs a control group hierarchy of systemd (name=systemd or cgroup2)"
        return _try_namespaces() or _try_cgroup()

    @property
    def key(self) -> Path:
        """The private key that root, admin and student of every host accept."""
        return self.slot.directory / "key"

    @property
    def known_hosts(self) -> Path:
        """Host keys of all hosts, by each of their addresses and by name."""
        return self.slot.directory / "known_hosts"

    @property
    def lan_cidrs(self) -> list[str]:
        """Both prefixes of `lan`, as `allow_from` takes them."""
        return self.cidrs("lan")

    def cidrs(self, network: str) -> list[str]:
        """IPv4 and IPv6 prefix of a network."""
        return [str(self.networks[network].prefix4), str(self.networks[network].prefix6)]

    @property
    def all_hosts(self) -> list[Host]:
        """The hosts in the order in which they were asked for."""
        return list(self._hosts.values())

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def host(self, name: str, **options: Unpack[HostOptions]) -> Host:
        """Boot a host and wait for its sshd.

        firewall: "ufw" or "nftables", active and open for SSH only; None (the default) for no firewall.
        gpus: names of recorded GPUs that its `nvidia-smi` tells of; none, no `nvidia-smi`.
        without: Debian packages that it lacks, e.g. "zstd"; apt can install them again from the registry.
        disk: how much it can write, as tmpfs takes a size ("2G", "50%").
        Raises LabError where the name is taken or the host does not boot.
        """
        container = Container(self.slot, name)
        with self._lock:
            if name in self._hosts or name in {"switch", "office", "outside", REGISTRY_NAME}:
                raise LabError(f"the name {name} is taken")
            number = FIRST_HOST + len(self._hosts)
            host = Host(
                container, number, self.networks, options.get("firewall"), self.known_hosts, self.key
            )
            self._hosts[name] = host
        container.make_disk(self._image / "tree", options.get("disk", "80%"))
        self._settle(host, options)
        make_namespace(self.slot, name, number, list(self.networks.values()))
        host.start()
        self._write_state()
        return host

    def hosts(self, wanted: Sequence[str] | Mapping[str, HostOptions], **options: Unpack[HostOptions]) -> list[Host]:
        """Boot several hosts at once: names with common options, or a mapping of name to options of its own."""
        each = dict(wanted) if isinstance(wanted, Mapping) else {name: HostOptions() for name in wanted}
        with ThreadPoolExecutor(max_workers=4) as pool:
            jobs = [pool.submit(self.host, name, **{**options, **own}) for name, own in each.items()]
            return [job.result() for job in jobs]

    def stop(self) -> None:
        """Remove everything. Raises LabError where something will not go away."""
        error = _end_keeper(self._keeper)
        for host in self._hosts.values():
            if host.container.process is not None:
                host.container.process.wait(20)
        self.registry.collect()
        if error:
            raise LabError(error)

    def keep(self) -> None:
        """Let the lab outlive this process; `python -m lab down` ends it."""
        self._write_state()
        pipe = self._keeper.process.stdin
        assert pipe is not None
        pipe.write("keep\n")
        pipe.flush()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _build(self) -> None:
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.slot.prefix, "-f", str(self.key)])
        self.known_hosts.touch()
        make_switch(self.slot, self.networks)
        for client in (self.office, self.outside):
            make_namespace(self.slot, client.network.name, CLIENT, [client.network])
        make_namespace(self.slot, REGISTRY_NAME, REGISTRY, [self.networks["lan"]])
        self.registry.start()
        self._write_state()

    def _settle(self, host: Host, options: HostOptions) -> None:
        """Write into the host's tree what distinguishes it from the base image."""
        root = host.root
        (root / "etc/hostname").write_text(f"{host.name}\n")
        (root / "etc/hosts").write_text(
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
            f"{host.address} {host.name}\n{host.address6} {host.name}\n"
            f"{self.registry.address} {REGISTRY_NAME} {REGISTRY_NAME}.lab\n"
        )
        identity = f"{self.slot.prefix}/{host.name}/{os.urandom(8).hex()}"
        (root / "etc/machine-id").write_text(f"{hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest()}\n")
        (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] {self.registry.url}/debian ./\n")
        host_key = root / "etc/ssh/ssh_host_ed25519_key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", str(host_key)])
        authorized = self.key.with_suffix(".pub").read_text()
        for home, uid in (("root", 0), ("home/admin", 1000), ("home/student", 1001)):
            directory = root / home / ".ssh"
            directory.mkdir(mode=0o700, exist_ok=True)
            keys = directory / "authorized_keys"
            keys.write_text(authorized)
            for path in (directory, keys):
                os.chown(path, uid, uid)
        for package in options.get("without", ()):
            run(["chroot", str(root), "dpkg", "--purge", "--force-depends", package])
        firewall.install(root, options.get("firewall"))
        if options.get("gpus"):
            gpus.install(root, options["gpus"])
        public = host_key.with_suffix(".pub").read_text().split()[:2]
        names = [host.name, host.address, host.address6]
        names += [address for n in ("office", "outside") for address in (host._address(n, 4), host._address(n, 6))]
        with self._lock, self.known_hosts.open("a") as file:
            file.write(f"{','.join(names)} {' '.join(public)}\n")

    def _write_state(self) -> None:
        """What `python -m lab status` and `shell` need to know about a lab of another process."""
        with self._lock:
            state = {
                "name": self.name,
                "slot": self.slot.number,
                "registry": self.registry.url,
                "hosts": {
                    host.name: {
                        "address": host.address,
                        "address6": host.address6,
                        "firewall": host.firewall,
                        "leader": host.container.leader,
                    }
                    for host in self._hosts.values()
                },
            }
            beside = self.slot.directory / "state.new"
            beside.write_text(json.dumps(state, indent=1))
            beside.rename(self.slot.directory / "state.json")


def sweep() -> list[int]:
    """Remove what dead labs left on this machine; returns their slot numbers."""
    swept = []
    for slot in all_slots():
        if not cleanup.remnants(slot):
            continue
        lock = slot.lock()
        if lock is None:
            continue
        try:
            cleanup.remove(slot)
            swept.append(slot.number)
        finally:
            os.close(lock)
    return swept


def _start_keeper() -> _Keeper:
    for slot in all_slots():
        process = subprocess.Popen(
            [sys.executable, "-m", "lab.keeper", str(slot.number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            cwd=Path(__file__).parents[1],
            env={"PATH": os.environ.get("PATH", os.defpath), "OLLAMA_FLEET_LAB_RUN": str(slot.directory.parent)},
        )
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        if said == "ready":
            return _Keeper(slot, process)
        _end_keeper(_Keeper(slot, process))
        if said:
            raise LabError(said)
    raise LabError(f"all {len(all_slots())} labs of this machine are in use; see `python -m lab status`")


def _end_keeper(keeper: _Keeper) -> str:
    """Close the keeper's input and wait until it has cleaned up; returns its complaint, empty when all is gone."""
    out, _ = keeper.process.communicate()
    return out.strip() if keeper.process.returncode == 1 else ""


def _try_namespaces() -> str | None:
    """Make and remove what a lab is made of: a network namespace and an overlay."""
    if not shutil.which("ip"):
        return None  # comes with the tools; Lab.start tries again after installing them
    name = f"oflabtry{os.getpid()}"
    try:
        run(["ip", "netns", "add", name])
        run(["ip", "-n", name, "link", "add", "try", "type", "bridge"])
        run(["ip", "-n", name, "link", "add", "name", "a", "type", "veth", "peer", "name", "b"])
    except LabError as error:
        return f"network namespaces are refused here: {error}"
    finally:
        succeeds(["ip", "netns", "del", name])
    with tempfile.TemporaryDirectory(prefix="oflabtry") as directory:
        lower, disk, merged = (Path(directory, part) for part in ("lower", "disk", "merged"))
        for path in (lower, disk, merged):
            path.mkdir()
        try:
            run(["mount", "-t", "tmpfs", "tmpfs", str(disk)])
            (disk / "upper").mkdir()
            (disk / "work").mkdir()
            options = f"lowerdir={lower},upperdir={disk / 'upper'},workdir={disk / 'work'}"
            run(["mount", "-t", "overlay", "-o", options, "overlay", str(merged)])
        except LabError as error:
            return f"mounting an overlay is refused here: {error}"
        finally:
            succeeds(["umount", str(merged)])
            succeeds(["umount", str(disk)])
    return None


def _try_cgroup() -> str | None:
    name = f"oflabtry{os.getpid()}"
    try:
        cgroup.create(name)
    except (LabError, OSError) as error:
        return f"control groups cannot be made here: {error}"
    finally:
        for hierarchy in cgroup.hierarchies():
            cgroup.remove_tree(hierarchy / name)
    return None
