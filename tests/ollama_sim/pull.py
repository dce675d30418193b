"""/api/pull: a manifest and its blobs fetched, with partial files that the next pull resumes."""

from __future__ import annotations

import json
import threading

from ollama_sim import gojson, golog, names
from ollama_sim.download import Download
from ollama_sim.environ import Environment
from ollama_sim.machine import Machine
from ollama_sim.progress import Progress, layer_status, status
from ollama_sim.registry import Registry, RegistryError
from ollama_sim.release import Release
from ollama_sim.store import Store, parse_manifest, sha256_file


class PullError(Exception):
    """The pull failed; the text is what the API answers."""


class Pull:
    """One pull of one model into one store."""

    def __init__(self, store: Store, environment: Environment, machine: Machine, release: Release) -> None:
        self.store = store
        self.environment = environment
        self.machine = machine
        self.release = release

    def run(self, name: names.Name, *, insecure: bool, tell: Progress) -> None:
        """Fetch the model. Raises PullError; `tell` gets every status on the way."""
        stale = self._known(name)
        tell(status("pulling manifest"))
        registry = Registry(name, self.release.version, insecure=insecure)
        try:
            raw = registry.manifest()
            manifest = parse_manifest(raw, name, self.store.manifests / name.path)
        except (RegistryError, ValueError) as error:
            raise PullError(f"pull model manifest: {error}") from error
        layers = [*manifest.layers, *([manifest.config] if manifest.config.digest else [])]
        fresh = [layer.digest for layer in layers if not self._blob(registry, layer.digest, tell)]
        tell(status("verifying sha256 digest"))
        for digest in fresh:
            self._verify(digest)
        stale -= manifest.digests
        tell(status("writing manifest"))
        if not self.release.generation.verbatim_manifests:
            raw = gojson.encode_line(_rewritten(raw)).rstrip(b"\n")
        self.store.write_manifest(name, raw)
        if stale and not self.environment.flag("OLLAMA_NOPRUNE"):
            tell(status("removing unused layers"))
            self.store.drop_unused(stale)
        tell(status("success"))

    def _known(self, name: names.Name) -> set[str]:
        try:
            return self.store.load(name).digests
        except FileNotFoundError:
            return set()
        except (OSError, ValueError) as error:
            golog.log(
                "WARN", "images.go:676", "pulling model with bad existing manifest", name=name, error=error
            )
            return set()

    def _verify(self, digest: str) -> None:
        path = self.store.blob(digest)
        actual = sha256_file(path)
        if actual != digest:
            path.unlink()
            raise PullError(f"digest mismatch, file must be downloaded again: want {digest}, got {actual}")

    def _blob(self, registry: Registry, digest: str, tell: Progress) -> bool:
        """Fetch a blob unless it is there; whether it was."""
        try:
            path = self.store.blob(digest)
        except ValueError as error:
            raise PullError(str(error)) from error
        if path.exists():
            size = path.stat().st_size
            tell(layer_status(digest, size, size))
            return True
        with _exclusive(digest):
            if path.exists():
                return False
            try:
                Download(self.machine, registry, digest, path, tell).run()
            except RegistryError as error:
                raise PullError(str(error)) from error
        return False


_downloads: dict[str, threading.Lock] = {}
_guard = threading.Lock()


def _exclusive(digest: str) -> threading.Lock:
    with _guard:
        return _downloads.setdefault(digest, threading.Lock())


def _rewritten(raw: bytes) -> gojson.Struct:
    """A manifest as releases before 0.19 marshalled it again."""
    document = json.loads(raw)
    order = ("mediaType", "digest", "size", "from")

    def entry(layer: dict[str, object]) -> gojson.Struct:
        return gojson.Struct((key, layer[key]) for key in order if key in layer)

    return gojson.Struct(
        schemaVersion=document.get("schemaVersion", 0),
        mediaType=document.get("mediaType", ""),
        config=entry(document.get("config") or {}),
        layers=[entry(layer) for layer in document.get("layers") or []],
    )
