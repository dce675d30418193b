"""One placement on a live host, loaded and asked, with everything that bears witness to where it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyinfra.api.host import Host

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import ApiError, Unreachable
from ollama_fleet.api.inference import Answer, ask
from ollama_fleet.api.listed import by_name
from ollama_fleet.api.out_of_memory import in_words
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.checks.engine_log import ServerStart, last_load
from ollama_fleet.checks.evidence import Evidence, Failure, failures, remarks
from ollama_fleet.checks.observation import Observation, observe
from ollama_fleet.checks.placement import PROMPT, QUESTION_OPTIONS
from ollama_fleet.checks.residents import STAY, Residents
from ollama_fleet.checks.verdict import PlacementVerdict
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.placement import Placement
from ollama_fleet.planner.state import HostState

RATE_TOKENS = 64
"""Length of the answer where its rate matters; a few words would measure the start."""
SETTLED_AFTER = 10.0
"""Seconds at most to wait until a driver has given back the memory of a model that was unloaded."""
SETTLING = 0.5
NO_ANSWER = "no answer in time"


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial needs to know of the host, the same for all of its placements."""

    at: Host
    server: Ollama
    plan: HostPlan
    state: HostState
    residents: Residents
    start: ServerStart
    timeout: float
    """Seconds without any word from the server, a load included."""

    def run(self, placement: Placement, *, anew: bool) -> PlacementVerdict:
        """Try a placement; `anew` loads it again where it is in memory already.

        What cannot be had ends in a failure of the verdict, not in an exception.
        """
        name = placement.created.name
        seen = Evidence(name, placement.decision, placement.resolved.expect, "failed")
        try:
            seen = self._seen(placement, anew=anew)
        except Unreachable as error:
            return PlacementVerdict(seen, (Failure("answer", f"{name}: {self._why(error)}"),), ())
        except (ApiError, StepFailed) as error:
            seen = self._after_failure(seen, placement)
            # The model's own error says more than what follows from it.
            why = in_words(error, placement.decision.estimate)
            found = (Failure("answer", f"{name}: {why}"), *failures(seen))
            return PlacementVerdict(seen, found, ())
        return PlacementVerdict(seen, tuple(failures(seen)), tuple(remarks(seen)))

    def _seen(self, placement: Placement, *, anew: bool) -> Evidence:
        name, model = placement.created.name, placement.created.model
        there = by_name(self.server.loaded())
        # One file has one runner, which keeps the name and the options of whoever loaded it.
        sharing = [
            found
            for other, found in there.items()
            if other != model and self._file(other) == self._file(model)
        ]
        if model in there and not sharing and not anew:
            answer = self._ask(placement, keep_alive=None)
            after = observe(self.at, self.plan.layout, self.state)
            return self._evidence(placement, answer, after, before=None)
        self.residents.touch(name)
        for found in (*sharing, *([there[model]] if model in there else [])):
            self.residents.touch(found.name)
            self.server.unload(found.name)
        others = set(by_name(self.server.loaded())) - {model}
        before = self._settled(unloaded=bool(sharing) or model in there)
        answer = self._ask(placement, keep_alive=STAY)
        after = observe(self.at, self.plan.layout, self.state, before.mark or None)
        displaced = not others <= set(by_name(self.server.loaded()))
        # Where another model had to leave for it, the difference says nothing.
        return self._evidence(placement, answer, after, before=None if displaced else before, loaded_now=True)

    def _ask(self, placement: Placement, keep_alive: str | None) -> Answer:
        name, expected = placement.created.name, placement.resolved.expect
        least = expected.tokens_per_second if expected else None
        options: Mapping[str, Any] = QUESTION_OPTIONS
        if least is not None:
            options = {**QUESTION_OPTIONS, "num_predict": RATE_TOKENS}
        answer = ask(self.server, name, PROMPT, options=options, keep_alive=keep_alive, timeout=self.timeout)
        rate = answer.tokens_per_second
        if least is not None and rate is not None and rate < least:
            # The first answer after a load is slower than those that follow.
            again = ask(self.server, name, PROMPT, options=options, timeout=self.timeout)
            answer = max(answer, again, key=lambda one: one.tokens_per_second or 0.0)
        return answer

    def _evidence(
        self,
        placement: Placement,
        answer: Answer,
        after: Observation,
        *,
        before: Observation | None,
        loaded_now: bool = False,
    ) -> Evidence:
        name, model = placement.created.name, placement.created.model
        listed = by_name(self.server.loaded())
        file = self._file(model)
        log = None if after.log is None or file is None else last_load(after.log, file)
        return Evidence(
            name=name,
            decision=placement.decision,
            expected=placement.resolved.expect,
            how="loaded" if loaded_now else "resident",
            answer=answer,
            loaded=listed.get(model),
            log=log,
            log_readable=after.log is not None,
            used_before=None if before is None else before.used,
            used=after.used,
            claimed=sum(one.size_vram for one in listed.values()),
            has_devices=bool(after.devices) or after.device_error is not None,
            file_size=self.state.store.blob_sizes.get(f"sha256:{file}") if file else None,
            trained=self._trained(name),
            compute=tuple(device.library for device in self.start.devices),
        )

    def _after_failure(self, seen: Evidence, placement: Placement) -> Evidence:
        """What the API says of a placement that did not answer; an engine that died left nothing."""
        try:
            found = by_name(self.server.loaded()).get(placement.created.model)
        except ApiError:
            return seen
        return replace(seen, loaded=found, compute=tuple(device.library for device in self.start.devices))

    def _settled(self, *, unloaded: bool) -> Observation:
        """Look at the host; drivers give memory back a little after `/api/ps` has forgotten a model."""
        end = time.monotonic() + SETTLED_AFTER
        seen = observe(self.at, self.plan.layout, self.state)
        while unloaded and seen.used and time.monotonic() < end:
            time.sleep(SETTLING)
            again = observe(self.at, self.plan.layout, self.state)
            if again.used is None or again.used >= seen.used:
                return again
            seen = again
        return seen

    def _trained(self, name: str) -> int | None:
        info = self.server.show(name).get("model_info")
        lengths = [
            value
            for key, value in (info.items() if isinstance(info, dict) else ())
            if str(key).endswith(".context_length") and isinstance(value, int)
        ]
        return lengths[0] if len(lengths) == 1 and lengths[0] > 0 else None

    def _file(self, model: ModelName) -> str | None:
        """The hex digest of a model's weights, which identifies its runner."""
        manifest = self.state.store.manifest(model)
        layer = None if manifest is None else manifest.layer("model")
        return None if layer is None else layer.digest.removeprefix("sha256:")

    def _why(self, error: Unreachable) -> str:
        if NO_ANSWER in str(error):
            return (
                f"the API hangs: {error} ({self.timeout:.0f} s); where a load only takes that long, "
                "give verify a longer --timeout"
            )
        return str(error)
