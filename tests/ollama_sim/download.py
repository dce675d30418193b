"""One blob on its way from a registry: parts, partial files, tries, and going on where it stopped."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ollama_sim import gojson, golog
from ollama_sim.machine import Machine
from ollama_sim.progress import Progress, human_bytes, layer_status
from ollama_sim.registry import Registry, RegistryError, follow

MEGABYTE = 1_000_000
_PARTS, _SMALLEST_PART, _LARGEST_PART = 16, 100 * MEGABYTE, 1000 * MEGABYTE
_TRIES = 6
_PIECE = 64 * 1024
_TICK_SECONDS = 0.06


class StalledError(RegistryError):
    """Nothing came for half a minute; the part is fetched again, and the try does not count."""

    def __init__(self) -> None:
        super().__init__("part stalled")


@dataclass
class Part:
    """A piece of a blob, as its file `-partial-N` describes it; numbers are bytes."""

    N: int
    Offset: int
    Size: int
    Completed: int = 0


class Download:
    """One blob on its way: `sha256-…-partial` holds its bytes, `-partial-N` what is there of each part.

    A thread fetches while the caller tells the progress, so that a client that hangs up is noticed at once.
    """

    def __init__(self, machine: Machine, registry: Registry, digest: str, path: Path, tell: Progress) -> None:
        self.machine = machine
        self.received = 0
        self.registry = registry
        self.digest = digest
        self.path = path
        self.partial = path.with_name(path.name + "-partial")
        self.tell = tell
        self.parts: list[Part] = []
        self.answer: http.client.HTTPResponse | None = None
        self.cancelled = threading.Event()
        self.error: Exception | None = None

    @property
    def total(self) -> int:
        return sum(part.Size for part in self.parts)

    @property
    def completed(self) -> int:
        return sum(part.Completed for part in self.parts)

    def run(self) -> None:
        """Raises RegistryError; what came before is kept for the next time."""
        self._prepare()
        worker = threading.Thread(target=self._work, daemon=True)
        worker.start()
        try:
            while worker.is_alive():
                worker.join(_TICK_SECONDS)
                if worker.is_alive():
                    self.tell(layer_status(self.digest, self.total, self.completed))
        except OSError:
            self._cancel()
            worker.join()
            raise
        if self.error:
            raise self.error

    def _cancel(self) -> None:
        self.cancelled.set()
        if self.answer is not None and self.answer.fp is not None:
            with (
                contextlib.suppress(OSError, AttributeError),
                socket.socket(fileno=os.dup(self.answer.fileno())) as connection,
            ):
                connection.shutdown(socket.SHUT_RDWR)

    def _work(self) -> None:
        try:
            with self.partial.open("r+b" if self.partial.exists() else "w+b") as file:
                file.truncate(self.total)
                url = self.registry.direct_url(self.digest)
                for part in self.parts:
                    self._fetch(url, part, file.fileno())
            for part in self.parts:
                self._note(part).unlink(missing_ok=True)
            self.partial.rename(self.path)
        except (RegistryError, OSError) as error:
            self.error = error if isinstance(error, RegistryError) else RegistryError(str(error))

    def _prepare(self) -> None:
        notes = sorted(self.path.parent.glob(self.path.name + "-partial-*"))
        self.parts = [Part(**json.loads(note.read_text("ascii"))) for note in notes]
        if self.parts:
            return
        total = self.registry.blob_size(self.digest)
        size = min(max(total // _PARTS, _SMALLEST_PART), _LARGEST_PART)
        for number, offset in enumerate(range(0, total, size)):
            part = Part(number, offset, min(size, total - offset))
            self._save(part)
            self.parts.append(part)
        if self.parts:
            size_words = human_bytes(self.parts[0].Size)
            words = f"downloading {self.digest[7:19]} in {len(self.parts)} {size_words} part(s)"
            golog.log("INFO", "download.go:179", words)

    def _note(self, part: Part) -> Path:
        return self.partial.with_name(f"{self.partial.name}-{part.N}")

    def _save(self, part: Part) -> None:
        self._note(part).write_bytes(gojson.encode_line(gojson.Struct(asdict(part))))

    def _fetch(self, url: str, part: Part, file: int) -> None:
        scale = float((self.machine.get("pull") or {}).get("retry_scale", 1.0))
        error: RegistryError | None = None
        attempt = 0
        while part.Completed < part.Size and attempt < _TRIES:
            try:
                self._chunk(url, part, file)
            except StalledError:
                continue
            except RegistryError as failure:
                if self.cancelled.is_set():
                    raise
                error = failure
                words = f"{self.digest[7:19]} part {part.N} attempt {attempt} failed: {failure}"
                golog.log("INFO", "download.go:297", f"{words}, retrying in {2**attempt}s")
                time.sleep(2**attempt * scale)
            attempt += 1
        if part.Completed < part.Size:
            raise RegistryError(f"max retries exceeded: {error}")

    def _chunk(self, url: str, part: Part, file: int) -> None:
        """Fetch what is missing of a part; its progress is noted however it ends."""
        start, stop = part.Offset + part.Completed, part.Offset + part.Size - 1
        try:
            with follow("GET", url, {"Range": f"bytes={start}-{stop}"}) as answer:
                self.answer = answer
                while part.Completed < part.Size:
                    piece = self._piece(answer, part.Size - part.Completed)
                    os.pwrite(file, piece, part.Offset + part.Completed)
                    part.Completed += len(piece)
        finally:
            self.answer = None
            self._save(part)

    def _piece(self, answer: http.client.HTTPResponse, left: int) -> bytes:
        try:
            piece = answer.read1(min(_PIECE, left))
        except TimeoutError as error:
            raise StalledError from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RegistryError("unexpected EOF") from error
        if self.cancelled.is_set():
            raise RegistryError("context canceled")
        if not piece:
            raise RegistryError("unexpected EOF")
        self._faults(len(piece))
        return piece

    def _faults(self, size: int) -> None:
        faults = self.machine.get("pull") or {}
        self.received += size
        if rate := faults.get("bytes_per_second"):
            time.sleep(size / float(rate))
        limit = faults.get("fail_after_bytes")
        if limit is not None and self.received > int(limit):
            raise RegistryError("unexpected EOF")
