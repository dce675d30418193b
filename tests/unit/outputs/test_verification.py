"""What `verify` prints, for people and for programs."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from ollama_fleet.checks.evidence import Failure
from ollama_fleet.checks.verdict import HostVerdict, PlacementVerdict
from ollama_fleet.outputs.verification import headline, lines, memory_table, verification_document
from unit.checks.test_evidence import GIB, GOOD

RIGHT = HostVerdict(
    host="gpu-01",
    depth="full",
    summary="Ollama 0.24.0 on 10.0.0.1:11434: m",
    failures=(),
    placements=(PlacementVerdict(GOOD, (), ()),),
    outside=("tried from 10.0.0.9 alone: the port is open, and should be open",),
)
WRONG = replace(RIGHT, failures=(Failure("version", "the server says version 0.1.0"),))


def test_people_see_measured_beside_predicted() -> None:
    table = memory_table(RIGHT)
    assert table is not None
    out = Console(file=io.StringIO(), width=200)
    out.print(table)
    shown = out.file.getvalue()  # type: ignore[attr-defined]
    assert "18\u2009432.0 / 18\u2009432.0" in shown
    assert headline(RIGHT) == "gpu-01: right (full). Ollama 0.24.0 on 10.0.0.1:11434: m"
    told = list(lines(RIGHT))
    assert told[0] == (
        "m: loaded in 3.0 s, 65 of 65 layers on GPUs, 100 % GPU, 32.00 tokens/s, "
        "the devices' memory grew by 21\u2009504.0 MiB"
    )
    assert told[1].startswith("tried from 10.0.0.9")


def test_what_is_wrong_comes_first() -> None:
    assert headline(WRONG) == "gpu-01: 1 thing wrong (full)"
    assert next(lines(WRONG)) == "wrong: the server says version 0.1.0"


def test_programs_see_all_of_it() -> None:
    document = json.loads(json.dumps(verification_document([WRONG])))
    assert document["version"] == 1
    host = document["hosts"]["gpu-01"]
    assert (host["ok"], host["depth"]) == (False, "full")
    assert host["failures"] == [{"check": "version", "text": "the server says version 0.1.0"}]
    placement = host["placements"]["m"]
    assert placement["layers"] == {"total": 65, "offloaded": 65, "overflowing": 0, "planned": 65}
    assert placement["device_memory"] == {"before": GIB, "after": 22 * GIB}
    assert placement["memory"][0] == {
        "place": "CUDA0",
        "measured": {"weights": 18 * GIB, "kv": GIB, "compute": GIB, "total": 20 * GIB},
        "predicted": {"weights": 18 * GIB, "kv": GIB, "compute": GIB, "total": 20 * GIB},
    }


def test_a_host_that_could_not_be_looked_at() -> None:
    lost = HostVerdict("gpu-02", "load", "", (Failure("host", "no connection"),))
    assert verification_document([lost])["hosts"]["gpu-02"]["placements"] == {}
    assert list(lines(lost)) == ["wrong: no connection"]
    assert memory_table(lost) is None
