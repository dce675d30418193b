"""What the references of a front door lead to, and what is refused without being repeated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ollama_fleet.deploys.secrets import access_secrets_of, readable_by_all
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec

GOOD = "0123456789abcdef" * 2
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"
KEY = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----"


def host(folder: Path, **access: Any) -> HostSpec:
    fleet = folder / "fleet.yaml"
    document = {"version": 1, "release": {"version": "0.32.15"}, "hosts": {"pc": {"access": access}}}
    fleet.write_text(json.dumps(document, indent=1))
    return Fleet.load(fleet).host("pc")


def test_tokens_and_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALICE", GOOD)
    for name, text in (("ops", GOOD[::-1]), ("c.pem", CERTIFICATE), ("k.pem", KEY)):
        (tmp_path / name).write_text(f"{text}\n")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "ops").chmod(0o644)
    spec = host(
        tmp_path,
        tokens={"alice": "env:ALICE"},
        admin_tokens={"ops": "file:ops"},
        certificate="c.pem",
        key="file:k.pem",
    )
    found = access_secrets_of(spec, tmp_path)
    assert found
    assert found.tokens["alice"].get_secret_value() == GOOD
    assert found.admin_tokens["ops"].get_secret_value() == GOOD[::-1]
    assert found.certificate == f"{CERTIFICATE}\n"
    assert found.key
    assert found.key.get_secret_value() == f"{KEY}\n"
    assert GOOD not in repr(found)
    assert KEY not in repr(found)
    assert readable_by_all(spec, tmp_path) == [str(tmp_path / "ops")]


def test_no_door_needs_nothing(tmp_path: Path) -> None:
    assert access_secrets_of(host(tmp_path), tmp_path) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "no such variable is set here"),
        ("xyzzy", "it is shorter than 16 characters"),
        (f"{GOOD} {GOOD}", "a token is made of letters"),
        (f'{GOOD}" admin "x', "a token is made of letters"),
        (f"{GOOD}{{env.HOME}}", "a token is made of letters"),
        (f"{GOOD}\n", "a token is made of letters"),
        (f"*{GOOD}", "a token is made of letters"),
    ],
)
def test_what_is_no_token(
    value: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("ALICE", value)
    with pytest.raises(PlanError) as caught:
        access_secrets_of(host(tmp_path, tokens={"alice": "env:ALICE"}), tmp_path)
    told = str(caught.value)
    assert "access.tokens.alice: env:ALICE: " in told
    assert words in told
    assert "fleet.yaml:" in told
    assert value is None or value not in told.partition("access.tokens")[2]


def test_one_token_for_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAME", GOOD)
    spec = host(tmp_path, tokens={"alice": "env:SAME"}, admin_tokens={"ops": "env:SAME"})
    with pytest.raises(PlanError, match="alice has the same token"):
        access_secrets_of(spec, tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("nothing of the kind", "no certificate in PEM"),
        (CERTIFICATE, "no certificate in PEM"),
        (f"{CERTIFICATE}\n{KEY}", "it holds a private key"),
    ],
)
def test_what_is_no_root(
    text: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALICE", GOOD)
    if text is not None:
        (tmp_path / "root.pem").write_text(text)
    acme = {"server": "https://ca.lan/acme/directory", "ca": "root.pem"}
    spec = host(
        tmp_path, tls="acme", listen="[::]:443", names=["gpu.lan"], acme=acme, tokens={"alice": "env:ALICE"}
    )
    with pytest.raises(PlanError, match=words) as caught:
        access_secrets_of(spec, tmp_path)
    assert "access.acme.ca: " in str(caught.value)


def test_what_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALICE", GOOD)
    (tmp_path / "c.pem").write_text(CERTIFICATE)
    (tmp_path / "k.pem").write_text("hush")
    spec = host(tmp_path, tokens={"alice": "env:ALICE"}, certificate="c.pem", key="file:k.pem")
    with pytest.raises(PlanError, match="no private key in PEM") as caught:
        access_secrets_of(spec, tmp_path)
    assert "hush" not in str(caught.value)
