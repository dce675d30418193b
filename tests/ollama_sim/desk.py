"""What all endpoints share: the store, the machine, reading a body, finding a model."""

from __future__ import annotations

from typing import Any

from ollama_sim import model, names, requests
from ollama_sim.environ import Environment
from ollama_sim.machine import Machine
from ollama_sim.release import Release
from ollama_sim.reply import ApiError
from ollama_sim.scheduler import Scheduler
from ollama_sim.store import Store

_CLOUD_OFF = "ollama cloud is disabled"


class Desk:
    """The state of one server."""

    def __init__(self, environment: Environment, release: Release) -> None:
        self.environment = environment
        self.release = release
        self.generation = release.generation
        self.machine = Machine(environment, release.faults)
        self.store = Store(environment.models)
        self.scheduler = Scheduler(environment, self.machine, self.generation)

    def read(self, kind: str, body: bytes) -> dict[str, Any]:
        try:
            return requests.read(kind, body)
        except requests.BodyError as error:
            raise ApiError(400, str(error)) from error

    def wanted(self, request: dict[str, Any], code: int, words: str) -> model.Model:
        given = request.setdefault("model", "")
        try:
            ref = names.parse_ref(given)
        except names.InvalidNameError as error:
            if str(error) == "model is required":
                raise ApiError(code, words) from error
            raise ApiError(400, str(error)) from error
        if ref.source == "cloud":
            raise ApiError(403, f"{_CLOUD_OFF}: remote model is unavailable")
        return self.load(self.store.existing(ref.name), given)

    def load(self, name: names.Name, wanted: str) -> model.Model:
        try:
            return model.load(self.store, name)
        except FileNotFoundError as error:
            raise ApiError(404, f"model '{wanted}' not found") from error
        except (OSError, ValueError) as error:
            raise ApiError(500, str(error)) from error
