"""Files served on loopback by Range requests, counting what is sent."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class RangeServer:
    """Serves `files` (URL path to file). `ranges` off: answers with the whole file, whatever is asked."""

    def __init__(self, files: dict[str, Path], *, ranges: bool = True) -> None:
        self.sent = 0
        self.requests = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.requests += 1
                file = files.get(self.path)
                if file is None:
                    self.send_error(404)
                    return
                size = file.stat().st_size
                found = _RANGE.fullmatch(self.headers.get("Range", "")) if ranges else None
                start, end = (int(found[1]), min(int(found[2]), size - 1)) if found else (0, size - 1)
                if start >= size:
                    self.send_error(416)
                    return
                self.send_response(206 if found else 200)
                self.send_header("Content-Length", str(end - start + 1))
                if found:
                    self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
                self.end_headers()
                with file.open("rb") as stream:
                    stream.seek(start)
                    left = end - start + 1
                    try:
                        while left:
                            piece = stream.read(min(left, 1 << 16))
                            self.wfile.write(piece)
                            server.sent += len(piece)
                            left -= len(piece)
                    except OSError:  # the reader has seen enough
                        self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> RangeServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
