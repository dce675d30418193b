"""The HTTP front of the lab's registry; a program of its own, run in the registry's network namespace.

A plain registry answers a blob with 200 and no `Location`, which Ollama's downloader takes for an error: the
front adds it. It passes Range on, so that parts come as 206, and serves directories of plain files with Range
as well.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

_BLOB = re.compile(r"^/v2/.+/blobs/sha256:[0-9a-f]{64}$")
_RANGE = re.compile(r"^bytes=(\d+)-(\d*)$")
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"}
_CHUNK = 64 * 1024


class Dropped(Exception):
    """The connection was broken off on purpose."""


class Refused(Exception):
    """The request is answered with the status in `args[0]` and nothing else."""


class Front(BaseHTTPRequestHandler):
    """One connection; the class attributes are set once by `main`."""

    protocol_version = "HTTP/1.1"
    backend = ""
    served: dict[str, Path] = {}  # noqa: RUF012 - set once before the server starts
    log_path = Path("/dev/null")
    log_lock = threading.Lock()

    def handle_any(self) -> None:
        """Answer from a directory of files, or from the registry behind."""
        self.sent = self.status = 0
        try:
            path = unquote(urlsplit(self.path).path)
            prefix = next((prefix for prefix in self.served if path.startswith(f"{prefix}/")), None)
            if prefix is None:
                self._forward()
            else:
                self._serve_file(self.served[prefix], path.removeprefix(f"{prefix}/"))
        except Refused as refused:
            self.send_response(refused.args[0])
            self.send_header("Content-Length", "0")
            self.end_headers()
        except (Dropped, ConnectionError):
            self.close_connection = True
        finally:
            self._record()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - names of the base class

    def send_response(self, code: int, message: str | None = None) -> None:
        """Keep the status for the log, which wants it also where the client then hangs up."""
        self.status = int(code)
        super().send_response(code, message)

    def _forward(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        is_blob = bool(_BLOB.match(urlsplit(self.path).path))
        faults = self._faults() if is_blob and self.command == "GET" else {}
        with closing(http.client.HTTPConnection(self.backend, timeout=600)) as backend:
            backend.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    backend.putheader(name, value)
            backend.endheaders()
            while length > 0 and (piece := self.rfile.read(min(length, _CHUNK))):
                backend.send(piece)
                length -= len(piece)
            answer = backend.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP | {"date", "server"}:
                    self.send_header(name, value)
            if answer.status == 200 and is_blob and not answer.getheader("Location"):
                self.send_header("Location", f"http://{self.headers.get('Host', '')}{self.path}")
            if answer.getheader("Content-Length") is None:
                # Of unknown length: the end of the connection is the end of the answer.
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            if self.command != "HEAD":
                self._copy(answer.read, faults)

    def _serve_file(self, directory: Path, name: str) -> None:
        path = (directory / name).resolve()
        if not path.is_relative_to(directory.resolve()) or not path.is_file():
            raise Refused(404)
        if self.command not in {"GET", "HEAD"}:
            raise Refused(405)
        faults = self._faults()
        size = path.stat().st_size
        start, end, status = 0, size, 200
        if (wanted := self.headers.get("Range")) is not None and (match := _RANGE.match(wanted)):
            start, end, status = int(match[1]), min(int(match[2] or size) + 1, size), 206
            if start >= size:
                raise Refused(416)
        with path.open("rb") as file:
            self.send_response(status)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(end - start))
            self.send_header("Accept-Ranges", "bytes")
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.end_headers()
            if self.command == "GET":
                file.seek(start)
                self._copy(_limited(file, end - start), faults)

    def _copy(self, read: Callable[[int], bytes], faults: dict[str, float]) -> None:
        rate, drop = faults.get("bytes_per_second"), faults.get("drop_after")
        # Small pieces where the pace matters, so that a slow answer trickles instead of coming in gulps.
        chunk = _CHUNK if rate is None else max(1, min(_CHUNK, int(rate / 20)))
        while piece := read(chunk):
            if faults.get("corrupt") and self.sent == 0:
                piece = bytes([piece[0] ^ 0xFF]) + piece[1:]
            if drop is not None and self.sent + len(piece) > drop:
                self.wfile.write(piece[: int(drop) - self.sent])
                self.wfile.flush()
                self.sent = int(drop)
                raise Dropped
            self.wfile.write(piece)
            self.sent += len(piece)
            if rate is not None:
                time.sleep(len(piece) / rate)

    def _faults(self) -> dict[str, float]:
        """The faults that hold at this moment; those that come before any answer take effect here."""
        try:
            faults: dict[str, float] = json.loads(self.log_path.with_name("faults.json").read_text())
        except FileNotFoundError:
            return {}
        time.sleep(faults.get("delay", 0))
        if status := int(faults.get("status", 0)):
            raise Refused(status)
        return faults

    def _record(self) -> None:
        record = {
            "client": self.client_address[0].removeprefix("::ffff:"),
            "method": self.command,
            "path": self.path,
            "range": self.headers.get("Range"),
            "status": self.status,
            "bytes": self.sent,
        }
        with self.log_lock, self.log_path.open("a") as log:
            log.write(json.dumps(record) + "\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing on stderr: `_record` keeps the log."""


def _limited(file: BinaryIO, left: int) -> Callable[[int], bytes]:
    def read(size: int) -> bytes:
        nonlocal left
        piece = file.read(min(size, left))
        left -= len(piece)
        return piece

    return read


class DualStack(ThreadingHTTPServer):
    """Listens on IPv6 and IPv4 at once."""

    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", nargs="+", type=int, required=True)
    parser.add_argument("--backend", required=True, help="HOST:PORT of the registry")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--serve", nargs="*", default=[], help="/PREFIX=DIRECTORY")
    options = parser.parse_args()
    Front.backend = options.backend
    Front.log_path = options.log
    Front.served = {prefix: Path(path) for prefix, _, path in (item.partition("=") for item in options.serve)}
    servers = [DualStack(("::", port), Front) for port in options.listen]
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    main()
