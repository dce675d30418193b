"""Keeping what `tune` and `bench` measured in `fleet.runs.jsonl`, beside fleet.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.checks.kept_runs import FILE, KeptRun, append_runs, now
from ollama_fleet.checks.trial_steps import Tuned

if TYPE_CHECKING:  # importing them patches sockets for gevent
    from ollama_fleet.deploys.benching import Benched, HostBenched
    from ollama_fleet.deploys.tuning import HostTuned


def runs_of_bench(hosts: Sequence[HostBenched], lock: Lock) -> list[KeptRun]:
    """What was measured, placement by placement; nothing of one that failed."""
    time = now()
    return [
        KeptRun(kind="bench", time=time, runs=one.runs, **_of(host, host.release, one, lock))
        for host in hosts
        for one in host.benched
        if one.runs
    ]


def runs_of_tune(host: HostTuned, release: str, lock: Lock) -> list[KeptRun]:
    """Every setting that was tried, model by model, also of a search that came to no end."""
    time = now()
    return [
        KeptRun(kind="tune", time=time, layers=one.layers, steps=one.steps, **_of(host, release, one, lock))
        for one in host.tuned
        if one.steps
    ]


def _of(host: HostBenched | HostTuned, release: str, one: Benched | Tuned, lock: Lock) -> dict[str, Any]:
    """What was measured: which model, in which form, where."""
    return {
        "host": host.host,
        "model": one.label,
        "base": one.base,
        "digest": lock.digest_of(one.base),
        "quantization": one.quantization,
        "release": release,
        "gpus": one.kinds,
        "num_ctx": one.num_ctx,
        "num_gpu": one.num_gpu,
    }


def keep(fleet: Path, runs: Iterable[KeptRun]) -> str | None:
    """Append runs to the file beside a fleet.yaml; returns one line where that cannot be done."""
    path = fleet.with_name(FILE)
    try:
        append_runs(path, runs)
    except OSError as error:
        return f"{path}: not written: {(error.strerror or 'it cannot be').lower()}"
    return None
