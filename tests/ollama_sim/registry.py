"""Requests to a registry, with the errors a Go client would give."""

from __future__ import annotations

import http.client
import json
import platform
import re
import socket
import ssl
import urllib.error
import urllib.request
from email.message import Message
from typing import IO, Any
from urllib.parse import quote, urljoin, urlsplit

from ollama_sim import names

ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"
MAX_REDIRECTS = 10
_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


class RegistryError(Exception):
    """A request failed; the text is what the API answers."""


class NotThereError(RegistryError):
    """The registry answered 404."""

    def __init__(self) -> None:
        super().__init__("file does not exist")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _TakeAll(urllib.request.HTTPErrorProcessor):
    """Every status is an answer, none an exception."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        return response

    https_response = http_response


class Registry:
    """One registry as a pull sees it. `insecure` turns https into http."""

    def __init__(self, name: names.Name, version: str, *, insecure: bool = False) -> None:
        scheme = "http" if insecure else name.scheme
        self.base = f"{scheme}://{name.host}/v2/{name.namespace}/{name.model}"
        self.tag = name.tag
        self.token = ""
        arch = _ARCH.get(platform.machine(), platform.machine())
        self.agent = f"ollama/{version} ({arch} linux) Go/go1.24.1"

    def manifest(self) -> bytes:
        """The manifest's bytes. Raises RegistryError."""
        with self.open("GET", f"{self.base}/manifests/{quote(self.tag)}", {"Accept": ACCEPT}) as answer:
            return self._read(answer)

    def blob_size(self, digest: str) -> int:
        with self.open("HEAD", self.blob_url(digest)) as answer:
            return int(answer.headers.get("Content-Length") or 0)

    def blob_url(self, digest: str) -> str:
        return f"{self.base}/blobs/{digest}"

    def direct_url(self, digest: str) -> str:
        """Where the blob's bytes are really fetched: the Location of a 200 or 307 answer, which is demanded.

        Redirects within the same host name are followed, and the Location of such a step is then forgotten.
        """
        url = self.blob_url(digest)
        home = urlsplit(url).hostname
        with self.open("GET", url, stay_on=home) as answer:
            if answer.status not in (200, 307):
                raise RegistryError(f"unexpected status code {answer.status}")
            location = answer.headers.get("Location")
            if not location:
                raise RegistryError("http: no Location header in response")
            return urljoin(answer.url, location)

    def open(
        self, method: str, url: str, headers: dict[str, str] | None = None, *, stay_on: str | None = None
    ) -> http.client.HTTPResponse:
        """Send a request, with one more try after a 401. Raises RegistryError."""
        for _ in range(2):
            sent = {"User-Agent": self.agent, **(headers or {})}
            if self.token:
                sent["Authorization"] = f"Bearer {self.token}"
            answer = follow(method, url, sent, stay_on=stay_on)
            if answer.status == 401:
                self.token = self._fetch_token(answer.headers, url)
                continue
            if answer.status == 404:
                raise NotThereError
            if answer.status >= 400:
                body = self._read(answer).decode("utf-8", "replace")
                raise RegistryError(f"{answer.status}: {body}")
            return answer
        raise RegistryError("unauthorized: access denied")

    def _fetch_token(self, headers: Message, url: str) -> str:
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', headers.get("www-authenticate", "")))
        realm = challenge.get("realm", "")
        if urlsplit(realm).netloc != urlsplit(url).netloc:
            theirs, ours = urlsplit(realm).netloc, urlsplit(url).netloc
            raise RegistryError(f'realm host "{theirs}" does not match original host "{ours}"')
        query = "&".join(f"{key}={quote(challenge.get(key, ''), safe='')}" for key in ("scope", "service"))
        with follow("GET", f"{realm}?{query}", {"User-Agent": self.agent}) as answer:
            if answer.status >= 400:
                raise RegistryError(f"{answer.status}: {self._read(answer).decode('utf-8', 'replace')}")
            return str(json.loads(self._read(answer)).get("token", ""))

    @staticmethod
    def _read(answer: IO[bytes]) -> bytes:
        try:
            return answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise RegistryError("unexpected EOF") from error


def follow(
    method: str, url: str, headers: dict[str, str], *, stay_on: str | None = None
) -> http.client.HTTPResponse:
    """Send a request and follow its redirects; with `stay_on`, only while the host name stays that one."""
    for _ in range(MAX_REDIRECTS + 1):
        answer = once(method, url, headers)
        if answer.status not in (301, 302, 303, 307, 308) or not answer.headers.get("Location"):
            return answer
        target = urljoin(url, answer.headers["Location"])
        if stay_on is not None and urlsplit(target).hostname != stay_on:
            return answer
        answer.close()
        if urlsplit(target).hostname != urlsplit(url).hostname:
            headers = {key: value for key, value in headers.items() if key != "Authorization"}
        url = target
    raise RegistryError(f'{method.title()} "{url}": stopped after 10 redirects')


def once(method: str, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Send one request. Raises RegistryError in Go's words."""
    host = urlsplit(url).hostname or ""
    # Go never sends loopback through a proxy.
    proxies: dict[str, str] | None = {} if host in ("localhost", "::1") or host.startswith("127.") else None
    opener = urllib.request.build_opener(_NoRedirect, _TakeAll, urllib.request.ProxyHandler(proxies))
    opener.addheaders = []
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers, method=method), timeout=30)
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        raise RegistryError(f'{method.title()} "{url}": {_words(error, url)}') from error
    assert isinstance(answer, http.client.HTTPResponse)
    return answer


def _words(error: Exception, url: str) -> str:
    """What Go says where Python says `error`."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    if isinstance(cause, ConnectionRefusedError):
        return f"dial tcp {where}: connect: connection refused"
    if isinstance(cause, socket.gaierror):
        return f"dial tcp: lookup {parts.hostname}: no such host"
    if isinstance(cause, ssl.SSLCertVerificationError):
        if "hostname" in cause.verify_message.lower():
            return f"tls: failed to verify certificate: x509: certificate is not valid for {parts.hostname}"
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    if isinstance(cause, ssl.SSLError):
        return "http: server gave HTTP response to HTTPS client"
    if isinstance(cause, TimeoutError):
        return (
            "net/http: TLS handshake timeout" if parts.scheme == "https" else f"dial tcp {where}: i/o timeout"
        )
    if isinstance(cause, OSError) and cause.strerror:
        return f"dial tcp {where}: connect: {cause.strerror.lower()}"
    return "EOF"
