"""Bounded HTTP requests for what the lock is made of: manifests, small blobs, lists of checksums."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from ollama_fleet.artifacts.http_client import import_httpx

__all__ = ["Answer", "FetchError", "HttpOptions", "HttpSource", "NotThere"]

_GATEWAY_TROUBLE = frozenset({429, 502, 503, 504})
_ERROR_BODY = 64 << 10


class FetchError(Exception):
    """Something could not be had over the network. One line, with the URL and what to do."""


class NotThere(FetchError):
    """The server answers, and has no such thing."""


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How a server is reached.

    `insecure` means plain HTTP instead of HTTPS (never HTTPS without verification); `ca` is a file with the
    certificates to trust instead of the system's; `proxy` overrides the environment's; `timeout` is in
    seconds without a byte; `retries` counts further attempts where the network or a gateway fails, `pause` is
    the time in seconds before the first of them, doubled each time.
    """

    insecure: bool = False
    ca: Path | None = None
    proxy: str | None = None
    timeout: float = 30.0
    retries: int = 2
    pause: float = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers with lower-case names, and the body as far as it was asked for."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> object:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class HttpSource:
    """An HTTP client that never reads more than it was told to. Close it, or use it in a `with`."""

    def __init__(self, options: HttpOptions | None = None) -> None:
        self.options = options or HttpOptions()
        httpx = import_httpx()
        try:
            verify: ssl.SSLContext | bool = True
            if self.options.ca is not None:
                verify = ssl.create_default_context(cafile=str(self.options.ca))
            self._client: Any = httpx.Client(
                verify=verify,
                proxy=self.options.proxy,
                timeout=self.options.timeout,
                follow_redirects=True,
                # Hashes are of the bytes as stored, so nothing may be packed on the way.
                headers={"Accept-Encoding": "identity", "User-Agent": "ollama-fleet"},
            )
        except OSError as error:
            raise FetchError(f"{self.options.ca}: cannot be read as certificates ({error})") from None
        except ValueError as error:
            raise FetchError(
                f"proxy {_without_secrets(self.options.proxy)} cannot be used: {error}"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def get(self, url: str, limit: int, headers: Mapping[str, str] | None = None) -> Answer:
        """GET, reading at most `limit` bytes of a good answer.

        Raises:
            FetchError: when there is no answer, or a good one is longer than `limit`.
        """
        return self._send("GET", url, limit, headers, cut=False)

    def get_start(self, url: str, length: int, headers: Mapping[str, str] | None = None) -> Answer:
        """GET, reading `length` bytes and leaving the rest."""
        return self._send("GET", url, length, headers, cut=True)

    def head(self, url: str) -> Answer:
        """HEAD. Raises FetchError when there is no answer."""
        return self._send("HEAD", url, 0, None, cut=True)

    def _send(
        self, method: str, url: str, limit: int, headers: Mapping[str, str] | None, *, cut: bool
    ) -> Answer:
        httpx = import_httpx()
        for attempt in range(self.options.retries + 1):
            last = attempt == self.options.retries
            try:
                answer = self._once(method, url, limit, headers, cut=cut)
            except httpx.InvalidURL as error:
                raise FetchError(f"{url}: no valid URL ({error})") from None
            except httpx.TooManyRedirects:
                raise FetchError(f"{url}: redirects without end") from None
            except httpx.TransportError as error:
                if last or isinstance(error, (httpx.UnsupportedProtocol, httpx.ProxyError)):
                    raise FetchError(f"{url}: {_reason(error, self.options)}") from None
            else:
                if last or answer.status not in _GATEWAY_TROUBLE:
                    return answer
            time.sleep(self.options.pause * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _once(
        self, method: str, url: str, limit: int, headers: Mapping[str, str] | None, *, cut: bool
    ) -> Answer:
        with self._client.stream(method, url, headers=headers) as response:
            steps = [*response.history, response]
            if url.startswith("https:") and any(step.url.scheme != "https" for step in steps):
                raise FetchError(f"{url}: redirects to plain HTTP; nothing from there can be trusted")
            good = response.is_success
            most = limit if good else _ERROR_BODY
            body = bytearray()
            for piece in response.iter_raw():
                body += piece
                if len(body) > most or (cut and len(body) == most):
                    break
            if len(body) > most and good and not cut:
                raise FetchError(f"{url}: the answer is longer than the {limit} bytes that make sense here")
            found = {name.lower(): value for name, value in response.headers.items()}
            return Answer(str(response.url), response.status_code, found, bytes(body[:most]))


def _reason(error: Exception, options: HttpOptions) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    name = type(error).__name__
    if "CERTIFICATE" in text.upper():
        return f"its certificate is not trusted ({text}); set `ca` to the authority's certificate"
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER" in text:
        return "it does not speak TLS; if it is a registry of your own, set `insecure: true`"
    if name.endswith("Timeout"):
        return f"no answer within {options.timeout:g} s; check that it can be reached from here"
    if name == "ProxyError":
        return f"the proxy refused ({text}); check `proxy` and the environment's HTTPS_PROXY"
    return f"cannot be reached ({text}); check the name, the network and the proxy"


def _without_secrets(url: str | None) -> str:
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.hostname}" if parts.hostname else "given"
