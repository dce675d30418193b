"""The API: which endpoint is whose."""

from __future__ import annotations

from collections.abc import Callable

from ollama_sim import gojson
from ollama_sim.catalogue import Catalogue
from ollama_sim.desk import Desk
from ollama_sim.environ import Environment
from ollama_sim.inference import Inference
from ollama_sim.release import Release
from ollama_sim.reply import Reply, Stream

Read = Callable[[], Reply]
Write = Callable[[bytes], Reply | Stream]


class Api:
    """All endpoints of one server; those of blobs are the catalogue's."""

    def __init__(self, environment: Environment, release: Release) -> None:
        self.desk = Desk(environment, release)
        self.catalogue = Catalogue(self.desk)
        inference = Inference(self.desk)
        self.reads: dict[str, Read] = {
            "/api/version": self.version,
            "/api/status": self.status,
            "/api/tags": self.catalogue.tags,
            "/api/ps": inference.ps,
        }
        self.writes: dict[tuple[str, str], Write] = {
            ("POST", "/api/show"): self.catalogue.show,
            ("DELETE", "/api/delete"): self.catalogue.delete,
            ("POST", "/api/copy"): self.catalogue.copy,
            ("POST", "/api/pull"): self.catalogue.pull,
            ("POST", "/api/create"): self.catalogue.create,
            ("POST", "/api/generate"): inference.generate,
            ("POST", "/api/chat"): inference.chat,
            ("POST", "/api/embed"): inference.embed,
        }

    def knows(self, path: str) -> bool:
        """Whether there is an endpoint of this path, whatever its method."""
        return path == "/" or path in self.reads or any(path == other for _, other in self.writes)

    def version(self) -> Reply:
        return Reply({"version": self.desk.machine.get("version_lie") or self.desk.release.version})

    def status(self) -> Reply:
        off = self.desk.environment.flag("OLLAMA_NO_CLOUD")
        return Reply({"cloud": gojson.Struct(disabled=off, source="env" if off else "none")})
