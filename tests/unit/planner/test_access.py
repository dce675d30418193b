"""The front door in a plan: what its files say, what a host lacks, and what an allow-list lets through."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from ollama_fleet.deploys.source import load_templates
from ollama_fleet.planner.access_caddy import caddy_tokens
from ollama_fleet.planner.access_files import wanted_access
from ollama_fleet.planner.access_parts import AccessSecrets, Upstream
from ollama_fleet.planner.items.access import NoAccess, WantedAccess, listens_on, places
from ollama_fleet.planner.items.access.routes import (
    ADMIN,
    BLOBS,
    CLIENT,
    Route,
    expression,
    line_pattern,
    too_large,
)
from ollama_fleet.planner.state import DoorState, FileState, HostState
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec
from unit.planner.states import FRESH

ALICE, OPS = "a" * 32, "b" * 32
SECRETS = AccessSecrets({"alice": SecretStr(ALICE)}, {"ops": SecretStr(OPS)})
CADDYFILE = places.PROXIES["caddy"].config
TEMPLATES = load_templates(Path("/nonexistent"))
UP = DoorState("loaded", "active", "enabled", user=True, programs=frozenset({"caddy", "nginx"}))


def spec(firewall: dict[str, Any] | None = None, **access: Any) -> HostSpec:
    tokens = {"tokens": {"alice": "env:ALICE"}, "admin_tokens": {"ops": "env:OPS"}}
    host = {"address": "10.0.0.1", "access": tokens | access, "firewall": firewall}
    document = {"version": 1, "release": {"version": "0.32.15"}, "hosts": {"gpu-01": host}}
    return Fleet.parse(json.dumps(document)).host("gpu-01")


def door(
    secrets: AccessSecrets = SECRETS, upstreams: tuple[Upstream, ...] = (), **access: Any
) -> WantedAccess:
    host = spec(**access)
    assert host.access
    return wanted_access(
        host, host.access, secrets, upstreams or (Upstream("", "127.0.0.1:11434"),), TEMPLATES
    )


def files_of(wanted: WantedAccess) -> dict[str, str]:
    return {file.path: file.content.decode() for file in wanted.files}


def host_with(wanted: WantedAccess, there: DoorState = UP) -> HostState:
    """A host on which all of a door is as wanted."""
    from hashlib import sha256

    files = {
        file.path: FileState(
            "file",
            file.mode,
            file.owner,
            file.group,
            None if file.secret else file.content,
            sha256(file.content).hexdigest() if file.secret else None,
        )
        for file in wanted.files
    }
    return replace(FRESH, files=files, door=there)


@pytest.mark.parametrize("proxy", places.PROXIES)
def test_tokens_stand_in_one_file_that_the_proxy_alone_reads(proxy: str) -> None:
    wanted = door(proxy=proxy, tls="none")
    path = places.PROXIES[proxy].tokens
    for file in wanted.files:
        holds = ALICE.encode() in file.content or OPS.encode() in file.content
        assert holds == (file.path == path)
        assert file.secret == holds
    (tokens,) = (file for file in wanted.files if file.path == path)
    assert (tokens.owner, tokens.group, tokens.mode) == ("root", places.USER, 0o640)
    assert ALICE not in repr(wanted)
    assert OPS not in repr(wanted)


def test_each_token_has_its_role_and_everything_else_none() -> None:
    assert caddy_tokens(SECRETS).splitlines()[1:] == [
        "map {http.request.header.Authorization} {fleet.role} {http.auth.user.id} {",
        f'\t"Bearer {ALICE}" client "alice"',
        f'\t"Bearer {OPS}" admin "ops"',
        '\tdefault none ""',
        "}",
    ]


def test_to_nginx_a_token_is_a_pattern() -> None:
    """Words it compares without their case."""
    secrets = AccessSecrets({"alice": SecretStr("A.b+/-=~" * 4)}, {})
    text = files_of(door(secrets, proxy="nginx", tls="none"))[places.PROXIES["nginx"].tokens]
    (pattern,) = re.findall(r'"~(.*)\\z" client;', text)
    assert re.fullmatch(pattern, f"Bearer {'A.b+/-=~' * 4}")
    for other in ("a.b+/-=~", "Axb+/-=~", "A.bb/-=~"):
        assert not re.fullmatch(pattern, f"Bearer {other * 4}")
    assert re.findall(r'\\z" "(.*)";', text) == ["alice"]


@pytest.mark.parametrize(
    ("access", "words"),
    [
        ({}, ["https://10.0.0.1:11443, https://gpu-01:11443, https://:11443 {", "\ttls internal"]),
        ({"names": ["g.lan", "fd00::1"]}, ["default_sni g.lan", "https://[fd00::1]:11443"]),
        ({"tls": "none", "listen": "0.0.0.0:80"}, ["\nhttp://:80 {", "\tbind 0.0.0.0\n"]),
        ({"listen": "[::1]:9"}, ["\tbind [::1]\n"]),
    ],
)
def test_sites(access: dict[str, Any], words: list[str]) -> None:
    config = files_of(door(**access))[CADDYFILE]
    assert [word for word in words if word not in config] == []
    assert ("tls internal" in config) == (access.get("tls") != "none")


@pytest.mark.parametrize(
    ("access", "words"),
    [
        ({}, ["listen 11443;", "listen [::]:11443;"]),
        ({"listen": "[fd00::1]:9"}, ["listen [fd00::1]:9;"]),
        (
            {"listen": "10.0.0.1:9", "max_body": "1MiB"},
            ["listen 10.0.0.1:9;", "client_max_body_size 1048576;"],
        ),
    ],
)
def test_where_nginx_listens(access: dict[str, Any], words: list[str]) -> None:
    wanted = door(proxy="nginx", tls="none", **access)
    config = files_of(wanted)[places.PROXIES["nginx"].config]
    assert [word for word in words if f"\t{word}\n" not in config] == []
    assert config.count("\tlisten ") == sum(word.startswith("listen") for word in words)
    assert listens_on(host_with(wanted)) == wanted.port
    assert not wanted.differences(host_with(wanted))


def test_another_proxy_takes_the_files_of_the_one_before() -> None:
    there = host_with(door(tls="none"))
    wanted = door(proxy="nginx", tls="none")
    own = (CADDYFILE, places.CERTIFICATE, places.ACME_ROOT, places.PROXIES["caddy"].tokens, places.KEY)
    assert wanted.unwanted == own
    assert wanted.restarts(there)
    (package,) = wanted.differences(
        replace(host_with(wanted), door=replace(UP, programs=frozenset({"caddy"})))
    )
    assert (package.aspect, package.wanted) == ("package", "nginx")


def test_a_port_below_1024_needs_a_capability() -> None:
    assert "CAP_NET_BIND_SERVICE" in files_of(door(listen="[::]:443"))[places.UNIT]
    assert "CAP_NET_BIND_SERVICE" not in files_of(door())[places.UNIT]


def test_several_servers_behind_one_door() -> None:
    upstreams = (Upstream("/a", "127.0.0.1:1"), Upstream("/b", "127.0.0.1:2"))
    config = files_of(door(upstreams=upstreams))[CADDYFILE]
    assert config.count("uri strip_prefix /a\n") == config.count("uri strip_prefix /b\n") == 3
    assert '"/b/api/chat"' in config
    assert '"/api/chat"' not in config


def test_what_a_host_lacks() -> None:
    wanted = door()
    assert {difference.aspect for difference in wanted.differences(FRESH)} == {
        "package", "user", "enabled", "running"
    }  # fmt: skip
    there = host_with(wanted)
    assert wanted.differences(there) == []
    assert wanted.altered(there) == ()
    for state, aspect in (
        (replace(there, door=replace(UP, active="failed")), "running"),
        (replace(there, door=replace(UP, load="masked")), "unit"),
        (replace(there, door=replace(UP, enabled="disabled")), "enabled"),
        (replace(there, door=replace(UP, needs_reload=True)), "unit"),
        (
            replace(there, files={**there.files, places.DUE: FileState("file", 0o644, "root", "root")}),
            "reload",
        ),
        (
            replace(there, files={**there.files, places.KEY: FileState("file", 0o640, "root", "x")}),
            f"file {places.KEY}",
        ),
    ):
        assert [difference.aspect for difference in wanted.differences(state)] == [aspect]


def test_another_token_is_a_reload_and_another_unit_a_restart() -> None:
    there = host_with(door())
    rotated = door(AccessSecrets({"alice": SecretStr("c" * 32)}, SECRETS.admin_tokens))
    assert [file.path for file in rotated.altered(there)] == [places.PROXIES["caddy"].tokens]
    assert not rotated.restarts(there)
    assert door(listen="[::]:443").restarts(there)


def test_no_door_is_wanted() -> None:
    assert NoAccess().differences(FRESH) == []
    there = host_with(door())
    assert len(NoAccess().differences(there)) == 5
    assert listens_on(there) == 11443
    assert listens_on(FRESH) is None


def allows(condition: str, method: str, path: str, role: str, length: str = "") -> bool:
    """Evaluate a condition of ours as Caddy does: the language is small enough to be read as Python."""
    given: Mapping[str, str] = {
        "{http.request.method}": method,
        "{http.request.uri.path}": path,
        "{fleet.role}": role,
        "{http.request.header.Content-Length}": length,
    }
    text = re.sub(r"(\{[a-zA-Z][\w.-]+\})\.matches\((\"[^\"]*\")\)", r"matches(\1, \2)", condition)
    for placeholder, value in given.items():
        text = text.replace(placeholder, repr(value))
    text = text.replace("&&", " and ").replace("||", " or ").replace("!(", " not (")
    found = eval(
        text, {"matches": lambda value, pattern: re.search(pattern.replace("$", r"\Z"), value) is not None}
    )
    return bool(found)


CHANGES = (
    "/api/pull",
    "/api/push",
    "/api/create",
    "/api/copy",
    "/api/delete",
    f"/api/blobs/sha256:{'0' * 64}",
)


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "post"]),
    path=st.one_of(
        st.sampled_from(CHANGES),
        st.text(alphabet="/.%2fapichtullgsv1mode", max_size=30),
        st.sampled_from([route.path for route in CLIENT]),
    ),
    role=st.sampled_from(["none", "client", "admin", "", "x"]),
    prefix=st.sampled_from(["", "/one", "/a.b"]),
    before=st.sampled_from(["", "/one", "/a.b", "/axb", "/one/one", "/"]),
)
def test_only_the_routes_of_the_role(method: str, path: str, role: str, prefix: str, before: str) -> None:
    """To Caddy and to nginx, with the name of a server before the path and without."""
    path = before + path

    def named(routes: tuple[Route, ...]) -> bool:
        rest = path.removeprefix(prefix)
        return path.startswith(prefix) and any(
            method in route.methods
            and (re.fullmatch(route.path, rest) is not None if route.pattern else rest == route.path)
            for route in routes
        )

    def fits(routes: tuple[Route, ...], roles: str) -> bool:
        pattern = line_pattern(routes, roles, prefix).replace(r"\z", r"\Z")
        return re.search(pattern, f"{role} {method} {path}") is not None

    uses = allows(expression(CLIENT, ("client", "admin"), prefix), method, path, role)
    assert uses == (role in ("client", "admin") and named(CLIENT))
    assert uses == fits(CLIENT, "client|admin")
    changes = allows(expression((*ADMIN, *BLOBS), ("admin",), prefix), method, path, role)
    assert changes == (role == "admin" and named((*ADMIN, *BLOBS)))
    assert changes == fits((*ADMIN, *BLOBS), "admin")
    if path.removeprefix(prefix) in CHANGES:
        assert not uses


def test_what_is_too_large() -> None:
    condition = too_large(100, [""])
    assert allows(condition, "POST", "/api/chat", "client", "101")
    assert not allows(condition, "POST", "/api/chat", "client", "100")
    assert allows(condition, "POST", CHANGES[-1], "client", "101")
    assert not allows(condition, "POST", CHANGES[-1], "admin", "101")
