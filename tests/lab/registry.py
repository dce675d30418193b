"""A model registry on `lan`: Debian's docker-registry behind a front that makes its answers fit for Ollama.

The front (registry_front.py) also serves plain files: release archives under /files/, and under /debian/ an
apt repository of the few packages a host may lack.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import debs
from .network import REGISTRY, Network
from .process import LabError, run
from .slot import Slot

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
MODEL_TYPE = "application/vnd.ollama.image.model"

NAME = "registry"
PORT = 5000

# No proxy of this machine's has anything to say about a network of the lab's own.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Registry:
    """The registry of a running lab."""

    slot: Slot
    network: Network
    image: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    @property
    def address(self) -> str:
        return self.network.address(REGISTRY)

    @property
    def host(self) -> str:
        """What a model's name begins with; an address, so that it means the same to controller and hosts."""
        return f"{self.address}:{PORT}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def files_url(self) -> str:
        """Where the files of `files` are served, with a slash at the end."""
        return f"{self.url}/files/"

    @property
    def directory(self) -> Path:
        return self.slot.directory / NAME

    @property
    def files(self) -> Path:
        """Whatever is put here is served under `files_url`."""
        return self.directory / "files"

    def start(self) -> None:
        """Start both servers in the namespace `registry`, which exists, and wait until they answer."""
        self.files.mkdir(parents=True)
        (self.directory / "storage").mkdir()
        unpacked = self.directory / "docker-registry"
        run(["dpkg-deb", "--extract", str(debs.find(self.image / "debs", "docker-registry")), str(unpacked)])
        config = self.directory / "config.json"
        # YAML that is JSON: the registry's configuration reads as either.
        config.write_text(
            json.dumps(
                {
                    "version": 0.1,
                    "log": {"level": "warn"},
                    "storage": {
                        "filesystem": {"rootdirectory": str(self.directory / "storage")},
                        "delete": {"enabled": True},
                    },
                    "http": {"addr": "127.0.0.1:5001"},
                }
            )
        )
        self._spawn("docker-registry", [str(unpacked / "usr/bin/docker-registry"), "serve", str(config)])
        front = Path(__file__).with_name("registry_front.py")
        served = [f"/files={self.files}", f"/debian={self.image / 'debs'}"]
        log = self.directory / "requests.jsonl"
        arguments = ["--listen", "80", str(PORT), "--backend", "127.0.0.1:5001", "--log", str(log)]
        self._spawn("front", [sys.executable, "-I", str(front), *arguments, "--serve", *served])
        self._wait()

    def push(
        self, name: str, layers: Sequence[tuple[str, bytes]], *, tag: str = "latest", config: bytes = b"{}"
    ) -> str:
        """Push a model `namespace/name` made of (media type, content) layers; returns its manifest's digest.

        Pushing to a tag that exists moves the tag. Raises LabError where the registry refuses.
        """
        descriptors = [self._push_blob(name, media_type, content) for media_type, content in layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self._push_blob(name, CONFIG_TYPE, config),
            "layers": descriptors,
        }
        body = json.dumps(manifest, separators=(",", ":")).encode()
        self._request("PUT", f"/v2/{name}/manifests/{tag}", body, {"Content-Type": MANIFEST_TYPE})
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def push_gguf(
        self,
        name: str,
        gguf: Path,
        *,
        tag: str = "latest",
        parameters: Mapping[str, object] | None = None,
        config: Mapping[str, object] | None = None,
    ) -> str:
        """Push a GGUF file as a model the way a real one looks: model layer, parameters if any, config.

        `config` replaces fields of the configuration, which is otherwise that of a small llama in F16.
        """
        content = gguf.read_bytes()
        layers = [(MODEL_TYPE, content)]
        if parameters:
            layers.append(("application/vnd.ollama.image.params", json.dumps(parameters).encode()))
        diff_ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for _, data in layers]
        described = {
            "model_format": "gguf",
            "model_family": "llama",
            "model_families": ["llama"],
            "model_type": "1M",
            "file_type": "F16",
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            **(config or {}),
        }
        return self.push(name, layers, tag=tag, config=json.dumps(described).encode())

    def model(self, name: str, tag: str = "latest") -> str:
        """The name by which an Ollama pulls what was pushed: `10.213.0.2:5000/library/tiny:latest`."""
        return f"{self.host}/{name}:{tag}"

    def stored_blob(self, hexadecimal: str) -> Path:
        """Where the registry keeps a blob, for tests in which it comes to hold something else."""
        blobs = self.directory / "storage/docker/registry/v2/blobs/sha256"
        return blobs / hexadecimal[:2] / hexadecimal / "data"

    def publish(self, path: Path, name: str | None = None) -> str:
        """Copy a file to where it is served and return its URL."""
        name = name or path.name
        target = self.files / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        return self.files_url + name

    def requests(self) -> list[dict[str, object]]:
        """Every request the front has answered, oldest first: client, method, path, status, bytes sent."""
        log = self.directory / "requests.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def set_faults(self, **faults: float) -> None:
        """Make blobs and files come slowly or break off, from the next request on; nothing given: no faults.

        `bytes_per_second` limits each answer; `drop_after` closes the connection after that many bytes;
        `status` answers with that HTTP status instead; `delay` waits that many seconds before answering;
        `corrupt` (1) flips the first byte of each answer.
        """
        known = {"bytes_per_second", "drop_after", "status", "delay", "corrupt"}
        if unknown := faults.keys() - known:
            raise LabError(
                f"no fault called {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
            )
        beside = self.directory / "faults.new"
        beside.write_text(json.dumps(faults))
        beside.rename(self.directory / "faults.json")

    def collect(self) -> None:
        """Reap the servers once the lab's keeper has ended them."""
        for process in self.processes:
            process.wait(20)

    def _push_blob(self, name: str, media_type: str, content: bytes) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        started = self._request("POST", f"/v2/{name}/blobs/uploads/", b"", {})
        location = started["Location"]
        separator = "&" if "?" in location else "?"
        where = location.removeprefix(self.url)
        octets = {"Content-Type": "application/octet-stream"}
        self._request("PUT", f"{where}{separator}digest={digest}", content, octets)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def _request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
        request = urllib.request.Request(self.url + path, data=body, headers=dict(headers), method=method)
        try:
            with _OPENER.open(request, timeout=60) as answer:
                return dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                raise LabError(f"registry: {method} {path}: {error.code}: {error.read()[:500]!r}") from error
        except OSError as error:
            raise LabError(f"registry: {method} {path}: {error}") from error

    def _spawn(self, name: str, argv: list[str]) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["nsenter", f"--net={self.slot.netns_path(NAME)}", "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.directory,
            )
        self.processes.append(process)

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self._request("GET", "/v2/", b"", {})
            except LabError as error:
                if time.monotonic() > deadline or any(
                    process.poll() is not None for process in self.processes
                ):
                    logs = [
                        (self.directory / f"{name}.log").read_text()[-500:]
                        for name in ("docker-registry", "front")
                    ]
                    raise LabError(f"the registry does not start: {error}\n{''.join(logs)}") from error
                time.sleep(0.02)
            else:
                return
