"""A file behind a URL, read in parts by Range requests."""

from __future__ import annotations

import re

from ollama_fleet.artifacts.http_source import Answer, FetchError, HttpSource

__all__ = ["UrlFile"]

_FIRST = 2 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class UrlFile:
    """A file of `size` bytes at `url`. Nothing but what is asked for is fetched, and the first two MiB.

    Raises:
        FetchError: on making it or reading, when the server has no such file or gives no parts.
    """

    def __init__(self, http: HttpSource, url: str) -> None:
        self._http = http
        self.url = url
        answer = self._get(0, _FIRST)
        self._head = answer.body
        if answer.status == 200:  # the whole file is on its way; its beginning may be all that is needed
            length = answer.headers.get("content-length", "")
            if not (length.isascii() and length.isdigit() and len(length) <= 18):
                raise FetchError(f"{url}: the server does not tell its size (Content-Length)")
            self.size = int(length)
        else:
            self.size = self._told(answer, 0)[2]

    def read(self, start: int, length: int) -> bytes:
        """`length` bytes from `start` on, fewer at the end."""
        if start + length <= len(self._head):
            return self._head[start : start + length]
        answer = self._get(start, length)
        if answer.status == 200:
            if start:
                raise FetchError(f"{self.url}: the server does not give parts of a file (Range)")
            return answer.body
        self._told(answer, start)
        return answer.body

    def _get(self, start: int, length: int) -> Answer:
        headers = {"Range": f"bytes={start}-{start + length - 1}"}
        answer = self._http.get_start(self.url, length, headers)
        if answer.status == 416:
            raise FetchError(
                f"{self.url}: there is nothing at byte {start}; the file is empty or has changed"
            )
        if answer.status not in {200, 206}:
            raise FetchError(f"{self.url}: the server answers {answer.status}; check the address")
        return answer

    def _told(self, answer: Answer, start: int) -> tuple[int, int, int]:
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if found is None or int(found[1]) != start:
            raise FetchError(f"{self.url}: another part was sent than the one from byte {start}")
        return int(found[1]), int(found[2]), int(found[3])
