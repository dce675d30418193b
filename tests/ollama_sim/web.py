"""HTTP around the API: the listening socket and gin's manner of answering."""

from __future__ import annotations

import http.server
import ipaddress
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from ollama_sim import caller, gojson, golog, origins
from ollama_sim.environ import Environment
from ollama_sim.handlers import Api
from ollama_sim.reply import ApiError, Reply, Stream

_PIECE = 1 << 20
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")


class ListenError(Exception):
    """The address cannot be listened on; the text is what the program says."""


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """The listening socket. Every unspecified address means both families, as in Go."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, environment: Environment, api: Api) -> None:
        self.api = api
        address = environment.host
        self.wildcard = address.host in ("", "0.0.0.0", "::")
        host = "::" if self.wildcard else address.host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if self.wildcard and not socket.has_dualstack_ipv6():
            host, self.address_family = "0.0.0.0", socket.AF_INET
        try:
            super().__init__((host, address.port), Handler)
        except socket.gaierror as error:
            raise ListenError(f"listen tcp: lookup {address.host}: no such host") from error
        except OSError as error:
            words = (error.strerror or str(error)).lower()
            raise ListenError(f"listen tcp {address.joined}: bind: {words}") from error

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    @property
    def shown(self) -> str:
        """The address as the log names it."""
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def loopback(self) -> bool:
        return bool(ipaddress.ip_address(self.socket.getsockname()[0]).is_loopback)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            golog.log(
                "ERROR", "server.go:3640", "http: panic serving", client=client_address, error=repr(error)
            )


class Handler(http.server.BaseHTTPRequestHandler):
    """HTTP/1.1 around the API, answering in gin's manner."""

    protocol_version = "HTTP/1.1"
    server: Server
    heads = ("/", "/api/version", "/api/tags")
    # Without it every answer waits for the acknowledgement of its headers.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_HEAD = do_DELETE = do_PUT = do_PATCH = do_OPTIONS = do_GET  # noqa: N815

    def _serve(self) -> None:
        started, self.status_sent = time.monotonic(), 0
        caller.serves(self.connection)
        path = urlsplit(self.path).path
        self.extra: dict[str, str] = {}
        try:
            if self._origin_allowed():
                self._answer(path)
            else:
                self._drain()
                self._send(b"", 403, kind=None)
        except ApiError as error:
            self._json({"error": str(error)}, error.code)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        took = time.monotonic() - started
        golog.access(
            self.status_sent, took, self.client_address[0].removeprefix("::ffff:"), self.command, path
        )

    def _answer(self, path: str) -> None:
        if not self._host_allowed():
            self._drain()
            return self._send(b"", 403, kind=None)
        if self.command == "OPTIONS" and "Origin" in self.headers:
            self.extra["Access-Control-Allow-Methods"] = origins.METHODS
            return self._send(b"", 204, kind=None)
        machine = self.server.api.desk.machine
        if path in (machine.get("hang") or []):
            threading.Event().wait()
        if failure := (machine.get("errors") or {}).get(path):
            self._drain()
            return self._json({"error": failure[1]}, int(failure[0]))
        method = "GET" if self.command == "HEAD" and path in self.heads else self.command
        if path == "/" and method == "GET":
            return self._reply(Reply("Ollama is running"))
        if path.startswith("/api/blobs/") and method in ("HEAD", "POST"):
            return self._blob(path.removeprefix("/api/blobs/"))
        api = self.server.api
        if method == "GET" and path in api.reads:
            return self._reply(api.reads[path]())
        if write := api.writes.get((method, path)):
            result = write(self._body())
            return self._stream(result) if isinstance(result, Stream) else self._reply(result)
        self._drain()
        if api.knows(path):
            return self._send(b"405 method not allowed", 405)
        return self._send(b"404 page not found", 404)

    def _blob(self, digest: str) -> None:
        if self.command == "HEAD":
            self._reply(self.server.api.catalogue.head_blob(digest))
            return
        pieces = self._pieces()
        try:
            reply = self.server.api.catalogue.put_blob(digest, pieces)
        finally:
            for _ in pieces:
                pass
        self._reply(reply)

    def _origin_allowed(self) -> bool:
        """The filter on web pages; what is no page has no origin."""
        origin, host = self.headers.get("Origin") or "", self.headers.get("Host") or ""
        known = self.server.api.desk.environment.origins
        if not origin or origin in (f"http://{host}", f"https://{host}"):
            return True
        if origins.allowed(origin, known):
            self.extra = origins.headers(origin, known)
            return True
        return False

    def _host_allowed(self) -> bool:
        """The filter against DNS rebinding; only a server on loopback has it."""
        if not self.server.loopback:
            return True
        host = (self.headers.get("Host") or "").lower()
        bare = urlsplit(f"//{host}").hostname or ""
        try:
            address = ipaddress.ip_address(bare)
        except ValueError:
            known = ("", "localhost", socket.gethostname().lower())
            return bare in known or bare.endswith(_LOCAL_SUFFIXES)
        return address.is_loopback or address.is_private or address.is_unspecified

    # --- bodies

    def _pieces(self) -> Iterator[bytes]:
        """The request's body."""
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                while size:
                    piece = self.rfile.read(min(size, _PIECE))
                    size -= len(piece)
                    yield piece
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            piece = self.rfile.read(min(left, _PIECE))
            if not piece:
                raise ConnectionResetError
            left -= len(piece)
            yield piece

    def _body(self) -> bytes:
        return b"".join(self._pieces())

    def _drain(self) -> None:
        for _ in self._pieces():
            pass

    # --- answers

    def _reply(self, reply: Reply) -> None:
        if reply.body is None:
            self._send(b"", reply.code, kind=None)
        elif isinstance(reply.body, str):
            self._send(reply.body.encode(), reply.code, kind="text/plain; charset=utf-8")
        else:
            self._json(reply.body, reply.code)

    def _json(self, body: Any, code: int) -> None:
        self._send(gojson.encode(body).encode(), code, kind="application/json; charset=utf-8")

    def _send(self, body: bytes, code: int, kind: str | None = "text/plain") -> None:
        self.send_response(code)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self, stream: Stream) -> None:
        lines: list[gojson.Struct] = []
        if not stream.stream:
            stream.run(lines.append)
            self._json(stream.collect(lines), 200)
            return
        try:
            stream.run(self._line)
        except ApiError as error:
            if not self.status_sent:
                raise
            self._line(gojson.Struct(error=str(error)))
        self._chunk(b"")

    def _line(self, line: gojson.Struct) -> None:
        if not self.status_sent:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
        self._chunk(gojson.encode_line(line))

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def send_response(self, code: int, message: str | None = None) -> None:
        self.status_sent = code
        self.send_response_only(code, message or _phrase(code))
        self.send_header("Date", self.date_time_string())
        for key, value in self.extra.items():
            self.send_header(key, value)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return ""
