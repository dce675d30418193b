"""/api/blobs: sending files before a create."""

from __future__ import annotations

import stat

import pytest

from contract.server import Server
from contract.stored import digest_of

pytestmark = pytest.mark.contract
DATA = b"some bytes"
DIGEST = digest_of(DATA)


def test_a_new_blob_is_201_and_a_known_one_200(server: Server) -> None:
    assert server.http.head(f"/api/blobs/{DIGEST}").status_code == 404
    assert server.http.post(f"/api/blobs/{DIGEST}", content=DATA).status_code == 201
    assert server.http.head(f"/api/blobs/{DIGEST}").status_code == 200
    assert server.http.post(f"/api/blobs/{DIGEST}", content=b"anything").status_code == 200
    path = server.blob_path(DIGEST)
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_stream_of_unknown_length_is_taken(server: Server) -> None:
    answer = server.http.post(f"/api/blobs/{DIGEST}", content=iter([DATA[:4], DATA[4:]]))
    assert answer.status_code == 201
    assert server.blob_path(DIGEST).read_bytes() == DATA


def test_other_bytes_than_the_digest_says_are_refused(server: Server) -> None:
    answer = server.http.post(f"/api/blobs/{DIGEST}", content=b"other")
    assert answer.status_code == 400
    words = f'digest mismatch, expected "{DIGEST}", got "{digest_of(b"other")}"'
    assert answer.json() == {"error": words}
    assert server.http.head(f"/api/blobs/{DIGEST}").status_code == 404
    assert server.blob_path(digest_of(b"other")).exists(), (
        "the bytes themselves are kept under their own digest"
    )


@pytest.mark.parametrize("digest", ["sha256:abc", "md5:" + "0" * 32, "0" * 64])
def test_what_is_no_digest_is_400(server: Server, digest: str) -> None:
    assert server.http.head(f"/api/blobs/{digest}").status_code == 400
    answer = server.http.post(f"/api/blobs/{digest}", content=DATA)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid digest format"})
