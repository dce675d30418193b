"""Looking up what references to secrets stand for, on the machine that deploys, when a host needs it."""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import SecretStr

from ollama_fleet.planner.access_parts import AccessSecrets
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.secret import SecretReference

LARGEST_SECRET = 4096
"""Bytes; a token or a URL, not a file of anything else."""
LARGEST_PEM = 65536
"""Bytes of a certificate with its chain, or of a key."""
SHORTEST_TOKEN = 16
"""Characters; less can be guessed by trying."""
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What may follow `Bearer` in a header (RFC 6750)."""


def secrets_of(spec: HostSpec, folder: Path) -> Mapping[str, SecretStr]:
    """Return the values of a host's secret variables.

    Raises:
        PlanError: one cannot be had, or holds what no environment variable can; it names the line of fleet.yaml.
    """
    found = {}
    for name, reference in spec.secrets.items():
        try:
            found[name] = SecretStr(_checked(_value(reference, folder)))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise PlanError(f"{spec.origin.get(f'env.{name}')}: env.{name}: {reference}: {reason}") from None
    return found


def access_secrets_of(spec: HostSpec, folder: Path) -> AccessSecrets | None:
    """Return what opens a host's front door; None where it has none.

    Raises:
        PlanError: one cannot be had or is not what it should be; it names the line of fleet.yaml.
    """
    access = spec.access
    if access is None:
        return None
    seen: dict[str, str] = {}

    def token(kind: str, name: str, reference: SecretReference) -> SecretStr:
        key = f"access.{kind}.{name}"
        value = _looked_up(spec, key, reference, folder, LARGEST_SECRET, _checked_token)
        if (other := seen.setdefault(value, name)) != name:
            raise PlanError(f"{spec.origin.get(key)}: {key}: {other} has the same token; give each their own")
        return SecretStr(value)

    key = None
    if access.key is not None:
        key = SecretStr(_looked_up(spec, "access.key", access.key, folder, LARGEST_PEM, _checked_key))
    roots = access.acme.ca if access.acme else None
    return AccessSecrets(
        tokens={name: token("tokens", name, found) for name, found in access.tokens.items()},
        admin_tokens={
            name: token("admin_tokens", name, found) for name, found in access.admin_tokens.items()
        },
        certificate=_public(spec, "access.certificate", access.certificate, folder, _checked_certificate),
        key=key,
        acme_ca=_public(spec, "access.acme.ca", roots, folder, _checked_roots),
    )


def _looked_up(
    spec: HostSpec,
    key: str,
    reference: SecretReference,
    folder: Path,
    most: int,
    check: Callable[[str], str],
) -> str:
    try:
        return check(_value(reference, folder, most))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise PlanError(f"{spec.origin.get(key)}: {key}: {reference}: {reason}") from None


def _public(
    spec: HostSpec, key: str, path: str | None, folder: Path, check: Callable[[str], str]
) -> str | None:
    """A file that is no secret, but found in the same way."""
    if path is None:
        return None
    return _looked_up(spec, key, SecretReference("file", path), folder, LARGEST_PEM, check)


def _checked_token(value: str) -> str:
    if not TOKEN.fullmatch(value):
        raise ValueError(
            "a token is made of letters, digits and . _ ~ + / - =, such as `openssl rand -hex 32` makes"
        )
    if len(value) < SHORTEST_TOKEN:
        raise ValueError(f"it is shorter than {SHORTEST_TOKEN} characters; `openssl rand -hex 32` makes one")
    return value


def _checked_certificate(value: str) -> str:
    if "-----BEGIN CERTIFICATE-----" not in value:
        raise ValueError("it is no certificate in PEM")
    return value + "\n"


def _checked_roots(value: str) -> str:
    if "PRIVATE KEY-----" in value:
        raise ValueError("it holds a private key, and everybody on the host may read it; leave that out")
    try:
        ssl.create_default_context(cadata=value)
    except (ssl.SSLError, ValueError):
        raise ValueError("it holds no certificate in PEM") from None
    return value + "\n"


def _checked_key(value: str) -> str:
    if "PRIVATE KEY-----" not in value or "ENCRYPTED" in value:
        raise ValueError("it is no private key in PEM without a passphrase")
    return value + "\n"


def readable_by_all(spec: HostSpec, folder: Path) -> list[str]:
    """Files of this machine that hold a host's secrets and that everybody here may read."""
    found: dict[str, None] = {}
    references = [*spec.secrets.values()]
    if spec.access is not None:
        references += [*spec.access.tokens.values(), *spec.access.admin_tokens.values()]
        references += [spec.access.key] if spec.access.key is not None else []
    for reference in references:
        if reference.kind == "file":
            path = folder / Path(reference.name).expanduser()
            try:
                if path.stat().st_mode & stat.S_IROTH:
                    found[str(path)] = None
            except OSError:
                continue  # that it cannot be read is told where its value is needed
    return list(found)


def _value(reference: SecretReference, folder: Path, most: int = LARGEST_SECRET) -> str:
    if reference.kind == "env":
        value = os.environ.get(reference.name)
        if not value:
            raise ValueError("no such variable is set here")
        return value
    path = folder / Path(reference.name).expanduser()
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"the file is longer than {most} bytes")
    return content.decode().rstrip("\r\n")


def _checked(value: str) -> str:
    if not value:
        raise ValueError("it is empty")
    if not value.isprintable():
        raise ValueError("it holds a line break or another character that no variable can")
    return value
