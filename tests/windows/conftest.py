"""A fleet of one Windows host on loopback: no lab is needed for it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from converge.command_runs import Run
from converge.fleet_directory import FleetDirectory
from lab.tiny_gguf import tiny_gguf
from ollama_sim.build import build_windows_release
from windows.host import WindowsHost

HOST = "desk-7"
VERSION, NEWER = "0.24.0", "0.24.1"
MODELS = "D:\\Models\\Ollama Models 模型"
ROOT = "C:\\Program Files\\ollama-fleet"
CANARY = 'a\'b ’c‘ "d" %PATH% $HOME $(Get-Date) `e` 中文 \\'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory per version with the stand-in's archives."""
    folder = tmp_path_factory.mktemp("windows-releases")
    for version in (VERSION, NEWER):
        for architecture in ("amd64", "arm64"):
            build_windows_release(version, architecture, folder / version)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="session")
def desk_fleet(
    windows_host: WindowsHost, releases: Path, tmp_path_factory: pytest.TempPathFactory
) -> FleetDirectory:
    """fleet.yaml with the host in it, locked; nothing is applied yet."""
    folder = tmp_path_factory.mktemp("windows-fleet")
    tiny_gguf(folder / "tiny.gguf")
    known = folder / "known_hosts"
    known.write_text(windows_host.known_hosts)
    fleet = FleetDirectory.new(
        folder,
        {
            "version": 1,
            "release": {"version": VERSION, "source": f"file://{releases / VERSION}"},
            "models": {
                "reasoner": {
                    "from": "./tiny.gguf",
                    "num_ctx": 512,
                    "num_gpu": 0,
                    "parameters": {"temperature": 0.6, "stop": ['b "c"']},
                    "system": "You are a \"careful\" engineer.\nAnswer 'so' in $HOME; 100%.",
                    "preload": True,
                }
            },
            "hosts": {
                HOST: {
                    "os": "windows",
                    "address": windows_host.address,
                    "ssh": {
                        "user": windows_host.user,
                        "port": windows_host.port,
                        "key": str(windows_host.key),
                        "known_hosts": str(known),
                    },
                    "listen": f"0.0.0.0:{free_port()}",
                    "models_dir": MODELS,
                    "env": {"OLLAMA_KEEP_ALIVE": -1, "OLLAMA_DEBUG": True, "FLEET_CANARY": CANARY},
                    "firewall": {"allow_from": ["127.0.0.0/8", "fd00::/64"]},
                    "models": ["reasoner"],
                }
            },
        },
    )
    fleet.lock()
    return fleet


@pytest.fixture(scope="session")
def first(desk_fleet: FleetDirectory, windows_host: WindowsHost) -> Run:
    """The apply that finds an empty host; it must succeed."""
    run = desk_fleet.apply()
    assert windows_host.missing() == [], str(run)
    assert run.code == 0, str(run)
    return run
