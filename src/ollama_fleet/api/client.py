"""A typed client of one Ollama server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ollama_fleet.api.errors import Refused, Unreachable
from ollama_fleet.api.transport import Opener, http_transport
from ollama_fleet.artifacts.http_client import import_httpx

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

ANSWER_TIMEOUT = 30.0
"""Seconds for an answer that needs no model."""
STALL_TIMEOUT = 600.0
"""Seconds without any line from a pull, create or load before it is given up."""
UNLOAD_TIMEOUT = 60.0
"""Seconds for a model to leave memory; one that is answering somebody finishes first."""
BLOB_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of a streamed pull or create."""

    status: str
    digest: str | None = None
    completed: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class TaggedModel:
    """A model as `/api/tags` lists it."""

    name: str
    digest: str
    """Bare hex: the sha256 of the manifest's bytes."""
    size: int


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model as `/api/ps` lists it; sizes in bytes."""

    name: str
    digest: str
    size: int
    size_vram: int
    expires_at: str
    """RFC 3339, by the host's clock; a time after 2200 for a model that stays for ever."""
    context_length: int | None = None
    """Tokens of one request; None from servers before 0.10."""

    @property
    def stays(self) -> bool:
        """It is kept for good."""
        return self.expires_at > "2200"


class Ollama:
    """Calls to one server; every failure is an ApiError of one line."""

    def __init__(self, host: str, port: int, opener: Opener, *, timeout: float = ANSWER_TIMEOUT) -> None:
        self._httpx = import_httpx()
        self.port = port
        address = f"[{host}]" if ":" in host else host
        self._client: httpx.Client = self._httpx.Client(
            base_url=f"http://{address}:{port}",
            transport=http_transport(opener),
            timeout=self._httpx.Timeout(timeout, connect=min(timeout, 10.0)),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    # -- asking ------------------------------------------------------------------------------------

    def greeting(self) -> str:
        """Return the text of `GET /`; a healthy server says `Ollama is running`."""
        return self._request("GET", "/").text.strip()

    def version(self) -> str:
        """Return the server's version."""
        return self._answer("/api/version", lambda answer: str(answer["version"]))

    def tags(self) -> list[TaggedModel]:
        """Return all models on the server."""
        return self._answer(
            "/api/tags",
            lambda answer: [
                TaggedModel(m["name"], m["digest"].removeprefix("sha256:"), int(m["size"]))
                for m in answer.get("models") or []
            ],
        )

    def loaded(self) -> list[LoadedModel]:
        """Return all models in memory."""
        return self._answer(
            "/api/ps",
            lambda answer: [
                LoadedModel(
                    m["name"],
                    m["digest"],
                    int(m["size"]),
                    int(m.get("size_vram", 0)),
                    str(m.get("expires_at", "")),
                    m.get("context_length"),
                )
                for m in answer.get("models") or []
            ],
        )

    def show(self, model: str) -> dict[str, Any]:
        """Return `/api/show` of a model."""
        return self._json("POST", "/api/show", {"model": model})

    # -- changing ----------------------------------------------------------------------------------

    def pull(self, model: str, *, insecure: bool, told: Callable[[Progress], None]) -> None:
        """Pull a model; a broken pull is resumed by the next."""
        self._stream("/api/pull", {"model": model, "insecure": insecure}, told)

    def create(self, request: Mapping[str, Any], *, told: Callable[[Progress], None]) -> None:
        """Create a model from the body of a create request."""
        self._stream("/api/create", request, told)

    def copy(self, source: str, destination: str) -> None:
        """Give a model a second name."""
        self._request("POST", "/api/copy", json={"source": source, "destination": destination})

    def delete(self, model: str) -> None:
        """Delete a model; one that is not there is no error."""
        try:
            self._request("DELETE", "/api/delete", json={"model": model})
        except Refused as error:
            if error.status != 404:
                raise

    def has_blob(self, digest: str) -> bool:
        """Whether the server holds a blob, `sha256:…`."""
        try:
            self._request("HEAD", f"/api/blobs/{digest}")
        except Refused as error:
            if error.status == 404:
                return False
            raise
        return True

    def upload_blob(self, digest: str, content: Iterator[bytes]) -> None:
        """Send a blob; the server checks its digest."""
        self._request("POST", f"/api/blobs/{digest}", content=content, timeout=STALL_TIMEOUT)

    def load(
        self,
        model: str,
        keep_alive: str | int | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        timeout: float = STALL_TIMEOUT,
    ) -> None:
        """Load a model and leave it loaded; returns when it is in memory.

        Args:
            model: its name.
            keep_alive: how long it stays, as the API takes it; None leaves that to the server.
            options: over the model's own, such as another `num_ctx`.
            timeout: seconds that the load may take.
        """
        body: dict[str, Any] = {"model": model, "stream": False}
        if keep_alive is not None:
            body["keep_alive"] = keep_alive
        if options:
            body["options"] = dict(options)
        try:
            self._request("POST", "/api/generate", json=body, timeout=timeout)
        except Refused as error:
            if "does not support generate" not in str(error):
                raise
            self._request("POST", "/api/embed", json={**body, "input": ""}, timeout=timeout)

    def unload(self, model: str, seconds: float = UNLOAD_TIMEOUT) -> None:
        """Take a model out of memory and wait until `/api/ps` says so; one that is not loaded is no error.

        Raises Unreachable where it is still there after `seconds`.
        """
        body = {"model": model, "keep_alive": 0, "stream": False}
        try:
            self._request("POST", "/api/generate", json=body, timeout=seconds)
        except Refused as error:
            if error.status == 404:
                return
            if "does not support generate" not in str(error):
                raise
            self._request("POST", "/api/embed", json={**body, "input": ""}, timeout=seconds)
        end = time.monotonic() + seconds
        while any(loaded.name == model for loaded in self.loaded()):
            if time.monotonic() >= end:
                raise Unreachable(f"{model} is still in memory {seconds:.0f} s after it was told to leave")
            time.sleep(0.1)

    def post(self, path: str, body: Mapping[str, Any], *, timeout: float = ANSWER_TIMEOUT) -> dict[str, Any]:
        """Return the JSON object that a POST answers with."""
        return self._json("POST", path, dict(body), timeout=timeout)

    # -- wire --------------------------------------------------------------------------------------

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response: httpx.Response = self._client.request(method, path, **options)
        except self._httpx.HTTPError as error:
            raise self._unreachable(method, path, error) from error
        if response.status_code >= 400:
            raise Refused(f"{method} {path}: {_error_text(response.text)}", response.status_code)
        return response

    def _answer(self, path: str, read: Callable[[dict[str, Any]], T]) -> T:
        answer = self._json("GET", path)
        try:
            return read(answer)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            text = json.dumps(answer)[:80]
            raise Refused(f"GET {path}: the answer is not what Ollama answers: {text}") from error

    def _json(self, method: str, path: str, body: object = None, **options: Any) -> dict[str, Any]:
        response = self._request(method, path, **({} if body is None else {"json": body}), **options)
        try:
            answer = response.json()
        except ValueError as error:
            raise Refused(f"{method} {path}: the answer is not JSON: {response.text[:80]!r}") from error
        if not isinstance(answer, dict):
            raise Refused(f"{method} {path}: the answer is not an object: {response.text[:80]!r}")
        return answer

    def _stream(self, path: str, body: Mapping[str, Any], told: Callable[[Progress], None]) -> None:
        last = ""
        for event in self.lines(path, body):
            last = str(event.get("status", ""))
            told(
                Progress(
                    last, event.get("digest"), int(event.get("completed", 0)), int(event.get("total", 0))
                )
            )
        if last != "success":
            raise Unreachable(f"POST {path}: the stream ended early, after {last or 'nothing'!r}")

    def lines(
        self, path: str, body: Mapping[str, Any], *, timeout: float = STALL_TIMEOUT
    ) -> Iterator[dict[str, Any]]:
        """Yield the objects of a streamed answer; an error among them, which a status 200 may precede, is raised.

        Args:
            path: of the endpoint.
            body: of the POST.
            timeout: seconds without any line.
        """
        try:
            with self._client.stream("POST", path, json=dict(body), timeout=timeout) as response:
                if response.status_code >= 400:
                    raise Refused(
                        f"POST {path}: {_error_text(response.read().decode(errors='replace'))}",
                        response.status_code,
                    )
                for line in response.iter_lines():
                    if not line.strip():
                        continue
                    event = _event(path, line)
                    if "error" in event:
                        raise Refused(f"POST {path}: {_error_text(line)}")
                    yield event
        except self._httpx.HTTPError as error:
            raise self._unreachable("POST", path, error) from error

    def _unreachable(self, method: str, path: str, error: Exception) -> Unreachable:
        return Unreachable(
            f"{method} {str(self._client.base_url).rstrip('/')}{path}: {str(error) or type(error).__name__}"
        )


def _event(path: str, line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise Refused(f"POST {path}: a line of the stream is not JSON: {line[:80]!r}") from error
    numbers = [event.get(key, 0) for key in ("completed", "total")] if isinstance(event, dict) else [None]
    if not all(isinstance(number, int | float) for number in numbers):
        raise Refused(f"POST {path}: a line of the stream is not what Ollama sends: {line[:80]!r}")
    return dict(event)


def _error_text(text: str) -> str:
    try:
        return " ".join(str(json.loads(text)["error"]).split()) or "an empty error"
    except (ValueError, KeyError, TypeError):
        return text.strip().replace("\n", " ")[:200] or "an empty error"
