"""The GPUs that a fleet may name, and which of them a driver's report means.

The data is `gpus.yaml` beside this module, with its sources. A driver tells a name and a size; several kinds
share a name (a 4060 Ti with 8 or 16 GiB), so the size decides.
"""

import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

import yaml

Vendor = Literal["nvidia", "amd", "apple", "intel"]

GIB = 2**30
MIB = 2**20

# What a driver reports lies below the marketed size by what ECC and firmware keep: at most 7.1 % among the
# cards seen (a P40 with ECC on: 22919 of 24576 MiB). Unified memory loses up to 7 % to the system (an AGX
# Orin 32 GB: 30697 MiB). The closest two sizes sold under one name are 10 and 12 GiB, a ratio of 0.83.
_LEAST_SHARE = 0.85
_MOST_SHARE = 1.02


@dataclass(frozen=True, slots=True)
class Gpu:
    """One kind of GPU; a board of several devices is listed by the device.

    `memory` is the marketed size in bytes, `memory_reported` the total in bytes that the driver's tool
    reports, `bandwidth_gb_s` in 10^9 bytes per second. Unknown values are None.
    """

    key: str
    vendor: Vendor
    family: str
    names: tuple[str, ...]
    memory: int
    memory_reported: int | None
    bandwidth_gb_s: float | None
    compute_capability: str | None
    gfx_target: str | None
    mobile: bool
    unified: bool
    modified: bool
    year: int | None

    @property
    def memory_total(self) -> int:
        """Bytes to plan with where there is no machine to ask: as reported, else as marketed."""
        return self.memory if self.memory_reported is None else self.memory_reported


@functools.cache
def catalogue() -> Mapping[str, Gpu]:
    """Return every known GPU by its key, in the order of the data file; read once."""
    text = resources.files(__package__).joinpath("gpus.yaml").read_text(encoding="utf-8")
    # The C loader reads the file six times faster; PyYAML may have been built without it.
    document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    found: dict[str, Gpu] = {}
    for family in document["families"]:
        shared = {name: value for name, value in family.items() if name not in ("gpus", "sources")}
        for key, own in family["gpus"].items():
            if key in found:
                raise ValueError(f"gpus.yaml lists {key} twice")
            found[key] = _gpu(key, shared | own)
    return MappingProxyType(found)


def _gpu(key: str, entry: dict[str, Any]) -> Gpu:
    reported = entry.get("reported_mib")
    return Gpu(
        key=key,
        vendor=entry["vendor"],
        family=entry["family"],
        names=tuple(entry["names"]),
        memory=entry["memory_gib"] * GIB,
        memory_reported=None if reported is None else reported * MIB,
        bandwidth_gb_s=entry.get("gb_per_s"),
        compute_capability=entry.get("compute_capability"),
        gfx_target=entry.get("gfx_target"),
        mobile=entry.get("mobile", False),
        unified=entry.get("unified", False),
        modified=entry.get("modified", False),
        year=entry.get("year"),
    )


def names() -> tuple[str, ...]:
    """Return the keys, which are the words that fleet.yaml may use for a GPU."""
    return tuple(catalogue())


def identify(name: str, memory_mib: int | None) -> Gpu | None:
    """Return the kind of GPU that a driver reports as `name` with `memory_mib` MiB in total.

    None means that it is not in the catalogue, that its size fits no known variant, or that there are
    variants and no size to tell them apart. Kinds which the driver does not tell apart at all give the
    slowest; `candidates` has them all.
    """
    found = candidates(name, memory_mib)
    if memory_mib is None and len({gpu.memory for gpu in found}) > 1:
        return None
    return found[0] if found else None


def candidates(name: str, memory_mib: int | None) -> tuple[Gpu, ...]:
    """Return every kind that a driver's report can mean, the smallest and then the slowest first.

    A declared GPU is present if its key is among them: the driver has one name for an MI50 with 32 GiB and an
    MI60.
    """
    named = _by_name().get(_normal(name), ())
    if memory_mib is None:
        return named
    offered = memory_mib * MIB
    return tuple(gpu for gpu in named if _offers(gpu, offered))


def _offers(gpu: Gpu, offered: int) -> bool:
    if gpu.unified and gpu.vendor == "amd":
        # The driver of an APU offers the share of the memory that firmware and kernel were set to.
        return offered <= gpu.memory * _MOST_SHARE
    return gpu.memory * _LEAST_SHARE <= offered <= gpu.memory * _MOST_SHARE


@functools.cache
def _by_name() -> Mapping[str, tuple[Gpu, ...]]:
    index: dict[str, list[Gpu]] = {}
    for gpu in catalogue().values():
        for name in {_normal(name) for name in gpu.names}:
            index.setdefault(name, []).append(gpu)
    return {
        name: tuple(sorted(gpus, key=lambda gpu: (gpu.memory, gpu.bandwidth_gb_s or 0.0)))
        for name, gpus in index.items()
    }


def _normal(name: str) -> str:
    """Return `name` without what drivers of different years and systems add: the maker, trade marks, case."""
    plain = re.sub(r"\((?:r|tm)\)|[®™]", " ", name.casefold())
    words = plain.split()
    while words and words[0] in ("nvidia", "amd"):
        del words[0]
    return " ".join(words)


def nearest(name: str, limit: int = 5) -> tuple[str, ...]:
    """Return the keys most like what somebody wrote, best first: for "did you mean".

    Written names vary in dashes and in the maker's words ("RTX4090", "GeForce RTX 4060 Ti"), so these are
    taken out first; a key that contains all of what is left comes before one that only resembles it.
    """
    wanted = _squeezed(name)
    if not wanted:
        return ()
    squeezed = {_squeezed(key): key for key in catalogue()}
    containing = sorted(
        (s for s in squeezed if wanted in s), key=lambda s: (not s.startswith(wanted), len(s))
    )
    alike = difflib.get_close_matches(wanted, squeezed, n=limit, cutoff=0.6)
    best = dict.fromkeys([*containing, *alike])
    return tuple(squeezed[s] for s in best)[:limit]


def _squeezed(name: str) -> str:
    words = re.findall(r"[a-z]+|\d+", _normal(name)[:200])
    return "".join(
        word for word in words if word not in ("geforce", "tesla", "quadro", "instinct", "apple", "gpu")
    )
