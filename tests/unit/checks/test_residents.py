"""What is in memory is as before at the end, whatever happened in between."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from ollama_fleet.api.client import LoadedModel
from ollama_fleet.api.errors import Refused, Unreachable
from ollama_fleet.checks.residents import as_before

NOW = 1_790_000_000  # 2026-09-21T14:13:20Z
FOR_EVER = "2318-12-24T11:25:10.123456789Z"
IN_TEN_MINUTES = "2026-09-21T16:23:20.123456789+02:00"


@dataclass
class Memory:
    """A server with so many places; what is loaded first has to leave first."""

    models: dict[str, LoadedModel] = field(default_factory=dict)
    places: int = 9
    asked: list[tuple[str, Any]] = field(default_factory=list)
    dead: bool = False
    interrupted_after: int = -1
    """So many calls are answered, the next is interrupted; never where it is negative."""

    def loaded(self) -> list[LoadedModel]:
        self._called()
        if self.dead:
            raise Unreachable("no answer")
        return list(self.models.values())

    def load(
        self,
        name: str,
        keep_alive: object = None,
        *,
        options: Mapping[str, Any] | None = None,
        timeout: float = 0,
    ) -> None:
        self._called()
        if name == "broken":
            raise Refused("POST /api/generate: cudaMalloc failed", 500)
        self.asked.append((name, keep_alive))
        expires = FOR_EVER if keep_alive == -1 else IN_TEN_MINUTES
        self.models[name] = LoadedModel(name, "", 1, 1, expires, (options or {}).get("num_ctx", 4096))
        while len(self.models) > self.places:
            self.models.pop(next(iter(self.models)))

    def unload(self, name: str) -> None:
        self._called()
        self.models.pop(name, None)

    def _called(self) -> None:
        self.interrupted_after -= 1
        if self.interrupted_after == -1:
            raise KeyboardInterrupt


def there(*models: tuple[str, str, int]) -> Memory:
    return Memory({name: LoadedModel(name, "", 1, 1, expires, ctx) for name, expires, ctx in models})


def check(memory: Memory, *loads: str) -> list[str]:
    """Load models one after the other in a check; what could not be put back."""
    problems: list[str] = []
    with as_before(memory, NOW, problems) as residents:  # type: ignore[arg-type]
        for name in loads:
            residents.touch(name)
            memory.unload(name)
            memory.load(name, "5m")
    return problems


def test_what_was_loaded_for_a_check_goes() -> None:
    memory = there()
    assert check(memory, "a", "b") == []
    assert memory.models == {}


def test_what_was_displaced_comes_back_and_stays_as_long() -> None:
    memory = there(("pinned", FOR_EVER, 4096), ("passing", IN_TEN_MINUTES, 4096))
    memory.places = 2
    assert check(memory, "a", "b") == []
    assert list(memory.models) == ["passing", "pinned"]
    (_, passing), (_, pinned) = memory.asked[-2:]
    assert pinned == -1
    assert 590 < passing <= 600


def test_a_model_that_was_tried_itself_is_pinned_again() -> None:
    memory = there(("pinned", FOR_EVER, 4096))
    assert check(memory, "pinned") == []
    assert memory.models["pinned"].stays


def test_what_nobody_touched_is_left_alone() -> None:
    memory = there(("pinned", FOR_EVER, 4096))
    assert check(memory) == []
    assert memory.asked == []


def test_a_context_of_its_own_comes_back() -> None:
    memory = there(("wide", FOR_EVER, 9000))
    memory.places = 1
    assert check(memory, "a") == []
    assert memory.models["wide"].context_length == 9000


def test_a_time_that_is_over_is_over() -> None:
    memory = there(("late", "2026-09-21T14:13:19Z", 4096))
    assert check(memory, "late") == []
    assert memory.models == {}


def test_what_cannot_be_put_back_is_told() -> None:
    memory = there(("broken", FOR_EVER, 4096))
    memory.places = 1
    assert check(memory, "a") == ["broken could not be loaded again: POST /api/generate: cudaMalloc failed"]
    problems: list[str] = []
    with as_before(memory, NOW, problems) as residents:  # type: ignore[arg-type]
        residents.touch("a")
        memory.dead = True
    assert problems == ["what was in memory before could not be put back: the server does not answer"]


def test_an_error_inside_changes_nothing_of_it() -> None:
    memory = there(("pinned", FOR_EVER, 4096))
    memory.places = 1
    kept = []

    def interrupted() -> None:
        with as_before(memory, NOW, []) as residents:  # type: ignore[arg-type]
            kept.append(residents)
            residents.touch("a")
            memory.load("a", "5m")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(memory.models) == ["pinned"]
    with pytest.raises(Unreachable, match="interrupted"):
        kept[0].touch("b")


def test_an_interruption_at_any_moment_of_putting_back_changes_nothing_of_it() -> None:
    def interrupted(memory: Memory, problems: list[str], moment: int) -> bool:
        try:
            with as_before(memory, NOW, problems) as residents:  # type: ignore[arg-type]
                for name in ("a", "pinned"):
                    residents.touch(name)
                    memory.load(name, "5m")
                memory.interrupted_after = moment
        except KeyboardInterrupt:
            return True
        return False

    for moment in itertools.count():
        memory = there(("passing", IN_TEN_MINUTES, 4096), ("pinned", FOR_EVER, 9000))
        memory.places = 2
        problems: list[str] = []
        again = interrupted(memory, problems, moment)
        stays = {name: (model.stays, model.context_length) for name, model in memory.models.items()}
        assert (stays, problems) == ({"passing": (False, 4096), "pinned": (True, 9000)}, [])
        if not again:
            break
    assert moment > 5
