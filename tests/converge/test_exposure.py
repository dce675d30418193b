"""What is open to more people than need be is told by `verify` and `doctor`, each with its remedy."""

from __future__ import annotations

import json

import jsonschema
import pytest

from converge.conftest import MakeFleet
from lab import Lab

pytestmark = pytest.mark.lab


def test_all_at_once_and_then_nothing(lab: Lab, make_fleet: MakeFleet) -> None:
    host = lab.host("wide-open")
    fleet = make_fleet(
        {
            "defaults": {"listen": "0.0.0.0:11434", "expose": True, "env": {"OLLAMA_ORIGINS": "*"}},
            "hosts": {
                "wide-open": {
                    "address": host.address,
                    "models": ["reasoner"],
                    "env": {"HF_TOKEN": "file:hf-token"},
                }
            },
        }
    )
    token = fleet.path / "hf-token"
    token.write_text("not-so-secret\n")
    token.chmod(0o644)
    applied = fleet.apply()
    assert applied.code == 0, str(applied)
    host.run("chmod 644 /etc/ollama-fleet/environment")

    run = fleet.run("ollama-fleet", "verify", "--depth", "quick", "--json")
    told = run.document["hosts"]["wide-open"]["exposed"]
    schema = json.loads(fleet.run("ollama-fleet", "schema", "verify").stdout)
    jsonschema.Draft202012Validator(schema).validate(run.document)
    assert [one["check"] for one in told] == ["port", "origins", "secrets", "secrets"], told
    assert told[3] == {
        "check": "secrets",
        "text": f"everybody on this machine may read {token}",
        "remedy": f"`chmod 600 {token}`",
    }
    for_people = fleet.run("ollama-fleet", "verify", "--depth", "quick")
    assert f"  exposed: {told[0]['text']}; {told[0]['remedy']}" in for_people.stdout.splitlines()
    assert "not-so-secret" not in for_people.text + run.text

    examined = fleet.run("ollama-fleet", "doctor", "--json").document["hosts"]["wide-open"]
    warned = [one for one in examined["checks"] if one["check"] == "exposure"]
    assert [(one["status"], one["found"], one["remedy"]) for one in warned] == [
        ("warning", one["text"], one["remedy"]) for one in told
    ]
    assert examined["healthy"]

    token.chmod(0o600)
    fleet.change(
        defaults={
            "listen": "127.0.0.1:11434",
            "expose": False,
            "env": {"OLLAMA_ORIGINS": "http://ui.example"},
        }
    )
    mended = fleet.apply()
    assert mended.code == 0, str(mended)
    run = fleet.run("ollama-fleet", "verify", "--depth", "quick", "--json")
    assert run.code == 0, str(run)
    assert run.document["hosts"]["wide-open"]["exposed"] == []
