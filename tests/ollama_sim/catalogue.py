"""The endpoints about stored models: tags, show, delete, copy, blobs, pull, create."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ollama_sim import create, gguf, gojson, gotime, model, names, show
from ollama_sim.desk import Desk
from ollama_sim.progress import Progress, status
from ollama_sim.pull import Pull, PullError
from ollama_sim.reply import ApiError, Reply, Stream
from ollama_sim.store import InvalidDigestError, Manifest


class Catalogue:
    """What is stored."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        # From 0.30 on a list entry is made again only when the manifest's bytes change.
        self.seen: dict[names.Name, tuple[str, int]] = {}

    def tags(self) -> Reply:
        entries = []
        for manifest in self.desk.store.all():
            try:
                found = model.load(self.desk.store, manifest.name)
            except (OSError, ValueError):
                continue
            modified = self._modified(manifest)
            entries.append((modified, model.tags_entry(found, modified, self.desk.generation)))
        entries.sort(key=lambda pair: -(pair[0] // gotime.SECOND))
        return Reply(gojson.Struct(models=[entry for _, entry in entries]))

    def _modified(self, manifest: Manifest) -> int:
        if not self.desk.generation.llama_server:
            return manifest.modified
        digest, modified = self.seen.get(manifest.name, ("", 0))
        if digest != manifest.digest:
            modified = manifest.modified
            self.seen[manifest.name] = (manifest.digest, modified)
        return modified

    def show(self, body: bytes) -> Reply:
        request = self.desk.read("ShowRequest", body)
        wanted = request.get("model") or request.get("name")
        if not wanted:
            raise ApiError(400, "model is required")
        try:
            ref = names.parse_ref(wanted)
        except names.InvalidNameError as error:
            raise ApiError(400, str(error)) from error
        name = self.desk.store.existing(ref.name)
        found = self.desk.load(name, name.shortest if self.desk.generation.llama_server else wanted)
        try:
            answer = show.show(
                found,
                verbose=request.get("verbose", False),
                system=request.get("system", ""),
            )
        except (OSError, gguf.GGUFError) as error:
            raise ApiError(500, str(error)) from error
        return Reply(answer)

    def delete(self, body: bytes) -> Reply:
        request = self.desk.read("DeleteRequest", body)
        wanted = request.get("model") or request.get("name") or ""
        try:
            name = self.desk.store.existing(names.parse_ref(wanted).name)
        except names.InvalidNameError as error:
            text = f'name "{wanted}" is invalid' if str(error) == "invalid model name" else str(error)
            raise ApiError(400, text) from error
        try:
            self.desk.store.remove(self.desk.store.load(name))
        except FileNotFoundError as error:
            raise ApiError(404, f"model '{wanted}' not found") from error
        except (OSError, ValueError) as error:
            raise ApiError(500, str(error)) from error
        return Reply()

    def copy(self, body: bytes) -> Reply:
        request = self.desk.read("CopyRequest", body)
        found = {}
        for end in ("source", "destination"):
            name = names.parse(request.get(end, ""))
            if not name.valid:
                raise ApiError(400, f'{end} "{request.get(end, "")}" is invalid')
            found[end] = self.desk.store.existing(name)
        source, destination = found["source"], found["destination"]
        if source.path != destination.path:
            try:
                raw = (self.desk.store.manifests / source.path).read_bytes()
            except FileNotFoundError as error:
                raise ApiError(404, f'model "{request["source"]}" not found') from error
            self.desk.store.write_manifest(destination, raw)
        return Reply()

    def head_blob(self, digest: str) -> Reply:
        try:
            path = self.desk.store.blob(digest)
        except InvalidDigestError as error:
            raise ApiError(400, str(error)) from error
        if not path.exists():
            raise ApiError(404, f'blob "{digest}" not found')
        return Reply()

    def put_blob(self, digest: str, pieces: Iterator[bytes]) -> Reply:
        try:
            path = self.desk.store.blob(digest)
        except InvalidDigestError as error:
            raise ApiError(400, str(error)) from error
        if path.exists():
            return Reply()
        layer = self.desk.store.put_stream(pieces, "")
        if layer.digest != digest:
            raise ApiError(400, f'digest mismatch, expected "{digest}", got "{layer.digest}"')
        return Reply(code=201)

    def pull(self, body: bytes) -> Stream:
        request = self.desk.read("PullRequest", body)
        try:
            ref = names.parse_ref(request.get("model") or request.get("name") or "")
        except names.InvalidNameError as error:
            text = str(error) if str(error).startswith("use either") else "invalid model name"
            raise ApiError(400, text) from error
        # The name is displayed and parsed again, which loses a scheme that was given.
        name = names.parse(self.desk.store.existing(ref.name).shortest)

        def run(tell: Progress) -> None:
            self._pull(name, insecure=request.get("insecure", False), tell=tell)

        return Stream(run, request.get("stream", True))

    def _pull(self, name: names.Name, *, insecure: bool, tell: Progress) -> None:
        try:
            Pull(self.desk.store, self.desk.environment, self.desk.machine, self.desk.release).run(
                name, insecure=insecure, tell=tell
            )
        except PullError as error:
            raise ApiError(500, str(error)) from error

    def create(self, body: bytes) -> Stream:
        request = self.desk.read("CreateRequest", body)
        name = names.parse(request.get("model") or request.get("name") or "")
        try:
            create.check(request)
        except create.CreateError as error:
            raise ApiError(error.code, str(error)) from error
        if not name.valid:
            raise ApiError(400, "invalid model name")
        name = self.desk.store.existing(name)
        return Stream(lambda tell: self._create(name, request, tell), request.get("stream", True))

    def _create(self, name: names.Name, request: dict[str, Any], tell: Progress) -> None:
        try:
            old = self.desk.store.load(name)
        except (OSError, ValueError):
            old = None

        def pull(base: names.Name) -> None:
            Pull(self.desk.store, self.desk.environment, self.desk.machine, self.desk.release).run(
                base, insecure=False, tell=tell
            )

        try:
            create.Creation(self.desk.store, self.desk.generation, name, request, tell, pull).run()
        except create.CreateError as error:
            raise ApiError(error.code, str(error)) from error
        if old and not self.desk.environment.flag("OLLAMA_NOPRUNE"):
            for digest in old.digests - self.desk.store.in_use():
                self.desk.store.blob(digest).unlink(missing_ok=True)
        self.seen.pop(name, None)
        tell(status("success"))
