"""`ollama serve`: the listening socket, the log at the start, and HTTP around the API."""

from __future__ import annotations

import http.server
import ipaddress
import os
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import urlsplit

from ollama_sim import gojson, golog
from ollama_sim.environ import Environment
from ollama_sim.handlers import Api, ApiError, Reply, Stream
from ollama_sim.release import Release
from ollama_sim.scheduler import human, tier
from ollama_sim.store import PRUNE_GRACE_SECONDS

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
            golog.log("ERROR", "server.go:3640", "http: panic serving", client=client_address, error=repr(error))


def serve(environment: Environment, release: Release) -> int:
    """Run the server until it is told to stop; the exit status."""
    golog.threshold = environment.log_level
    api = Api(environment, release)
    match api.machine.get("start"):
        case "exit":
            print("Error: the stand-in was told to fail at its start", file=sys.stderr)
            return 1
        case "hang":
            threading.Event().wait()
    try:
        server = Server(environment, api)
    except ListenError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    _announce(environment, api)
    _prune(environment, api)
    golog.log("INFO", "routes.go:1884", f"Listening on {server.shown} (version {release.version})")
    _inventory(environment, api)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    return 0


def _announce(environment: Environment, api: Api) -> None:
    values = environment.effective(api.generation)
    shown = "map[" + " ".join(f"{key}:{values[key]}" for key in sorted(values)) + "]"
    golog.log("INFO", "routes.go:1828", "server config", env=shown)
    off = "true" if environment.flag("OLLAMA_NO_CLOUD") else "false"
    golog.log("INFO", "routes.go:1830", f"Ollama cloud disabled: {off}")


def _prune(environment: Environment, api: Api) -> None:
    store = api.store
    _ = store.blobs
    if environment.flag("OLLAMA_NOPRUNE"):
        return
    try:
        store.all(strict=True)
    except ValueError as error:
        golog.log(
            "WARN",
            "routes.go:1844",
            "corrupt manifests detected, skipping prune operation.  Re-pull or delete to clear",
            error=error,
        )
        return
    store.prune(PRUNE_GRACE_SECONDS if api.generation.prune_grace else 0)


def _inventory(environment: Environment, api: Api) -> None:
    """What the server found to compute on."""
    gpus = sorted(api.machine.gpus, key=lambda gpu: -gpu.free)
    for gpu in gpus:
        golog.log(
            "INFO",
            "types.go:42",
            "inference compute",
            id=gpu.id,
            filter_id="",
            library=gpu.library,
            compute=gpu.compute,
            name=f"{gpu.library}{gpus.index(gpu)}",
            description=gpu.name,
            libdirs=f"ollama,{gpu.library.lower()}_v{gpu.driver.partition('.')[0]}",
            driver=gpu.driver,
            pci_id=gpu.pci,
            type="iGPU" if gpu.integrated else "discrete",
            total=human(gpu.memory),
            available=human(gpu.free),
        )
    if not gpus:
        golog.log(
            "INFO",
            "types.go:60",
            "inference compute",
            id="cpu",
            library="cpu",
            compute="",
            name="cpu",
            description="cpu",
            libdirs="ollama",
            driver="",
            pci_id="",
            type="",
            total=human(api.machine.memory),
            available=human(api.machine.memory_free),
        )
    total = sum(gpu.memory - environment.count("OLLAMA_GPU_OVERHEAD") for gpu in gpus)
    golog.log(
        "INFO",
        "routes.go:1934",
        "vram-based default context",
        total_vram=human(total),
        default_num_ctx=tier(total),
    )


class Handler(http.server.BaseHTTPRequestHandler):
    """HTTP/1.1 around the API, answering in gin's manner."""

    protocol_version = "HTTP/1.1"
    server: Server
    routes: ClassVar[dict[tuple[str, str], str]] = {
        ("GET", "/api/version"): "version",
        ("GET", "/api/status"): "status",
        ("GET", "/api/tags"): "tags",
        ("GET", "/api/ps"): "ps",
        ("POST", "/api/show"): "show",
        ("DELETE", "/api/delete"): "delete",
        ("POST", "/api/copy"): "copy",
        ("POST", "/api/pull"): "pull",
        ("POST", "/api/create"): "create",
        ("POST", "/api/generate"): "generate",
        ("POST", "/api/chat"): "chat",
        ("POST", "/api/embed"): "embed",
    }
    heads = ("/", "/api/version", "/api/tags")

    def do_GET(self) -> None:  # noqa: N802
        self._serve()

    do_POST = do_HEAD = do_DELETE = do_PUT = do_PATCH = do_OPTIONS = do_GET  # noqa: N815

    def _serve(self) -> None:
        started, self.status_sent = time.monotonic(), 0
        path = urlsplit(self.path).path
        try:
            self._answer(path)
        except ApiError as error:
            self._json({"error": str(error)}, error.code)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        took = time.monotonic() - started
        golog.access(self.status_sent, took, self.client_address[0].removeprefix("::ffff:"), self.command, path)

    def _answer(self, path: str) -> None:
        if not self._host_allowed():
            self._drain()
            return self._send(b"", 403)
        machine = self.server.api.machine
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
        name = self.routes.get((method, path))
        if name is None:
            self._drain()
            known = any(path == other for _, other in self.routes)
            return self._send(*((b"405 method not allowed", 405) if known else (b"404 page not found", 404)))
        call = getattr(self.server.api, name)
        result = call() if method == "GET" else call(self._body())
        return self._stream(result) if isinstance(result, Stream) else self._reply(result)

    def _blob(self, digest: str) -> None:
        if self.command == "HEAD":
            self._reply(self.server.api.head_blob(digest))
            return
        pieces = self._pieces()
        try:
            reply = self.server.api.put_blob(digest, pieces)
        finally:
            for _ in pieces:
                pass
        self._reply(reply)

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
            stream.run(lambda line: self._line(line))
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

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return ""


def rename_process() -> None:
    """Let the process be called `ollama`, not after the interpreter."""
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write("ollama")
    except OSError:
        return


def keypair(environment: Environment) -> None:
    """The key that the first start leaves in the home folder; the stand-in's opens nothing."""
    private = environment.home / ".ollama" / "id_ed25519"
    if private.exists():
        return
    print(f"Couldn't find '{private}'. Generating new private key.")
    private.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write("-----BEGIN OPENSSH PRIVATE KEY-----\nstand-in\n-----END OPENSSH PRIVATE KEY-----\n")
    public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHN0YW5kLWlu"
    private.with_suffix(".pub").write_text(public + "\n", "ascii")
    print(f"Your new public key is: \n\n{public}\n")
