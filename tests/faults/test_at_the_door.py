"""Every text of fleet.yaml is refused in words, or means exactly itself; names hold nothing that anybody could run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faults.hostile import ALL, texts
from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec

Document = dict[str, Any]
HARMLESS = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9_.@:/%~+,=\[\]-]*")
"""No blank, quote, dollar, backtick, separator or leading dash: nothing that a shell would read as more than a word."""


def document() -> Document:
    return {
        "version": 1,
        "release": {"version": "0.24.0"},
        "models": {"m": {"from": "qwen3:8b", "num_ctx": 100}},
        "groups": {"g": {"hosts": ["h"]}},
        "hosts": {"h": {"address": "10.0.0.1", "models": ["m"], "gpus": []}},
    }


def parsed(made: Document) -> HostSpec | None:
    """The one host, or None where the file was refused, which must have been done in words."""
    try:
        return Fleet.parse(json.dumps(made, ensure_ascii=False), folder="/work").hosts[0]
    except SpecErrors as refused:
        lines = [str(error) for error in refused.errors]
    assert lines
    for line in lines:
        assert line.startswith("fleet.yaml")
        assert line.isprintable()
        assert len(line) < 1000
    return None


def _host_name(made: Document, text: str) -> Callable[[HostSpec], str]:
    made["hosts"] = {text: made["hosts"]["h"]}
    made["groups"] = {}
    return lambda host: host.name


def _group_name(made: Document, text: str) -> Callable[[HostSpec], str]:
    made["groups"] = {text: made["groups"]["g"]}
    return lambda host: host.groups[0]


def _model_name(made: Document, text: str) -> Callable[[HostSpec], str]:
    made["models"] = {text: made["models"]["m"]}
    made["hosts"]["h"]["models"] = [text]
    return lambda host: host.models[0].name


def _registry_name(made: Document, text: str) -> Callable[[HostSpec], str]:
    made["registries"] = {text: {"insecure": True}}
    return lambda host: text


def _variable_name(made: Document, text: str) -> Callable[[HostSpec], str]:
    made["hosts"]["h"]["env"] = {text: "x"}
    return lambda host: next(iter(host.env))


def _at(
    *path: str, read: Callable[[HostSpec], object]
) -> Callable[[Document, str], Callable[[HostSpec], object]]:
    def put(made: Document, text: str) -> Callable[[HostSpec], object]:
        place = made
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = text
        return read

    return put


NAMES = {
    "host": _host_name,
    "group": _group_name,
    "model": _model_name,
    "registry": _registry_name,
    "variable": _variable_name,
    "address": _at("hosts", "h", "address", read=lambda host: host.address),
    "user": _at("hosts", "h", "ssh", "user", read=lambda host: host.ssh.user),
    "listen": _at("hosts", "h", "listen", read=lambda host: str(host.listen)),
    "version": _at("release", "version", read=lambda host: str(host.release.version)),
    "source": _at("release", "source", read=lambda host: host.release.source),
    "modelfile": _at("models", "m", "modelfile", read=lambda host: host.models[0].for_devices(()).modelfile),
    "from": _at("models", "m", "from", read=lambda host: host.models[0].from_),
    "proxy": _at("hosts", "h", "env", "HTTPS_PROXY", read=lambda host: host.env["HTTPS_PROXY"]),
}
"""Strings that name something: what is let in holds nothing but harmless characters."""

TEXTS = {
    "system": _at("models", "m", "system", read=lambda host: host.models[0].for_devices(()).system),
    "template": _at("models", "m", "template", read=lambda host: host.models[0].for_devices(()).template),
    "env": _at("hosts", "h", "env", "FLEET_TEXT", read=lambda host: host.env["FLEET_TEXT"]),
    "models_dir": _at("hosts", "h", "models_dir", read=lambda host: host.models_dir),
    "key": _at("hosts", "h", "ssh", "key", read=lambda host: host.ssh.key),
    "known_hosts": _at("hosts", "h", "ssh", "known_hosts", read=lambda host: host.ssh.known_hosts),
}
"""Strings that may be nearly anything: what is let in is kept to the letter."""


@pytest.mark.parametrize("name", NAMES)
@given(text=texts)
@settings(deadline=None, max_examples=60)
def test_name(name: str, text: str) -> None:
    made = document()
    read = NAMES[name](made, text)
    if (host := parsed(made)) is not None:
        got = read(host)
        assert isinstance(got, str)
        if name == "from" and got.startswith(("/", "./", "~/")):
            assert got == text
        elif got:
            assert HARMLESS.fullmatch(got), got


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ALL, ids=ascii)
def test_hostile_name(name: str, text: str) -> None:
    made = document()
    read = NAMES[name](made, text)
    host = parsed(made)
    assert host is None or HARMLESS.fullmatch(str(read(host))), read(host)


@pytest.mark.parametrize("name", TEXTS)
@given(text=texts, below=st.sampled_from(["", "/srv/", "/srv/m/", "keys/", "~/"]))
@example(text="a\nb", below="")
@settings(deadline=None, max_examples=60)
def test_text(name: str, text: str, below: str) -> None:
    made = document()
    wanted = below + text if name in {"models_dir", "key", "known_hosts"} else text
    read = TEXTS[name](made, wanted)
    host = parsed(made)
    if host is None:
        return
    got = read(host)
    if name in {"key", "known_hosts"}:
        assert got in {wanted, f"/work/{wanted.removeprefix('./')}"}
    elif name == "models_dir":
        assert isinstance(got, str)
        assert [part for part in got.split("/") if part] == [
            p for p in wanted.split("/") if p not in {"", "."}
        ]
    elif name == "env" and wanted.startswith(("env:", "file:")):
        raise AssertionError("a reference is no text")
    else:
        assert got == wanted


@pytest.mark.parametrize("where", ["system", "template"])
@pytest.mark.parametrize("text", [text for text in ALL if text.isprintable() and text.strip()], ids=ascii)
def test_prompts_may_say_anything(where: str, text: str) -> None:
    made = document()
    read = TEXTS[where](made, text)
    host = parsed(made)
    assert host is not None
    assert read(host) == text
