"""The JSON Schemas of what commands print with `--json`: `ollama-fleet schema NAME`.

Within one version of a document keys may be added to its schema, but none is removed and none changes its meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ollama_fleet.spec.schema import json_schema

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number", "minimum": 0}
COUNT: Schema = {"type": "integer", "minimum": 0}
BOOL: Schema = {"type": "boolean"}
DIGEST: Schema = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
TIME: Schema = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"}
"""A time in UTC."""


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def _object(optional: dict[str, Schema] | None = None, /, **required: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def _by_host(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}


def _document(title: str, **keys: Schema) -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **_object(version={"const": 1}, **keys),
    }


def drift() -> Schema:
    """What `drift --json` prints."""
    status = _one_of("clean", "drifted", "error")
    difference = _object(aspect=TEXT, expected=TEXT, actual=TEXT)
    change = _object(kind=TEXT, name=TEXT, differences={**_list(difference), "minItems": 1})
    host = _object(
        status=status, error=_or_null(TEXT), changes=_list(change), restarts=BOOL, notes=_list(TEXT)
    )
    return _document("ollama-fleet drift --json", status=status, hosts=_by_host(host))


def _estimate() -> dict[str, Schema]:
    optional = {"projector": COUNT, "draft": COUNT}
    device = _object(
        optional,
        name=TEXT,
        weights=COUNT,
        kv=COUNT,
        compute=COUNT,
        reserve=COUNT,
        total=COUNT,
        free=_or_null(COUNT),
    )
    return {
        "model": TEXT,
        "layers": _object(total=COUNT, offloaded=COUNT),
        "devices": _list(device),
        "host": _object(weights=COUNT, kv=COUNT, compute=COUNT, total=COUNT),
        "fits": BOOL,
        "confidence": TEXT,
        "reasons": _list(TEXT),
    }


def fit() -> Schema:
    """What `fit --json` prints; sizes in bytes."""
    return _document("ollama-fleet fit --json", **_estimate())


def plan() -> Schema:
    """What `plan --json` prints; sizes in bytes."""
    placement = _object(
        model=TEXT,
        name=TEXT,
        instance=_or_null(TEXT),
        base=TEXT,
        quantization=_or_null(TEXT),
        size=_or_null(TEXT),
        num_ctx=COUNT,
        num_gpu=_or_null(COUNT),
        num_batch=_or_null(COUNT),
        preload=BOOL,
        estimate=_or_null(_object(**_estimate())),
        tokens_per_second=_or_null({**_list(NUMBER), "minItems": 2, "maxItems": 2}),
        rejected=_or_null(TEXT),
        remarks=_list(TEXT),
    )
    host = _object(gpus=_or_null(_list(TEXT)), error=_or_null(TEXT), fits=BOOL, placements=_list(placement))
    return _document("ollama-fleet plan --json", hosts=_by_host(host))


def lock() -> Schema:
    """What `lock --json` prints; sizes in bytes."""
    entry = _object(
        kind=_one_of("release", "model", "file"),
        name=TEXT,
        change=_one_of("added", "updated", "removed", "kept"),
        before=_or_null(DIGEST),
        after=_or_null(DIGEST),
        size=_or_null(COUNT),
    )
    return _document(
        "ollama-fleet lock --json",
        file=TEXT,
        status=_one_of("changed", "unchanged"),
        entries=_list(entry),
    )


def lock_check() -> Schema:
    """What `lock --check --json` prints."""
    entry = _object(
        kind=_one_of("release", "model", "file"),
        name=TEXT,
        state=_one_of("locked", "missing", "unneeded", "stale", "moved", "unchecked"),
        locked=_or_null(DIGEST),
        found=_or_null(DIGEST),
        reason=_or_null(TEXT),
    )
    return _document(
        "ollama-fleet lock --check --json",
        file=TEXT,
        status=_one_of("locked", "stale", "moved"),
        offline=BOOL,
        entries=_list(entry),
    )


def tune() -> Schema:
    """What `tune --json` prints; sizes in bytes, rates in tokens per second, times in seconds."""
    terms = _object(weights=COUNT, kv=COUNT, compute=COUNT)
    step = _object(
        num_gpu=COUNT,
        num_ctx=COUNT,
        held=BOOL,
        reason=TEXT,
        taken=_or_null(_list(COUNT)),
        tokens_per_second=_or_null(NUMBER),
        full_tokens_per_second=_or_null(NUMBER),
        prompt_tokens_per_second=_or_null(NUMBER),
        seconds=NUMBER,
    )
    memory = _object(
        planned=terms,
        observed=terms,
        beside=COUNT,
        planned_before=_or_null(COUNT),
        predicted=_or_null(COUNT),
        taken=_or_null(COUNT),
    )
    model = _object(
        instance=TEXT,
        gpus=_list(TEXT),
        base=TEXT,
        quantization=_or_null(TEXT),
        layers=COUNT,
        num_gpu=_or_null(COUNT),
        num_ctx=_or_null(COUNT),
        lacks=_or_null(COUNT),
        loads=COUNT,
        error=_or_null(TEXT),
        steps=_list(step),
        memory=_or_null(memory),
    )
    return _document(
        "ollama-fleet tune --json",
        host=TEXT,
        gpus=_list(TEXT),
        ok=BOOL,
        error=_or_null(TEXT),
        problems=_list(TEXT),
        models={"type": "object", "additionalProperties": model},
        patch=TEXT,
        written=_or_null(TEXT),
    )


def bench() -> Schema:
    """What `bench --json` prints; rates in tokens per second."""
    series = _or_null(_object(median=NUMBER, low=NUMBER, high=NUMBER, count=COUNT))
    run = _object(
        fill=COUNT,
        concurrency=COUNT,
        prompt=series,
        generation=series,
        throughput=series,
        predicted=_or_null(_list(NUMBER)),
    )
    model = _object(
        instance=TEXT,
        gpus=_list(TEXT),
        base=TEXT,
        quantization=_or_null(TEXT),
        num_ctx=COUNT,
        num_gpu=_or_null(COUNT),
        error=_or_null(TEXT),
        runs=_list(run),
    )
    host = _object(
        release=TEXT,
        gpus=_list(TEXT),
        error=_or_null(TEXT),
        problems=_list(TEXT),
        models={"type": "object", "additionalProperties": model},
    )
    return _document("ollama-fleet bench --json", hosts=_by_host(host))


def validate() -> Schema:
    """What `validate --json` prints: every mistake of the file, none where it is right."""
    place = _or_null({"type": "integer", "minimum": 1})
    mistake = _object(
        file=_or_null(TEXT), line=place, column=place, path=TEXT, message=TEXT, hint=_or_null(TEXT)
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ollama-fleet validate --json",
        **_list(mistake),
    }


def recommend() -> Schema:
    """What `recommend --json` prints, the best first; sizes in bytes, contexts in tokens."""
    choice = _object(
        model=TEXT,
        quantization=TEXT,
        num_ctx=COUNT,
        kv_cache_type=TEXT,
        num_gpu=_or_null(COUNT),
        estimate=_object(**_estimate()),
        tokens_per_second=_or_null({**_list(NUMBER), "minItems": 2, "maxItems": 2}),
        rejected=_or_null(TEXT),
    )
    return _document("ollama-fleet recommend --json", choices=_list(choice))


def history() -> Schema:
    """What `history --json` prints, the oldest first."""
    change = _object(kind=TEXT, name=TEXT, aspects=_list(TEXT))
    record = _object(
        id=TEXT,
        started=TIME,
        ended=_or_null(TIME),
        outcome=_one_of("started", "ok", "failed", "interrupted"),
        reason=_or_null(TEXT),
        who=TEXT,
        commit=_or_null(TEXT),
        dirty=_or_null(BOOL),
        fleet_sha256=_or_null(SHA256),
        lock_sha256=_or_null(SHA256),
        release=TEXT,
        changes=_list(change),
        left_out=COUNT,
    )
    host = _object(error=_or_null(TEXT), records=_list(record))
    return _document("ollama-fleet history --json", hosts=_by_host(host))


def clients() -> Schema:
    """What `clients --json` prints; contexts in tokens."""
    model = _object(name=TEXT, num_ctx=_or_null(COUNT), kind=_one_of("chat", "embedding"), vision=BOOL)
    endpoint = _object(
        host=TEXT, instance=_or_null(TEXT), url=TEXT, reach=TEXT, complete=BOOL, models=_list(model)
    )
    setting = _object(
        client=TEXT,
        host=_or_null(TEXT),
        instance=_or_null(TEXT),
        model=_or_null(TEXT),
        form=_one_of("link", "env", "yaml", "json", "shell"),
        how=TEXT,
        text=TEXT,
    )
    return _document("ollama-fleet clients --json", endpoints=_list(endpoint), settings=_list(setting))


def doctor() -> Schema:
    """What `doctor --json` prints."""
    status = _one_of("ok", "warning", "problem", "unknown")
    check = _object(check=TEXT, status=status, found=TEXT, remedy=_or_null(TEXT))
    host = _object(healthy=BOOL, checks=_list(check))
    return _document("ollama-fleet doctor --json", healthy=BOOL, hosts=_by_host(host))


def verify() -> Schema:
    """What `verify --json` prints; sizes in bytes, times in seconds, rates in tokens per second."""
    failure = _object(check=TEXT, text=TEXT)
    terms = _object(dict.fromkeys(("weights", "kv", "compute", "total"), COUNT))
    placement = _object(
        ok=BOOL,
        how=_one_of("resident", "loaded", "failed"),
        layers=_object(
            total=_or_null(COUNT),
            offloaded=_or_null(COUNT),
            overflowing=_or_null(COUNT),
            planned=_or_null(COUNT),
        ),
        gpu_percent=_or_null(NUMBER),
        num_ctx=_or_null(COUNT),
        tokens_per_second=_or_null(NUMBER),
        load_seconds=_or_null(NUMBER),
        size=_or_null(COUNT),
        size_vram=_or_null(COUNT),
        device_memory=_object(before=_or_null(COUNT), after=_or_null(COUNT)),
        memory=_list(_object(place=TEXT, measured=terms, predicted=terms)),
        failures=_list(failure),
        remarks=_list(TEXT),
    )
    host = _object(
        ok=BOOL,
        depth=_one_of("quick", "load", "full"),
        failures=_list(failure),
        placements={"type": "object", "additionalProperties": placement},
        outside=_list(TEXT),
        remarks=_list(TEXT),
        exposed=_list(_object(check=TEXT, text=TEXT, remedy=TEXT)),
    )
    return _document("ollama-fleet verify --json", hosts=_by_host(host))


SCHEMAS: dict[str, Callable[[], Schema]] = {
    "fleet": json_schema,
    "bench": bench,
    "clients": clients,
    "doctor": doctor,
    "drift": drift,
    "fit": fit,
    "history": history,
    "lock": lock,
    "lock-check": lock_check,
    "plan": plan,
    "recommend": recommend,
    "tune": tune,
    "validate": validate,
    "verify": verify,
}
"""By the name that `ollama-fleet schema` takes; `fleet` is that of fleet.yaml."""
