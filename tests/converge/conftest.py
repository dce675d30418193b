"""Hosts, releases and a model for the tests of the main job."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from converge import newcomer
from converge.command_runs import Run
from converge.fleet_directory import Document, FleetDirectory, merged
from lab import Lab
from lab.host import Host
from lab.tiny_gguf import tiny_gguf
from ollama_sim.build import build_release, build_windows_release

VERSION, NEWER = "0.24.0", "0.24.1"
MODEL = "library/tiny"


@dataclass(frozen=True)
class Release:
    """What the hosts are to install."""

    version: str
    source: str
    """URL of the folder that holds the archives and their checksums."""
    is_stand_in: bool

    @property
    def document(self) -> Document:
        return {"version": self.version, "source": self.source}


@dataclass(frozen=True)
class Rack:
    """Two hosts that have been converged once, and what the run that did it said."""

    fleet: FleetDirectory
    one: Host
    """Behind ufw, reached as root."""
    two: Host
    """Behind nftables, reached as admin, who may use sudo."""
    first: Run
    lab: Lab

    @property
    def hosts(self) -> tuple[Host, Host]:
        return (self.one, self.two)


MakeFleet = Callable[..., FleetDirectory]


@pytest.fixture(scope="session")
def publish(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Release]:
    """`publish(version, format=..., faults=...)`: build the stand-in and serve it to the lab."""

    def build(
        version: str, archive: str = "tar.zst", faults: dict[str, object] | None = None, folder: str = ""
    ) -> Release:
        out = tmp_path_factory.mktemp(f"release-{version}-")
        for architecture in ("amd64", "arm64"):
            build_release(version, architecture, archive, out, faults)  # type: ignore[arg-type]
            build_windows_release(version, architecture, out)  # type: ignore[arg-type]
        return Release(version, serve(lab, out, folder or version), is_stand_in=True)

    return build


def serve(lab: Lab, folder: Path, name: str) -> str:
    """Serve a folder's files; returns the URL of the folder."""
    for file in folder.iterdir():
        lab.registry.publish(file, f"{name}/{file.name}")
    return f"{lab.registry.files_url}{name}"


@pytest.fixture(scope="session")
def release(
    lab: Lab,
    publish: Callable[..., Release],
    tmp_path_factory: pytest.TempPathFactory,
    say: Callable[[str], None],
) -> Release:
    """The stand-in, or the real release whose archive OLLAMA_RELEASE names."""
    given = os.environ.get("OLLAMA_RELEASE")
    if not given:
        say(f"hosts install the stand-in {VERSION}")
        return publish(VERSION)
    archive = Path(given).absolute()
    folder = tmp_path_factory.mktemp("real-release")
    version = _version_of(archive, folder / "unpacked")
    served = folder / "served"
    served.mkdir()
    digest = sha256(archive.read_bytes()).hexdigest()
    ending = "tar.zst" if archive.name.endswith(".zst") else "tgz"
    names = [f"ollama-linux-{architecture}.{ending}" for architecture in ("amd64", "arm64")]
    for name in names:
        (served / name).symlink_to(archive)
    (served / "sha256sum.txt").write_text("".join(f"{digest}  ./{name}\n" for name in names))
    say(f"hosts install {archive} (version {version})")
    return Release(version, serve(lab, served, version), is_stand_in=False)


def _version_of(archive: Path, place: Path) -> str:
    place.mkdir()
    subprocess.run(["tar", "--auto-compress", "-xf", archive, "-C", place], check=True)
    told = subprocess.run(
        [place / "bin/ollama", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(place), "OLLAMA_HOST": "127.0.0.1:1"},
    )
    found = re.search(r"version is (\S+)", told.stdout + told.stderr)
    assert found, told
    return found[1]


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Past pytest's capture: which release the hosts install must be known to whoever reads the result."""
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    return lambda line: reporter.write_line(f"lab: {line}") if reporter else None


@pytest.fixture(scope="session")
def base(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a tiny model in the lab's registry."""
    gguf = tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")
    lab.registry.push_gguf(MODEL, gguf, parameters={"temperature": 0.5, "top_k": 7})
    return f"{lab.registry.host}/{MODEL}:latest"


@pytest.fixture(scope="session")
def common(lab: Lab, release: Release, base: str) -> Document:
    """A fleet without hosts: what all fleets here have in common."""
    return {
        "version": 1,
        "release": release.document,
        "defaults": {
            "ssh": {"user": "root", "key": str(lab.key), "known_hosts": str(lab.known_hosts)},
        },
        "registries": {lab.registry.host: {"insecure": True}},
        "models": {
            "reasoner": {
                "from": base,
                "num_ctx": 512,
                "num_gpu": 0,
                "parameters": {"temperature": 0.6, "stop": ["<a>", 'b "c"']},
                "system": 'You are a "careful" engineer.\nAnswer $HOME in `one` line; 100%.',
                "preload": True,
            }
        },
    }


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands after what the README says to install has been done in a clone, and trio besides.

    Where trio can be imported httpcore imports it too, which does not go together with gevent.
    """
    place = tmp_path_factory.mktemp("installed")
    newcomer.clone(place / "clone")
    install, _, _, _ = newcomer.chapter()
    found = "python -c \"import trio, ollama_fleet; assert 'site-packages' in ollama_fleet.__file__\""
    done = subprocess.run(
        ["bash", "-ec", f"{install}\npip install --quiet trio\n{found}"],
        cwd=place / "clone",
        env=newcomer.environment(place / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "clone/.venv/bin"


@pytest.fixture(scope="session")
def make_fleet(common: Document, tmp_path_factory: pytest.TempPathFactory) -> MakeFleet:
    """`make_fleet(more)`: a directory with the common fleet and `more` merged in, locked."""

    def make(more: Document, *, locked: bool = True) -> FleetDirectory:
        fleet = FleetDirectory.new(tmp_path_factory.mktemp("fleet"), merged(common, more))
        if locked:
            fleet.lock()
        return fleet

    return make


@pytest.fixture(scope="session")
def rack(lab: Lab, make_fleet: MakeFleet) -> Rack:
    """Two fresh hosts, converged by one apply."""
    one, two = lab.hosts({"gpu-01": {"firewall": "ufw"}, "gpu-02": {"firewall": "nftables"}})
    fleet = make_fleet(
        {
            "defaults": {
                "listen": "[::]:11434",
                "models_dir": "/srv/ollama models/m",
                "env": {
                    "OLLAMA_KEEP_ALIVE": -1,
                    "OLLAMA_DEBUG": True,
                    "FLEET_CANARY": 'a\'b "c" \\d $HOME ${HOME} %h %% `touch /canary` $(touch /canary); #',
                },
                "firewall": {"allow_from": [*lab.cidrs("lan"), *lab.cidrs("office")]},
            },
            "groups": {"rack": {"hosts": ["gpu-01", "gpu-02"], "models": ["reasoner"]}},
            "hosts": {
                "gpu-01": {"address": one.address},
                "gpu-02": {"address": two.address, "ssh": {"user": "admin"}, "sudo": True},
            },
        }
    )
    first = fleet.apply()
    assert first.code == 0, str(first)
    return Rack(fleet, one, two, first, lab)
