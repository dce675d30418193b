"""A certificate is held to its name and its root, by a real handshake."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ollama_fleet.api.handshake import check_certificate
from ollama_fleet.api.transport import open_direct

NAME = "gpu.lan"
HOUR = datetime.timedelta(hours=1)


def make(folder: Path, name: str, *, ended: bool = False) -> tuple[str, Path]:
    """A certificate that is its own root, as text, and in a file with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 48 * HOUR)
        .not_valid_after(now - 24 * HOUR if ended else now + 24 * HOUR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{name}-{ended}.pem"
    path.write_text(text + private.decode())
    return text, path


@contextmanager
def serving(pem: Path | None) -> Iterator[int]:
    """A port at which a certificate is shown, or nothing but an end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if pem is not None:
        context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            connection.settimeout(30)
            try:
                if pem is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                    connection.recv(1)
                else:
                    connection.recv(65536)
            except OSError:
                pass  # the other side did not like it
            finally:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(30)
        assert not thread.is_alive()


def check(port: int, name: str, roots: str | None) -> None:
    check_certificate(open_direct, "127.0.0.1", port, name, roots=roots, timeout=30)


def test_the_right_one(tmp_path: Path) -> None:
    text, pem = make(tmp_path, NAME)
    with serving(pem) as port:
        check(port, NAME, text)


def test_the_wrong_ones(tmp_path: Path) -> None:
    text, pem = make(tmp_path, NAME)
    other, _ = make(tmp_path, "other.lan")
    old, old_pem = make(tmp_path, NAME, ended=True)
    for shown, name, roots, words in (
        (pem, "other.lan", text, "Hostname mismatch"),
        (pem, NAME, other, "self-signed certificate"),
        (pem, NAME, None, "self-signed certificate"),
        (old_pem, NAME, old, "expired"),
    ):
        with serving(shown) as port, pytest.raises(ssl.SSLCertVerificationError, match=words):
            check(port, name, roots)


def test_none_at_all() -> None:
    with serving(None) as port, pytest.raises(ConnectionError, match="before there was a certificate"):
        check(port, NAME, None)
