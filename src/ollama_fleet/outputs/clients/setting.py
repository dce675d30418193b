"""One thing to import or to paste."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from ollama_fleet.outputs.endpoints import Endpoint

Form = Literal["link", "env", "yaml", "json", "shell"]

NO_KEY = "ollama"
"""What stands where a program insists on an API key; Ollama itself ignores it."""


def key_of(endpoint: Endpoint) -> str:
    """What stands for the API key: where the token is found, for people to put it there, or something ignored."""
    return NO_KEY if endpoint.token is None else f"<{endpoint.token}>"


def shell_header(endpoint: Endpoint) -> str:
    """curl's option for the token, which the shell looks up; nothing where none is needed."""
    token = endpoint.token
    if token is None:
        return ""
    value = f"${{{token.name}}}" if token.kind == "env" else f"$(cat {shlex.quote(token.name)})"
    return f' -H "Authorization: Bearer {value}"'


@dataclass(frozen=True, slots=True)
class Setting:
    """A text in the form that a client reads, and what to do with it.

    `host` is None for one that covers the fleet. `scan`: a link that a phone can use, so worth a QR code.
    """

    client: str
    form: Form
    how: str
    text: str
    host: str | None = None
    model: str | None = None
    scan: bool = False
    instance: str = ""
    """Which of several servers of the host."""

    @classmethod
    def of(
        cls,
        endpoint: Endpoint,
        client: str,
        form: Form,
        how: str,
        text: str,
        *,
        model: str | None = None,
        scan: bool = False,
    ) -> Setting:
        """One for a server, or for one model of it."""
        return cls(client, form, how, text, endpoint.host, model, scan, endpoint.instance)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "client": self.client,
            "host": self.host,
            "instance": self.instance or None,
            "model": self.model,
            "form": self.form,
            "how": self.how,
            "text": self.text,
        }


def packed(document: Mapping[str, Any]) -> str:
    """JSON in base64, safe in a query: ASCII only, for programs that decode byte by byte."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True)
    return quote(base64.b64encode(text.encode()).decode(), safe="")


def with_models(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Those that serve something, and that another program than one on the host can reach."""
    return [endpoint for endpoint in endpoints if endpoint.models and endpoint.reachable]


def provider_id(endpoint: Endpoint) -> str:
    """An identifier that no program has taken for a provider of its own."""
    return f"ollama-fleet-{endpoint.name}"
