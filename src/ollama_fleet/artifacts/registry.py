"""Reading from a model registry: manifests, small blobs and the beginning of large ones."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit

from ollama_fleet.artifacts.http_source import Answer, FetchError, HttpOptions, HttpSource, NotThere
from ollama_fleet.artifacts.manifest import MANIFEST_MEDIA_TYPE, MAX_MANIFEST_BYTES, Manifest, ManifestError
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.artifacts.sha256 import check_digest, sha256_of

__all__ = ["NoSuchModel", "RegistryClient", "RegistryError"]

_TOKEN_BYTES = 256 << 10
_PARAMETER = re.compile(r'([a-zA-Z_]+)="([^"]*)"')
_TOKEN = re.compile(r"[!-~]{1,65536}")


class RegistryError(FetchError):
    """A registry did not give what was asked of it. One line, with the URL and what to do."""


class NoSuchModel(RegistryError, NotThere):
    """The registry has no model of that name."""


class RegistryClient:
    """A client for any number of registries, asked the way Ollama asks. Close it, or use it in a `with`.

    Registries that want a token are asked for one without credentials, as for public models; nothing secret
    is sent.
    """

    def __init__(self, options: HttpOptions | None = None) -> None:
        self._http = HttpSource(options)
        self._scheme = "http" if self._http.options.insecure else "https"
        self._tokens: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def manifest(self, name: ModelName) -> Manifest:
        """The manifest of a model, with the bytes its digest is of.

        Raises:
            NoSuchModel: when the registry does not have it.
            RegistryError: when there is no such registry, or the answer is no manifest.
        """
        url = f"{self._base(name)}/manifests/{name.tag}"
        answer = self._get(name, url, MAX_MANIFEST_BYTES, {"Accept": MANIFEST_MEDIA_TYPE})
        if answer.status == 404:
            raise NoSuchModel(
                f"{url}: no such model {name.repository}:{name.tag} at {name.host}; check the name"
            )
        self._expect(answer, url, 200)
        try:
            return Manifest.parse(answer.body)
        except ManifestError as error:
            raise RegistryError(f"{url}: {error}") from None

    def blob(self, name: ModelName, digest: str, limit: int) -> bytes:
        """A whole blob of at most `limit` bytes, checked against its digest.

        Raises:
            RegistryError: when it is not there, longer than `limit`, or has other bytes.
        """
        url = self._blob_url(name, digest)
        answer = self._get(name, url, limit)
        self._expect(answer, url, 200)
        if sha256_of(answer.body) != digest:
            raise RegistryError(f"{url}: its bytes have another digest; the registry or a proxy is broken")
        return answer.body

    def blob_range(self, name: ModelName, digest: str, start: int, length: int) -> bytes:
        """`length` bytes of a blob from `start` on, fewer at its end. Not checked against the digest.

        Raises:
            RegistryError: when it is not there, or the registry cannot give a part that does not begin at 0.
        """
        if start < 0 or length <= 0:
            raise ValueError(f"no range: {length} bytes from {start}")
        url = self._blob_url(name, digest)
        answer = self._get(name, url, length, {"Range": f"bytes={start}-{start + length - 1}"}, cut=True)
        if answer.status == 416:
            return b""
        if answer.status == 200 and start:
            raise RegistryError(
                f"{url}: the server does not give parts of a blob (Range); Ollama needs that too"
            )
        self._expect(answer, url, 200, 206)
        if answer.status == 206 and not answer.headers.get("content-range", "").startswith(f"bytes {start}-"):
            raise RegistryError(f"{url}: another part was sent than the one from byte {start}")
        return answer.body

    def _base(self, name: ModelName) -> str:
        return f"{self._scheme}://{name.host}/v2/{name.repository}"

    def _blob_url(self, name: ModelName, digest: str) -> str:
        return f"{self._base(name)}/blobs/{check_digest(digest)}"

    def _get(
        self,
        name: ModelName,
        url: str,
        limit: int,
        headers: dict[str, str] | None = None,
        *,
        cut: bool = False,
    ) -> Answer:
        fetch = self._http.get_start if cut else self._http.get
        scope = f"{name.host}/{name.repository}"
        try:
            answer = fetch(url, limit, self._with_token(scope, headers))
            if answer.status == 401 and (token := self._fetch_token(name, url, answer)):
                self._tokens[scope] = token
                answer = fetch(url, limit, self._with_token(scope, headers))
        except RegistryError:
            raise
        except FetchError as error:
            raise RegistryError(str(error)) from None
        return answer

    def _with_token(self, scope: str, headers: dict[str, str] | None) -> dict[str, str]:
        token = self._tokens.get(scope)
        return {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}

    def _fetch_token(self, name: ModelName, url: str, answer: Answer) -> str | None:
        """Ask where the registry says for an anonymous token; None where it does not say, or gives none."""
        challenge = answer.headers.get("www-authenticate", "")
        if not challenge.lower().startswith("bearer "):
            return None
        told = dict(_PARAMETER.findall(challenge))
        realm = told.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme not in {"https", self._scheme} or not parts.hostname:
            raise RegistryError(
                f"{url}: its tokens are to be had at {realm[:100]!r}, which is no safe address"
            )
        wanted = {"scope": told.get("scope") or f"repository:{name.repository}:pull"}
        if "service" in told:
            wanted["service"] = told["service"]
        separator = "&" if parts.query else "?"
        given = self._http.get(f"{realm}{separator}{urlencode(wanted)}", _TOKEN_BYTES)
        if given.status != 200:
            return None
        document = given.json()
        token = (
            (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
        )
        return token if isinstance(token, str) and _TOKEN.fullmatch(token) else None

    def _expect(self, answer: Answer, url: str, *statuses: int) -> None:
        if answer.status in statuses:
            return
        match answer.status:
            case 401 | 403:
                reason = "the registry wants credentials; only what can be read without them can be locked"
            case 404:
                reason = "the registry does not have this; was the model removed while it was read?"
            case 429:
                reason = "the registry answers too many requests; try again later"
            case status if status >= 500:
                reason = f"the registry answers {status}; try again later"
            case status:
                reason = f"the registry answers {status}; is this the address of a registry?"
        raise RegistryError(f"{url}: {reason}")
