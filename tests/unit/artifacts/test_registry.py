from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ollama_fleet.artifacts.http_source import FetchError, HttpOptions, HttpSource
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.artifacts.registry import RegistryClient, RegistryError
from unit.artifacts.local_server import LocalServer, Reply, Request

BLOB = bytes(range(256)) * 40
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
CONFIG = {
    "mediaType": "application/vnd.docker.container.image.v1+json",
    "digest": f"sha256:{'a' * 64}",
    "size": 2,
}
# Laid out as no program of ours would: the digest is of these very bytes.
MANIFEST = json.dumps({"schemaVersion": 2, "config": CONFIG, "layers": []}, indent=7).encode()
OPTIONS = HttpOptions(insecure=True, timeout=5, retries=0)
MANIFEST_PATH = "/v2/library/qwen3/manifests/8b"
BLOB_PATH = f"/v2/library/qwen3/blobs/{DIGEST}"


@pytest.fixture
def name(server: LocalServer) -> ModelName:
    return ModelName.parse(f"{server.host}/library/qwen3:8b")


@pytest.fixture
def registry(server: LocalServer) -> Iterator[RegistryClient]:
    with RegistryClient(OPTIONS) as client:
        yield client


def ranged(request: Request) -> Reply:
    start, _, end = request.headers["Range"].removeprefix("bytes=").partition("-")
    if int(start) >= len(BLOB):
        return Reply(416)
    part = BLOB[int(start) : int(end) + 1]
    return Reply(206, part, {"Content-Range": f"bytes {start}-{int(start) + len(part) - 1}/{len(BLOB)}"})


