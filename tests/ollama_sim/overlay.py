"""What a create request lays over its base: template, system, licenses, parameters, messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ollama_sim import gojson
from ollama_sim.store import PREFIX, Layer, Store


class OverlayError(Exception):
    """The request cannot be laid over; `code` is the HTTP status where nothing was sent yet."""

    def __init__(self, text: str, code: int = 500) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Overlay:
    """The parts of a create request that become small layers."""

    store: Store
    request: dict[str, Any]

    def over(self, layers: list[Layer]) -> list[Layer]:
        """The base's layers with the request's in their place. Raises OverlayError."""
        request = self.request
        if template := request.get("template"):
            if template.count("{{") != template.count("}}"):
                raise OverlayError("template error: template: :1: unclosed action", 400)
            layers = self._replaced(layers, "template", template.encode())
        if system := request.get("system"):
            layers = self._replaced(layers, "system", system.encode())
        for text in self._licenses():
            layers = [*layers, self.store.put(text.encode(), PREFIX + "license")]
        layers = self._parameters(layers)
        if messages := request.get("messages"):
            encoded = [_message(message) for message in messages]
            layers = self._replaced(layers, "messages", gojson.encode_line(encoded))
        return layers

    def _licenses(self) -> list[str]:
        given = self.request.get("license")
        if given is None or given == "":
            return []
        if isinstance(given, str):
            return [given]
        if isinstance(given, list) and all(isinstance(text, str) for text in given):
            return given
        raise OverlayError("json: cannot unmarshal into Go value of type []string")

    def _parameters(self, layers: list[Layer]) -> list[Layer]:
        merged = dict(self.request.get("parameters") or {})
        for layer in layers:
            if layer.kind == "params":
                merged = {**(gojson.decode(self.store.read(layer)) or {}), **merged}
        return self._replaced(layers, "params", gojson.encode_line(merged)) if merged else layers

    def _replaced(self, layers: list[Layer], kind: str, data: bytes) -> list[Layer]:
        """The layers with those of `kind` taken out and a new one at the end."""
        kept = [layer for layer in layers if layer.kind != kind]
        for layer in layers:
            if layer.kind == kind:
                self.store.drop_layer(layer)
        return [*kept, self.store.put(data, PREFIX + kind)]


def _message(message: dict[str, Any]) -> gojson.Struct:
    return gojson.Struct(
        role=str(message.get("role", "")).lower(), content=message.get("content", ""), **_rest(message)
    )


def _rest(message: dict[str, Any]) -> dict[str, Any]:
    return {
        key: message[key] for key in ("thinking", "images", "tool_calls", "tool_name") if message.get(key)
    }
