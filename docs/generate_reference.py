"""Write docs/reference.md out of the JSON Schema of fleet.yaml, docs/reference.yaml and the GPU catalogue.

    python docs/generate_reference.py

A test holds the file in step: whoever changes a key, a variable or a GPU runs this once more,
and gives a new key its default and its example in docs/reference.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from ollama_fleet.hardware.catalogue import GIB, Gpu, catalogue
from ollama_fleet.spec.schema import json_schema

Node = Mapping[str, Any]

TARGET = Path(__file__).with_name("reference.md")
EXAMPLES = Path(__file__).with_name("reference.yaml")

SETTINGS = "Host settings"
"""Title of the keys that defaults, groups and hosts share."""

SECTIONS = (
    "Model",
    "ModelSettings",
    "Expect",
    "Release",
    "Firewall",
    "Access",
    "Acme",
    "Ssh",
    "Instance",
    "Rollout",
    "Registry",
)
"""Definitions of the schema with a chapter of their own, in the order of the page."""

TITLES = {"ModelSettings": "Model settings", "Acme": "ACME", "Ssh": "SSH", "Defaults": SETTINGS}
MAPS = {"env": "Environment variables", "parameters": "Parameters"}
"""Keys whose own keys have a chapter."""
PLACES = {
    "Model": "`models.NAME`",
    "ModelSettings": "`models.NAME`, `models.NAME.per_gpu.GPU` and `hosts.NAME.models.NAME`",
    "Expect": "`expect`, among the model settings",
    "Release": "`release`, at the top or among the host settings",
    "Firewall": "`firewall`, among the host settings",
    "Access": "`access`, among the host settings",
    "Acme": "`access.acme`, among the host settings",
    "Ssh": "`ssh`, among the host settings",
    "Instance": "an item of `instances`, among the host settings",
    "Rollout": "`rollout`, at the top",
    "Registry": "`registries.HOST` or `registries.HOST:PORT`",
}
FEW_WORDS = " Takes one of a few words."
SHARED = ("Defaults", "Group", "Host")


def reference() -> str:
    """Return the page."""
    schema = json_schema()
    definitions: Mapping[str, Node] = schema["$defs"]
    told = yaml.safe_load(EXAMPLES.read_text(encoding="utf-8"))
    return "\n".join([*_page(schema, definitions, told), *_gpus(catalogue().values())]) + "\n"


def _page(schema: Node, definitions: Mapping[str, Node], told: Mapping[str, Node]) -> Iterator[str]:
    yield "# Reference of fleet.yaml"
    yield ""
    yield "<!-- Written by docs/generate_reference.py from the JSON Schema; do not edit by hand. -->"
    yield ""
    yield "Settings of a host are taken from `defaults`, then its groups in file order, then the host; the later wins."
    yield "Settings of a model: the model, then `per_gpu` for the GPUs of the host, then the host's own. Maps merge by"
    yield "key, lists replace, `null` returns to the default. Every key may be left out unless it says *required*; what"
    yield "then holds is written `like this` where it could be written out."
    yield ""
    yield "## The file"
    yield ""
    yield from _table(schema, told["FleetFile"])
    host = definitions["Host"]
    yield from _chapter(SETTINGS, "`defaults`, `groups.NAME` and `hosts.NAME`")
    shared = set.intersection(*(set(definitions[name]["properties"]) for name in SHARED))
    yield from _table({**host, "properties": _only(host, shared)}, told["HostSettings"])
    for name, place in (("Group", "groups"), ("Host", "hosts")):
        yield from _chapter(name, f"`{place}.NAME`, beside the [host settings](#{_anchor(SETTINGS)})")
        own = definitions[name]
        yield from _table({**own, "properties": _only(own, set(own["properties"]) - shared)}, told[name])
    settings = set(definitions["ModelSettings"]["properties"])
    for name in SECTIONS:
        section = definitions[name]
        yield from _chapter(TITLES.get(name, name), PLACES[name])
        if name == "Model":
            yield "A model also has every key of the [model settings](#model-settings)."
            yield ""
            section = {**section, "properties": _only(section, set(section["properties"]) - settings)}
        yield from _table(section, told.get(name, {}))
    yield from _chapter("Environment variables", "`env`")
    yield 'A value is YAML: `true`, not `"1"`. Names that Ollama does not read are refused where they begin with'
    yield "`OLLAMA`; other names are passed on. A URL, and any variable that is not listed here, may be a reference to"
    yield "a secret: `env:NAME` or `file:PATH`. `OLLAMA_HOST` is the key `listen`, `OLLAMA_MODELS` is `models_dir`."
    yield "What is not set is left to Ollama, whose defaults change from release to release."
    yield ""
    yield from _described(host["properties"]["env"], "Variable", told["env"])
    yield from _chapter("Parameters", "`parameters`")
    yield "`num_ctx` and `num_gpu` are keys of their own, among the [model settings](#model-settings)."
    yield "What is not set is that of the base, else Ollama's."
    yield ""
    yield from _described(
        definitions["ModelSettings"]["properties"]["parameters"], "Parameter", told["parameters"]
    )


def _chapter(title: str, place: str) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield f"Below {place}."
    yield ""


def _link(title: str) -> str:
    return f"[{title if title.isupper() else title.lower()}](#{_anchor(title)})"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _only(section: Node, keys: set[str]) -> dict[str, Node]:
    return {key: value for key, value in section["properties"].items() if key in keys}


def _table(section: Node, told: Node) -> Iterator[str]:
    yield "| key | takes | if left out | example | meaning |"
    yield "|---|---|---|---|---|"
    for key, node in section["properties"].items():
        if key not in told:
            raise SystemExit(f"{EXAMPLES.name}: give {key} a default and an example")
        takes = _link(MAPS[key]) if key in MAPS else _takes(node)
        cells = (
            takes,
            _left_out(key, section, told[key]),
            _example(key, told[key]["example"]),
            node["description"],
        )
        yield f"| `{key}` | {' | '.join(map(_cell, cells))} |"
    yield ""


def _left_out(key: str, section: Node, told: Node) -> str:
    if key in section.get("required", ()):
        return "*required*"
    return _word(told["default"]) if "default" in told else str(told["none"])


def _example(key: str, value: object) -> str:
    """As one would write it on one line of fleet.yaml."""
    written = yaml.safe_dump({key: value}, default_flow_style=True, width=10**6, sort_keys=False)
    return f"`{written.strip().removeprefix('{').removesuffix('}')}`"


def _described(node: Node, head: str, told: Node) -> Iterator[str]:
    found = next(option["properties"] for option in _options(node) if "properties" in option)
    takes = " | takes" if head == "Parameter" else ""
    yield f"| {head.lower()}{takes} | example | meaning |"
    yield "|---|---|---|---|" if takes else "|---|---|---|"
    for name, value in found.items():
        if name not in told:
            raise SystemExit(f"{EXAMPLES.name}: give {name} an example")
        kind = f" | {_cell(_takes(value))}" if takes else ""
        words = [
            word for option in _options(value) for word in option.get("enum", ()) if isinstance(word, str)
        ]
        choice = f" One of {', '.join(map(_word, words))}." if words else ""
        about = _cell(value["description"].replace(FEW_WORDS, "")) + choice
        yield f"| `{name}`{kind} | {_cell(_example(name, told[name]))} | {about} |"
    yield ""


def _options(node: Node) -> Iterator[Node]:
    """Flatten alternatives; `null` stands at every key and is said once, above."""
    if "anyOf" in node:
        for option in node["anyOf"]:
            yield from _options(option)
    elif node.get("type") != "null":
        yield node


def _takes(node: Node) -> str:
    return " or ".join(dict.fromkeys(_kind(option) for option in _options(node)))


def _kind(node: Node) -> str:  # noqa: PLR0911 - one line for each kind
    match node:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return _link(TITLES.get(name, name))
        case {"const": value}:
            return _word(value)
        case {"enum": list(values)}:
            return " or ".join(map(_word, values))
        case {"type": "array", "items": items}:
            return f"list of {_takes(items)}"
        case {"type": "object"}:
            return _map(node)
        case {"type": "integer", "minimum": least, "maximum": most}:
            return f"{least} to {most}"
        case {"type": str(kind)}:
            return {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(kind, kind)
    raise ValueError(f"the page has no words for {node}")


def _map(node: Node) -> str:
    values = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
    inside = dict.fromkeys(_takes(value) for value in values if isinstance(value, dict))
    return f"map of name to {' or '.join(inside)}"


def _word(value: object) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _gpus(gpus: Iterable[Gpu]) -> Iterator[str]:
    yield "## GPU names"
    yield ""
    yield "Words for `gpus` and `per_gpu`, with the memory in GiB; `per_gpu` also takes `cpu`. *Modified* is memory"
    yield "that the maker never sold. The list is data: src/ollama_fleet/hardware/gpus.yaml."
    yield ""
    for family, members in groupby(gpus, key=lambda gpu: gpu.family):
        yield f"- {family}: " + ", ".join(
            f"`{gpu.key}` {gpu.memory // GIB}{' modified' if gpu.modified else ''}" for gpu in members
        )


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