def test_a_manifest_keeps_the_bytes_its_digest_is_of(
    server: LocalServer, registry: RegistryClient, name: ModelName
) -> None:
    server.routes[MANIFEST_PATH] = Reply(body=MANIFEST)
    manifest = registry.manifest(name)
    assert manifest.raw == MANIFEST
    assert manifest.digest == f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
    (request,) = server.requests
    assert request.headers["Accept"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert request.headers["Accept-Encoding"] == "identity"


def test_a_model_that_is_not_there_is_named(registry: RegistryClient, name: ModelName) -> None:
    with pytest.raises(RegistryError) as caught:
        registry.manifest(name)
    message = str(caught.value)
    assert message.startswith(f"http://{name.host}{MANIFEST_PATH}: ")
    assert f"no such model library/qwen3:8b at {name.host}" in message


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(body=b"<html>"), "not a manifest"),
        (Reply(body=b" " * (5 << 20)), "longer than the"),
        (Reply(body=b" " * (5 << 20), length=False), "longer than the"),
        (Reply(401), "credentials"),
        (Reply(403), "credentials"),
        (Reply(429), "too many requests"),
        (Reply(500), "answers 500"),
        (Reply(418), "answers 418; is this the address of a registry?"),
        (Reply(302, headers={"Location": MANIFEST_PATH}), "redirects without end"),
        (Reply(302, headers={"Location": "ftp://elsewhere/"}), "cannot be reached"),
        (Reply(401, headers={"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}), "no safe address"),
        (Reply(401, headers={"WWW-Authenticate": 'Bearer realm="ftp://host/token"'}), "no safe address"),
        (Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'}), "credentials"),
    ],
)
def test_other_answers_are_told_in_one_line(
    server: LocalServer, registry: RegistryClient, name: ModelName, reply: Reply, reason: str
) -> None:
    server.routes[MANIFEST_PATH] = reply
    with pytest.raises(RegistryError) as caught:
        registry.manifest(name)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_blob_is_checked_against_its_digest(
    server: LocalServer, registry: RegistryClient, name: ModelName
) -> None:
    server.routes[BLOB_PATH] = Reply(body=BLOB)
    assert registry.blob(name, DIGEST, len(BLOB)) == BLOB
    with pytest.raises(RegistryError, match="longer than"):
        registry.blob(name, DIGEST, len(BLOB) - 1)
    server.routes[BLOB_PATH] = Reply(body=BLOB[:-1] + b"!")
    with pytest.raises(RegistryError, match="another digest"):
        registry.blob(name, DIGEST, len(BLOB))


def test_a_blob_that_ends_too_early_is_no_blob(
    server: LocalServer, registry: RegistryClient, name: ModelName
) -> None:
    server.routes[BLOB_PATH] = Reply(
        body=BLOB[:100], headers={"Content-Length": str(len(BLOB))}, length=False
    )
    with pytest.raises(RegistryError, match="cannot be reached"):
        registry.blob(name, DIGEST, len(BLOB))


def test_a_digest_that_is_none_never_gets_into_an_address(
    server: LocalServer, registry: RegistryClient, name: ModelName
) -> None:
    with pytest.raises(ValueError, match="not a digest"):
        registry.blob(name, "sha256:../../other", 10)
    assert server.requests == []


def test_blobs_may_lie_elsewhere(server: LocalServer, registry: RegistryClient, name: ModelName) -> None:
    server.routes[BLOB_PATH] = Reply(307, headers={"Location": "/storage/blob?signature=1"})
    server.routes["/storage/blob"] = Reply(body=BLOB)
    assert registry.blob(name, DIGEST, len(BLOB)) == BLOB


def test_a_part_of_a_blob_is_read(server: LocalServer, registry: RegistryClient, name: ModelName) -> None:
    server.routes[BLOB_PATH] = ranged
    assert registry.blob_range(name, DIGEST, 100, 50) == BLOB[100:150]
    assert registry.blob_range(name, DIGEST, len(BLOB) - 5, 50) == BLOB[-5:]
    assert registry.blob_range(name, DIGEST, len(BLOB), 50) == b""


def test_a_server_without_ranges_can_give_the_beginning_only(
    server: LocalServer, registry: RegistryClient, name: ModelName
) -> None:
    server.routes[BLOB_PATH] = Reply(body=BLOB)
    assert registry.blob_range(name, DIGEST, 0, 50) == BLOB[:50]
    with pytest.raises(RegistryError, match="parts of a blob"):
        registry.blob_range(name, DIGEST, 1, 50)


def test_a_part_from_elsewhere_is_refused(
    server: LocalServer, registry: RegistryClient, name: ModelName
) -> None:
    server.routes[BLOB_PATH] = Reply(206, b"x" * 50, {"Content-Range": "bytes 0-49/100"})
    with pytest.raises(RegistryError, match="from byte 10"):
        registry.blob_range(name, DIGEST, 10, 50)


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_a_token_is_fetched_without_credentials_and_used_again(
    server: LocalServer, registry: RegistryClient, name: ModelName, key: str
) -> None:
    def guarded(request: Request) -> Reply:
        if request.headers.get("Authorization") == "Bearer anonymous":
            return Reply(body=MANIFEST if "manifests" in request.path else BLOB)
        challenge = (
            f'Bearer realm="{server.url}/token?a=b",service="reg",scope="repository:library/qwen3:pull"'
        )
        return Reply(401, headers={"WWW-Authenticate": challenge})

    server.routes[MANIFEST_PATH] = server.routes[BLOB_PATH] = guarded
    server.routes["/token"] = Reply(body=json.dumps({key: "anonymous"}).encode())
    registry.manifest(name)
    registry.blob(name, DIGEST, len(BLOB))
    paths = [request.path for request in server.requests]
    assert paths == [
        MANIFEST_PATH,
        "/token?a=b&scope=repository%3Alibrary%2Fqwen3%3Apull&service=reg",
        MANIFEST_PATH,
        BLOB_PATH,
    ]
    assert "Authorization" not in server.requests[1].headers


@pytest.mark.parametrize(
    "token",
    [
        Reply(403),
        Reply(body=b"[]"),
        Reply(body=b"<html>"),
        Reply(body=b'{"token": 5}'),
        Reply(body=b'{"token": "a\\nb"}'),
    ],
)
def test_a_registry_that_gives_no_token_wants_credentials(
    server: LocalServer, registry: RegistryClient, name: ModelName, token: Reply
) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token"'}
    server.routes[MANIFEST_PATH] = Reply(401, headers=challenge)
    server.routes["/token"] = token
    with pytest.raises(RegistryError, match="credentials"):
        registry.manifest(name)


def test_a_token_is_not_carried_to_another_host(
    server: LocalServer, registry: RegistryClient, name: ModelName
) -> None:
    other = LocalServer()
    try:
        other.routes["/blob"] = Reply(body=BLOB)

        def guarded(request: Request) -> Reply:
            if "Authorization" in request.headers:
                return Reply(307, headers={"Location": f"{other.url}/blob"})
            return Reply(401, headers={"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})

        server.routes[BLOB_PATH] = guarded
        server.routes["/token"] = Reply(body=b'{"token": "secret"}')
        assert registry.blob(name, DIGEST, len(BLOB)) == BLOB
        assert "Authorization" not in other.requests[0].headers
    finally:
        other.close()


def test_trouble_at_a_gateway_is_tried_again(server: LocalServer, name: ModelName) -> None:
    answers = iter([Reply(503), Reply(429), Reply(body=MANIFEST)])
    server.routes[MANIFEST_PATH] = lambda _: next(answers)
    with RegistryClient(HttpOptions(insecure=True, retries=2, pause=0)) as registry:
        assert registry.manifest(name).raw == MANIFEST


def test_nobody_there_is_told_with_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        with (
            RegistryClient(OPTIONS) as registry,
            pytest.raises(RegistryError, match=f"http://{host}/v2/.*check the name"),
        ):
            registry.manifest(ModelName.parse(f"{host}/library/qwen3"))


def test_plain_http_behind_https_says_what_to_set(server: LocalServer, name: ModelName) -> None:
    with (
        RegistryClient(HttpOptions(timeout=5, retries=0)) as registry,
        pytest.raises(RegistryError, match="insecure: true"),
    ):
        registry.manifest(name)


class _Quiet(BaseHTTPRequestHandler):
    answer: tuple[int, dict[str, str], bytes] = (200, {}, MANIFEST)

    def do_GET(self) -> None:
        status, headers, body = self.answer
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    path = folder / "both.pem"
    arguments = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            *arguments,
        ],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    path.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return path


@pytest.fixture
def tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for variable in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)

    class Handler(_Quiet):
        pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    http.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield http
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_certificate_of_ones_own_is_trusted_only_when_given(tls: Any, certificate: Path) -> None:
    name = ModelName.parse(f"127.0.0.1:{tls.server_port}/library/qwen3:8b")
    with (
        RegistryClient(HttpOptions(timeout=5, retries=0)) as registry,
        pytest.raises(RegistryError, match="set `ca`"),
    ):
        registry.manifest(name)
    with RegistryClient(HttpOptions(ca=certificate, timeout=5, retries=0)) as registry:
        assert registry.manifest(name).raw == MANIFEST


def test_nothing_is_taken_from_plain_http_where_https_was_asked(
    tls: Any, certificate: Path, server: LocalServer
) -> None:
    server.routes["/x"] = Reply(body=MANIFEST)
    tls.RequestHandlerClass.answer = (302, {"Location": f"{server.url}/x"}, b"")
    options = HttpOptions(ca=certificate, timeout=5, retries=0)
    with HttpSource(options) as http, pytest.raises(FetchError, match="plain HTTP"):
        http.get(f"https://127.0.0.1:{tls.server_port}/x", 1000)


def test_options_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="cannot be read as certificates"):
        HttpSource(HttpOptions(ca=tmp_path / "none.pem"))
    (tmp_path / "bad.pem").write_text("nothing")
    with pytest.raises(FetchError, match="cannot be read as certificates"):
        HttpSource(HttpOptions(ca=tmp_path / "bad.pem"))
    with pytest.raises(FetchError) as caught:
        HttpSource(HttpOptions(proxy="gopher://me:secret@proxy:1"))
    assert "secret" not in str(caught.value)


def test_a_proxy_is_used(server: LocalServer) -> None:
    def proxied(_: Request) -> Reply:
        return Reply(body=MANIFEST)

    server.routes["http://registry.example/v2/library/qwen3/manifests/8b"] = proxied
    with RegistryClient(HttpOptions(insecure=True, proxy=server.url, timeout=5, retries=0)) as registry:
        assert registry.manifest(ModelName.parse("registry.example/library/qwen3:8b")).raw == MANIFEST
