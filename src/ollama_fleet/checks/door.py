"""A look at the front door from here: nothing without a token, and nothing that changes models with a client's."""

from __future__ import annotations

import http.client
import socket
import ssl

from pydantic import SecretStr

from ollama_fleet.planner.access_parts import in_url
from ollama_fleet.planner.items.access import WantedAccess

TIMEOUT = 10.0


def try_door(door: WantedAccess, address: str) -> str | None:
    """Return what is wrong with a front door, in one line, or None.

    Args:
        door: what is wanted, with a token that a client has.
        address: where it is reached from here.
    """
    for method, path, token, expected in (
        ("GET", "/api/version", None, (401,)),
        ("DELETE", "/api/delete", None, (401,)),
        ("GET", "/api/version", door.token, (200,)),
        ("DELETE", "/api/delete", door.token, (403,)),
    ):
        if expected != (401,) and token is None:
            continue  # only administrators have tokens, and theirs are not tried
        try:
            status = _ask(door, address, method, door.prefix + path, token)
        except ssl.SSLCertVerificationError as error:
            return (
                f"the certificate of the front door is not one for {door.certified[0]} by its authority "
                f"({error.verify_message})"
            )
        except (OSError, http.client.HTTPException) as error:
            return f"{in_url(address)}:{door.port} does not answer from here ({str(error) or type(error).__name__})"
        if status not in expected:
            how = "without a token" if token is None else "with a client's token"
            return f"the front door answers {status} to {method} {path} {how}, where {expected[0]} is right"
    return None


def _ask(door: WantedAccess, address: str, method: str, path: str, token: SecretStr | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
    connection: http.client.HTTPConnection
    if door.scheme == "https":
        connection = _secured(door, address)
    else:
        connection = http.client.HTTPConnection(address, door.port, timeout=TIMEOUT)
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _secured(door: WantedAccess, address: str) -> http.client.HTTPSConnection:
    """A connection to this address; by the name that clients use, where an authority vouches for it."""
    context = ssl.create_default_context(cadata=door.roots)
    if not door.certified:
        # Whether clients trust the certificate is theirs to say; here it matters who is let in.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(address, door.port, timeout=TIMEOUT, context=context)
    name = door.certified[0]
    connection = http.client.HTTPSConnection(name, door.port, timeout=TIMEOUT, context=context)
    plain = socket.create_connection((address, door.port), TIMEOUT)
    try:
        connection.sock = context.wrap_socket(plain, server_hostname=name)
    except BaseException:
        plain.close()
        raise
    return connection
