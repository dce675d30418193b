"""A registry on loopback with the manners, good and bad, that a pull meets."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from contract.stored import CONFIG, IMAGE, MANIFEST, digest_of

Answer = Literal["location", "plain", "redirect", "elsewhere"]


@dataclass
class Registry:
    """Models by `namespace/model:tag`. Blob requests are answered as `answer` says:

    location   200 with a Location header that points to itself: what a mirror for Ollama must do
    plain      200 without one, as ordinary registries answer
    redirect   307 to another host name
    elsewhere  302 to another host name
    """

    answer: Answer = "location"
    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    hold_after: int | None = None
    released: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def name(self, model: str) -> str:
        """How a client names a model of this registry."""
        return f"{self.host}/{model}"

    def add(self, model: str, weights: bytes, **extra: bytes) -> bytes:
        """Publish a model; the manifest's bytes, which are formatted as no server would write them."""
        config = json.dumps({"model_format": "gguf", "model_family": "llama", "model_type": "114K"}).encode()
        layers = [self._layer(IMAGE + "model", weights)]
        layers += [self._layer(IMAGE + kind, data) for kind, data in extra.items()]
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._layer(CONFIG, config),
            "layers": layers,
        }
        raw = json.dumps(document, indent=2).encode()
        self.manifests[model] = raw
        return raw

    def _layer(self, media_type: str, data: bytes) -> dict[str, Any]:
        self.blobs[digest_of(data)] = data
        return {"digest": digest_of(data), "mediaType": media_type, "size": len(data)}

    def asked(self, method: str, part: str) -> list[str]:
        """The Range headers of all requests with this method whose path holds `part`."""
        return [span for verb, path, span in self.requests if verb == method and part in path]


class _Quiet(ThreadingHTTPServer):
    """A server to which a client that hangs up is nothing to write about."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(registry: Registry) -> Iterator[Registry]:
    """Serve the registry on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        # What cannot be read, such as a TLS greeting, is answered with a status line too.
        default_request_version = "HTTP/1.1"

        def do_GET(self) -> None:
            registry.requests.append((self.command, self.path, self.headers.get("Range", "")))
            _, _, rest = self.path.partition("/v2/")
            if found := re.fullmatch(r"(.+)/manifests/(.+)", rest):
                raw = registry.manifests.get(f"{found[1]}:{found[2]}")
                self._send(404 if raw is None else 200, raw or b'{"errors":[]}', {"Content-Type": MANIFEST})
            elif found := re.fullmatch(r"(.+)/blobs/(sha256:[0-9a-f]{64})", rest):
                self._blob(found[2])
            else:
                self._send(404, b"")

        do_HEAD = do_GET  # noqa: N815

        def _blob(self, digest: str) -> None:
            data = registry.blobs.get(digest)
            if data is None or digest in registry.missing:
                self._send(404, b"")
                return
            here = not self.headers["Host"].startswith("localhost")
            if span := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                first, last = int(span[1]), int(span[2])
                headers = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
                self._send(206, data[first : last + 1], headers, hold=True)
            elif self.command == "GET" and registry.answer in ("redirect", "elsewhere") and here:
                target = f"http://localhost:{registry.port}{self.path}"
                self._send(307 if registry.answer == "redirect" else 302, b"", {"Location": target})
            else:
                location = {"Location": self.path} if registry.answer == "location" else {}
                self._send(200, data, location)

        def _send(
            self, code: int, body: bytes, headers: dict[str, str] | None = None, *, hold: bool = False
        ) -> None:
            self.send_response(code)
            for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            try:
                if hold and registry.hold_after is not None:
                    self.wfile.write(body[: registry.hold_after])
                    self.wfile.flush()
                    registry.held.set()
                    registry.released.wait(60)
                    body = body[registry.hold_after :]
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = _Quiet(("127.0.0.1", 0), Handler)
    registry.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield registry
    finally:
        registry.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
