"""The answer: every term, on every device and on the host."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Confidence = Literal["high", "medium", "low"]
"""high: weights and cache exact, compute as measured on this shape; medium: compute by a formula for its kind;
low: an architecture that is not known, everything an upper bound."""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """One GPU, bytes. `total` is the sum of the terms: weights, kv, compute, projector, draft, reserve.

    `staging`, a part of the reserve, is room for tensors of the host that are copied over for long prompts (the
    engine's log counts it as compute).
    """

    name: str
    weights: int
    kv: int
    compute: int
    reserve: int
    total: int
    free: int
    projector: int = 0
    draft: int = 0
    staging: int = 0

    @property
    def lacks(self) -> int:
        """Bytes by which it does not fit; 0 where it does."""
        return max(self.total - self.free, 0)

    @property
    def largest_term(self) -> str:
        """The term that takes most."""
        terms = ("weights", "kv", "compute", "projector", "draft", "reserve")
        return max(terms, key=lambda term: int(getattr(self, term)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data; the rarer terms only where there are such."""
        data = {key: value for key, value in asdict(self).items() if key != "staging"}
        return {key: value for key, value in data.items() if value or key not in ("projector", "draft")}


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Host memory, bytes; `free` is None where nobody knows."""

    weights: int
    kv: int
    compute: int
    total: int
    free: int | None = None

    @property
    def lacks(self) -> int:
        """Bytes by which it does not fit; 0 where it does or nobody knows."""
        return 0 if self.free is None else max(self.total - self.free, 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"weights": self.weights, "kv": self.kv, "compute": self.compute, "total": self.total}


@dataclass(frozen=True, slots=True)
class Estimate:
    """One placement: what it takes, whether it fits, and how sure that is.

    `layers_total` counts the repeating layers and the output. `num_batch` and `flash_attention` are what was
    reckoned with. `reasons` are sentences for people: what does not fit by how much, what was assumed.
    """

    model: str
    devices: tuple[DeviceMemory, ...]
    host: HostMemory
    layers_total: int
    layers_offloaded: int
    fits: bool
    confidence: Confidence
    reasons: tuple[str, ...]
    num_ctx: int
    num_batch: int
    flash_attention: bool

    @property
    def lacks(self) -> int:
        """Bytes missing, over all devices and the host."""
        return sum(device.lacks for device in self.devices) + self.host.lacks

    @property
    def full(self) -> bool:
        """All layers are on GPUs."""
        return self.layers_offloaded == self.layers_total

    @property
    def vram(self) -> int:
        """Buffers on all GPUs, without the reserve: what `/api/ps` calls size_vram."""
        return sum(device.total - device.reserve for device in self.devices)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, sizes in bytes: what `fit --json` prints."""
        return {
            "model": self.model,
            "layers": {"total": self.layers_total, "offloaded": self.layers_offloaded},
            "devices": [device.to_dict() for device in self.devices],
            "host": self.host.to_dict(),
            "fits": self.fits,
            "confidence": self.confidence,
            "reasons": list(self.reasons),
        }
