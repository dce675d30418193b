"""The certificate that a server shows, looked at through any connection."""

from __future__ import annotations

import ssl

from ollama_fleet.api.transport import Opener


def check_certificate(
    opener: Opener, address: str, port: int, name: str, *, roots: str | None, timeout: float
) -> None:
    """Shake hands, and hold the certificate to a name.

    Args:
        opener: makes the connection.
        address: where the server listens, as whoever makes the connection sees it.
        port: the same.
        name: a DNS name that the certificate has to be for.
        roots: what it has to lead to, in PEM; None for the roots that this system trusts.
        timeout: seconds for each step.

    Raises:
        ssl.SSLCertVerificationError: it is not for the name, does not lead there, or is not valid now.
        OSError: there is no connection, or no certificate.
    """
    context = ssl.create_default_context(cadata=roots)
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(received, to_send, server_hostname=name)
    connection = opener(address, port, timeout)
    try:
        while not _shaken(session):
            connection.sendall(to_send.read())
            received.write(connection.recv(65536) or _ended())
        connection.sendall(to_send.read())
    finally:
        connection.close()


def _shaken(session: ssl.SSLObject) -> bool:
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _ended() -> bytes:
    raise ConnectionError("the connection ended before there was a certificate")
