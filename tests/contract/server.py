"""The server under test: started in a folder of its own on a free loopback port, and talked to over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

START_SECONDS = 30.0
# Only these of the test run's own variables reach the server.
_INHERITED = ("PATH", "LANG", "LD_LIBRARY_PATH", "TZ")


@dataclass(frozen=True)
class Flavour:
    """One program that claims to be Ollama."""

    label: str
    binary: Path
    version: str
    real: bool

    @property
    def number(self) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:3])

    @property
    def llama_server(self) -> bool:
        """Whether it is of the generation that leaves models to a llama-server (0.30 and later)."""
        return self.number >= (0, 30)

    def run(
        self, *arguments: str, env: Mapping[str, str], cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line to its end, in its home folder unless told otherwise."""
        return subprocess.run(
            [str(self.binary), *arguments],
            env=dict(env),
            cwd=cwd or env["HOME"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@dataclass
class Server:
    """A running server, its folders and its client."""

    flavour: Flavour
    home: Path
    models: Path
    env: dict[str, str]
    port: int
    process: subprocess.Popen[bytes]
    http: httpx.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Everything the server wrote so far."""
        return (self.home / "server.log").read_text("utf-8")

    def cli(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command line against this server."""
        return self.flavour.run(*arguments, env={**self.env, "OLLAMA_HOST": f"127.0.0.1:{self.port}", **env})

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.http.post(path, json=body)

    def lines(self, path: str, **body: Any) -> list[dict[str, Any]]:
        """Every line of a streamed answer with status 200."""
        answer = self.post(path, **body)
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def create(self, model: str, **body: Any) -> list[dict[str, Any]]:
        """Create a model and insist that it worked."""
        lines = self.lines("/api/create", model=model, **body)
        assert lines[-1] == {"status": "success"}, lines
        return lines

    def upload(self, path: Path) -> str:
        """Send a file as a blob; its digest."""
        from contract.stored import digest_of

        digest = digest_of(path.read_bytes())
        answer = self.http.post(f"/api/blobs/{digest}", content=path.read_bytes())
        assert answer.status_code in (200, 201), answer.text
        return digest

    def listed(self) -> dict[str, dict[str, Any]]:
        """/api/tags by name."""
        return {model["name"]: model for model in self.get("/api/tags")["models"]}

    def running(self) -> dict[str, dict[str, Any]]:
        """/api/ps by name."""
        return {model["name"]: model for model in self.get("/api/ps")["models"]}

    def wait_unloaded(self) -> None:
        """Unloading is asynchronous: wait until /api/ps is empty."""
        wait_for(lambda: not self.running(), "models to be unloaded")

    def manifest_path(self, name: str) -> Path:
        """`host/namespace/model:tag`, with the defaults filled in, as a path."""
        head, _, tag = name.partition(":") if name.count("/") == 0 else name.rpartition(":")
        parts = head.split("/")
        defaults = ["registry.ollama.ai", "library"]
        return self.models / "manifests" / Path(*defaults[: 3 - len(parts)], *parts, tag or "latest")

    def blob_path(self, digest: str) -> Path:
        return self.models / "blobs" / digest.replace(":", "-")

    def manifest(self, name: str) -> dict[str, Any]:
        """A manifest as it lies on disk."""
        document: dict[str, Any] = json.loads(self.manifest_path(name).read_bytes())
        return document

    def digests(self, name: str) -> set[str]:
        """The digests that a model's manifest names."""
        manifest = self.manifest(name)
        return {entry["digest"] for entry in (*manifest["layers"], manifest["config"])}

    def stored_digests(self) -> set[str]:
        """The digests of the blobs on disk."""
        return {path.name.replace("-", ":", 1) for path in (self.models / "blobs").glob("*")}

    def reset(self) -> None:
        """Unload and delete everything, so that the next case finds an empty server."""
        for name in self.running():
            self.post("/api/generate", model=name, keep_alive=0)
        self.wait_unloaded()
        for name in self.listed():
            answer = self.http.request("DELETE", "/api/delete", json={"model": name})
            assert answer.status_code == 200, answer.text
        for blob in (self.models / "blobs").glob("*"):
            blob.unlink()

    def stop(self) -> int:
        """Ask the server to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path, **extra: str) -> dict[str, str]:
    """An environment that reaches nothing outside: no cloud, and a home of its own."""
    inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
    return {
        **inherited,
        "HOME": str(home),
        "OLLAMA_NO_CLOUD": "1",
        "OLLAMA_MODELS": str(home / "models"),
        **extra,
    }


@contextmanager
def running(flavour: Flavour, home: Path, *, port: int | None = None, **env: str) -> Iterator[Server]:
    """Start a server in `home` and stop it afterwards. `env` is laid over its environment."""
    home.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    settings = environment(home, **{"OLLAMA_HOST": f"127.0.0.1:{port}", **env})
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [flavour.binary, "serve"], env=settings, stdout=log, stderr=subprocess.STDOUT, cwd=home
        )
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
    server = Server(flavour, home, Path(settings["OLLAMA_MODELS"]), settings, port, process, client)
    try:
        wait_for(lambda: _answers(server), f"{flavour.label} to answer: {server.log}")
        yield server
    finally:
        client.close()
        if process.poll() is None:
            server.stop()


def _answers(server: Server) -> bool:
    assert server.process.poll() is None, server.log
    try:
        return server.http.get("/").status_code == 200
    except httpx.TransportError:
        return False


def wait_for(condition: Any, what: str) -> None:
    """Poll until `condition()` holds. Fails after START_SECONDS with what was waited for."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
