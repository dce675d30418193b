"""What is open to more people than need be, and what is not taken for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ollama_fleet.checks.exposure import Exposure, exposures
from ollama_fleet.planner.firewall_state import FirewallRule, FirewallState, UfwState
from ollama_fleet.planner.items.firewall import ANYWHERE
from ollama_fleet.planner.state import FileState, HostState, OtherServer, ReleaseState, ServiceState
from unit.planner.states import FRESH, SYSTEM

SAFE = "0.32.15"
LAN = ("192.168.1.0/24",)
GUARDED = replace(FRESH, firewall=UfwState("ufw", True))


def found(
    state: HostState = GUARDED,
    address: str = "0.0.0.0",
    sources: tuple[str, ...] = LAN,
    environment: Mapping[str, str] | None = None,
    release: str = SAFE,
) -> list[Exposure]:
    return exposures(
        state,
        SYSTEM,
        address=address,
        port=11434,
        sources=sources,
        environment=environment or {},
        release=release,
    )


def checks(*arguments: object, **settings: object) -> list[str]:
    told = found(*arguments, **settings)  # type: ignore[arg-type]
    assert all(one.text and one.remedy and "\n" not in one.text + one.remedy for one in told)
    return [one.check for one in told]


def test_nothing_is_told_of_a_guarded_host() -> None:
    assert found() == []
    assert found(FRESH, address="127.0.0.1", sources=()) == []
    assert found(FRESH, address="::1", sources=()) == []


def test_a_port_open_to_the_world() -> None:
    assert checks(FRESH) == ["port"]
    assert checks(replace(FRESH, firewall=FirewallState("none"))) == ["port"]
    assert checks(sources=ANYWHERE) == ["port"]
    assert checks(sources=("::/0",)) == ["port"]


def test_a_rule_of_somebody_else_in_ufw() -> None:
    theirs = FirewallRule("allow", "any", ((1, 65535),), text="allow from any")
    ours = replace(theirs, ours=True)
    near = replace(theirs, source="10.0.0.0/8")
    assert checks(replace(GUARDED, firewall=UfwState("ufw", True, (theirs,)))) == ["port"]
    assert checks(replace(GUARDED, firewall=UfwState("ufw", True, (ours, near)))) == []


def test_another_server_that_is_open() -> None:
    def beside(*listens: str) -> HostState:
        others = tuple(OtherServer(7, "", listen) for listen in listens)
        return replace(GUARDED, service=ServiceState(others=others))

    assert checks(beside("0.0.0.0:11500")) == ["port"]
    assert checks(beside("[::]:11500", "0.0.0.0")) == ["port", "port"]
    assert checks(beside("", ":11500", "localhost:11500", "127.0.0.1", "[::1]:9", "http://127.0.0.1:9")) == []


@pytest.mark.parametrize("value", ["*", "http://a.example, *", "https://*", "http://*:*"])
def test_every_origin(value: str) -> None:
    assert checks(environment={"OLLAMA_ORIGINS": value}) == ["origins"]
    running = replace(GUARDED, service=ServiceState(environment={"OLLAMA_ORIGINS": value}))
    assert checks(running) == ["origins"]
    drop_in = {
        "/etc/systemd/system/ollama.service.d/x.conf": f'[Service]\nEnvironment="OLLAMA_ORIGINS={value}"'
    }
    assert (
        checks(replace(GUARDED, service=ServiceState(foreign_drop_ins=drop_in))) == ["origins"]
        or "," in value
    )


@pytest.mark.parametrize("value", ["", "http://a.example", "https://*.example", "app://*"])
def test_origins_that_are_named(value: str) -> None:
    assert checks(environment={"OLLAMA_ORIGINS": value}) == []


def test_releases_with_holes() -> None:
    (wanted,) = found(release="0.5.7")
    assert "CVE-2025-1975: " in wanted.text
    assert wanted.remedy == "ask for 0.17.1 or newer"
    (there,) = found(replace(GUARDED, release=ReleaseState(current="0.1.33")))
    assert there.text.startswith("the host has Ollama 0.1.33: ")
    assert found(replace(GUARDED, release=ReleaseState(current="not a version"))) == []


def test_secrets_that_everybody_may_read() -> None:
    def kept(mode: int) -> HostState:
        return replace(GUARDED, files={SYSTEM.environment: FileState("file", mode, "root", "root")})

    assert checks(kept(0o644)) == ["secrets"]
    assert checks(kept(0o600)) == []
    assert checks(kept(0o640)) == []
