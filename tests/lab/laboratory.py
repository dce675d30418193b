"""The lab as a whole: start it, put hosts on it, stop it."""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Unpack

from . import image, preflight
from .client import Client
from .container import Container
from .host import Host
from .network import (
    CLIENT,
    FIRST_HOST,
    REGISTRY,
    SWITCH,
    Network,
    make_namespace,
    make_switch,
    plan_networks,
    remove_namespace,
)
from .outfit import HostOptions, outfit
from .process import LabError, run
from .registry import NAME as REGISTRY_NAME
from .registry import Registry
from .tether import Tether, sweep, take_slot

_BOOTS_AT_ONCE = 4
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
_TAKEN_NAMES = {SWITCH, "office", "outside", REGISTRY_NAME}


class Lab:
    """A running lab. A context manager: leaving it stops it. Made by `Lab.start`."""

    def __init__(self, name: str, tether: Tether, base: Path) -> None:
        self.name = name
        self.slot = tether.slot
        self._tether = tether
        self._image = base
        self._lock = threading.Lock()
        self._hosts: dict[str, Host] = {}
        self._numbers = itertools.count(FIRST_HOST)
        self.networks: dict[str, Network] = plan_networks(self.slot)
        self.office = Client(self.slot, self.networks["office"])
        self.outside = Client(self.slot, self.networks["outside"])
        self.registry = Registry(self.slot, self.networks["lan"], base)

    @classmethod
    def start(cls, name: str = "lab", *, say: Callable[[str], None] = lambda _: None) -> Lab:
        """Start a lab without hosts: networks, clients and the registry; sweeps what dead labs left.

        Installs by apt-get what this machine lacks and builds the base image where it is not cached; `say` is
        told in one line about each. Raises LabError where a lab cannot run here or something fails.
        """
        if os.geteuid() != 0:
            raise LabError("the lab needs root")
        image.install_tools(say)
        if (reason := cls.available()) is not None:
            raise LabError(reason)
        base = image.base_image(say)
        sweep()
        tether = take_slot()
        lab = None
        try:
            lab = cls(name, tether, base)
            lab._build()
        except BaseException:
            tether.release()
            if lab is not None:
                lab.registry.collect()
            raise
        return lab

    @staticmethod
    def available() -> str | None:
        """Why no lab can run here, in one line; None where it can. Tries it, and leaves nothing behind."""
        return preflight.reason_against()

    @property
    def key(self) -> Path:
        """The private key that root, admin and student of every host accept."""
        return self.slot.directory / "key"

    @property
    def known_hosts(self) -> Path:
        """Host keys of all hosts, by name and by each of their addresses."""
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
        """Boot a host and wait until its boot is complete.

        firewall: "ufw", "nftables", "firewalld" or "iptables" (its legacy tables), active and open for SSH only;
                None (the default) for no firewall.
        gpus: names of recorded GPUs that its `nvidia-smi` tells of; without any there is no `nvidia-smi`.
        without: Debian packages that it lacks; "zstd" can be installed again by apt, from the lab's registry.
        disk: how much it can write, as tmpfs takes a size ("2G", "50%"); in memory, so take care.
        Raises LabError where the name is taken or the host does not boot.
        """
        with self._lock:
            if name in self._hosts or name in _TAKEN_NAMES:
                raise LabError(f"the name {name} is taken")
            if not _NAME.fullmatch(name):
                raise LabError(
                    f"{name!r} is no host name: lower-case letters, digits and hyphens, 30 at most"
                )
            number = next(self._numbers)
            container = Container(self.slot, name)
            firewall = options.get("firewall")
            host = Host(container, number, self.networks, firewall, self.known_hosts, self.key)
            self._hosts[name] = host
        container.make_disk(self._image / "tree", options.get("disk", "80%"))
        known = outfit(host, self.registry, self.key.with_suffix(".pub").read_text(), options)
        with self._lock, self.known_hosts.open("a") as file:
            file.write(known)
        make_namespace(self.slot, name, number, list(self.networks.values()))
        host.start()
        self._write_state()
        return host

    def hosts(
        self, wanted: Sequence[str] | Mapping[str, HostOptions], **common: Unpack[HostOptions]
    ) -> list[Host]:
        """Boot several hosts at once: names, or names with options that go before the common ones."""
        each = dict(wanted) if isinstance(wanted, Mapping) else {name: HostOptions() for name in wanted}

        def boot(name: str) -> Host:
            options = common.copy()
            options.update(each[name])
            return self.host(name, **options)

        with ThreadPoolExecutor(max_workers=_BOOTS_AT_ONCE) as pool:
            return list(pool.map(boot, each))

    def machine(self, name: str) -> tuple[str, str]:
        """Lay cables to a machine that is no Debian host: the network namespace to run it in, and its address.

        Raises LabError where the name is taken.
        """
        with self._lock:
            if name in self._hosts or name in _TAKEN_NAMES or not _NAME.fullmatch(name):
                raise LabError(f"the name {name} is taken, or none")
            number = next(self._numbers)
        make_namespace(self.slot, name, number, list(self.networks.values()))
        return self.slot.netns(name), self.networks["lan"].address(number)

    def remove(self, host: Host) -> None:
        """Switch a host off and free what it takes; its disk is lost and its address not used again."""
        host.stop()
        host.container.remove_disk()
        remove_namespace(self.slot, host.name)
        with self._lock:
            del self._hosts[host.name]
        self._write_state()

    def keep(self) -> None:
        """Let the lab outlive this process; `python -m lab down` ends it."""
        self._write_state()
        self._tether.keep()

    def stop(self) -> None:
        """Remove everything; a second time does nothing. LabError where something will not go away."""
        complaint = self._tether.release()
        for host in self._hosts.values():
            if host.container.process is not None:
                host.container.process.wait(20)
        self.registry.collect()
        if complaint:
            raise LabError(complaint)

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

    def _write_state(self) -> None:
        """What `python -m lab` needs to know about a lab of another process."""
        with self._lock:
            hosts = {
                host.name: {
                    "address": host.address,
                    "address6": host.address6,
                    "firewall": host.firewall,
                    "leader": host.container.leader,
                }
                for host in self._hosts.values()
            }
            state = {"name": self.name, "registry": self.registry.url, "hosts": hosts}
            beside = self.slot.directory / "state.new"
            beside.write_text(json.dumps(state, indent=1))
            beside.rename(self.slot.directory / "state.json")
