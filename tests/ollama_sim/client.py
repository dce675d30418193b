"""What the command line needs of the API."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ollama_sim.environ import Environment


class ClientError(Exception):
    """The server said no, or is not there; the text is for the terminal."""


class Client:
    """A client of the server that OLLAMA_HOST names."""

    def __init__(self, environment: Environment) -> None:
        self.address = environment.connectable

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer, or None where it is empty. Raises ClientError."""
        raw = self._send(method, path, body).read()
        return json.loads(raw) if raw.strip() else None

    def lines(self, path: str, body: Any) -> Iterator[dict[str, Any]]:
        """The lines of a streamed answer. Raises ClientError at an error line."""
        answer = self._send("POST", path, body)
        while line := answer.readline():
            event = json.loads(line)
            if "error" in event:
                raise ClientError(event["error"])
            yield event

    def upload(self, digest: str, path: Path) -> None:
        """Send a file unless the server has it."""
        connection = self._connect()
        connection.request("HEAD", f"/api/blobs/{digest}")
        if connection.getresponse().status == 200:
            return
        with path.open("rb") as file:
            connection = self._connect()
            length = {"Content-Length": str(path.stat().st_size)}
            connection.request("POST", f"/api/blobs/{digest}", body=file, headers=length)
            self._check(connection.getresponse())

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address.host, self.address.port)

    def _send(self, method: str, path: str, body: Any) -> http.client.HTTPResponse:
        connection = self._connect()
        data = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, body=data, headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
        except OSError as error:
            raise ClientError("could not connect to ollama server, run 'ollama serve' to start it") from error
        return self._check(answer)

    @staticmethod
    def _check(answer: http.client.HTTPResponse) -> http.client.HTTPResponse:
        if answer.status < 400:
            return answer
        raw = answer.read().decode("utf-8", "replace")
        try:
            words = json.loads(raw)["error"]
        except (json.JSONDecodeError, KeyError, TypeError):
            words = raw
        raise ClientError(f"{answer.status} {answer.reason}: {words}")
