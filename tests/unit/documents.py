"""The pages for readers, as the tests see them: blocks of code, and fleets that are whole or a part of one."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "src/ollama_fleet/starter/README.md"])
PART = "# part of fleet.yaml\n"
"""First line of a block that is not a whole fleet: it is put into this one, map by map."""
REST: dict[str, Any] = {
    "version": 1,
    "release": {"version": "0.32.15"},
    "models": {"reasoner": {"from": "deepseek-r1:14b", "num_ctx": 8192}},
    "hosts": {
        name: {"address": address, "gpus": ["rtx-4090"], "models": {"reasoner": {}}}
        for name, address in {"pc": "192.168.1.9", "gpu-01": "192.168.1.11"}.items()
    },
}


@dataclass(frozen=True)
class Block:
    """A block of code in a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])


BLOCKS = [block for page in PAGES for block in blocks(page)]


def in_language(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def whole(text: str) -> str:
    """A fleet as it stands, or a part of one put into the rest."""
    if not text.startswith(PART):
        return text
    return yaml.safe_dump(merged(REST, yaml.safe_load(text)))


def merged(base: Any, more: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(more, dict)):
        return copy.deepcopy(more)
    return {key: merged(base.get(key), more[key]) if key in more else base[key] for key in {**base, **more}}
