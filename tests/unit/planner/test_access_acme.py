"""A front door with certificates by ACME in a plan."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from ollama_fleet.planner.access_parts import AccessSecrets
from ollama_fleet.planner.items.access import WantedAccess, places
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.remarks import remarks
from ollama_fleet.spec.access_acme import PUBLIC
from unit.planner.states import FRESH
from unit.planner.test_access import ALICE, CADDYFILE, door, files_of, host_with, spec

ROOT = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
OWN = {"server": "https://ca.lan/acme/acme/directory", "ca": "/root.pem", "email": "ops@example.org"}
SECRETS = AccessSecrets({"alice": SecretStr(ALICE)}, {}, acme_ca=ROOT)


def certified(secrets: AccessSecrets = SECRETS, **access: Any) -> WantedAccess:
    return door(
        secrets,
        **{"tls": "acme", "listen": "[::]:443", "names": ["gpu.example.org", "b.example.org"]} | access,
    )


def test_only_the_names_and_only_the_handshake() -> None:
    wanted = certified(acme=OWN)
    config = files_of(wanted)[CADDYFILE]
    assert "\nhttps://gpu.example.org:443, https://b.example.org:443, https://:443 {\n" in config
    lines = [line.strip() for line in config.splitlines()]
    begin = lines.index("issuer acme {")
    assert lines[begin + 1 : begin + 5] == [
        f"dir {OWN['server']}",
        f"email {OWN['email']}",
        f"trusted_roots {places.ACME_ROOT}",
        "disable_http_challenge",
    ]
    assert "default_sni gpu.example.org" in config
    assert "tls internal" not in config
    assert files_of(wanted)[places.ACME_ROOT] == ROOT
    assert wanted.certified == ("gpu.example.org", "b.example.org")
    assert wanted.roots == ROOT


def test_of_the_public_authority_nothing_but_its_address_is_told() -> None:
    wanted = certified(AccessSecrets({"alice": SecretStr(ALICE)}, {}))
    config = files_of(wanted)[CADDYFILE]
    assert f"dir {PUBLIC}" in config
    assert "email" not in config
    assert "trusted_roots" not in config
    assert places.ACME_ROOT not in files_of(wanted)
    assert wanted.roots is None


def test_other_doors_wait_for_no_authority() -> None:
    assert door(names=["gpu.example.org"]).certified == ()


def test_another_root_is_a_reload_and_none_takes_the_file_away() -> None:
    there = host_with(certified(acme=OWN))
    assert certified(acme=OWN).differences(there) == []
    newer = certified(AccessSecrets({"alice": SecretStr(ALICE)}, {}, acme_ca=ROOT + ROOT), acme=OWN)
    assert [file.path for file in newer.altered(there)] == [places.ACME_ROOT]
    assert not newer.restarts(there)
    assert door(listen="[::]:443").unwanted.count(places.ACME_ROOT) == 1


@pytest.mark.parametrize(
    ("networks", "acme", "told"),
    [
        (["10.0.0.0/8"], None, True),
        (["10.0.0.0/8"], {"server": PUBLIC}, True),
        (["10.0.0.0/8"], OWN, False),
        (["10.0.0.0/8", "0.0.0.0/0"], None, False),
        ([], None, False),
    ],
)
def test_a_public_authority_that_is_shut_out(
    networks: list[str], acme: dict[str, str] | None, told: bool
) -> None:
    access = {"tls": "acme", "listen": "[::]:443", "names": ["gpu.example.org"], "acme": acme}
    host = spec(firewall={"allow_from": networks} if networks else None, **access)
    found = remarks(host, FRESH, Layout.of("system"), None, (), (), (11434,))
    assert any("has to reach port 443" in remark for remark in found) == told
