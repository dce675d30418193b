"""What is kept free on a GPU beyond the buffers that the engine's log shows."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20

MEASURED_MARGIN = 128 * MIB
"""What is kept free where it was measured what a placement takes at its peak: others on the GPU come and go."""


@dataclass(frozen=True, slots=True)
class ReservePolicy:
    """Per GPU: `context` + max(`growth`, `share` of the total), and `further` on each GPU after the first.

    The defaults and their evidence: a CUDA context takes 244 to 320 MiB beside the buffers (RTX 5070: 6474 −
    1702 − 4528 MiB); an RTX 3080 grew by 296 MiB after loading; an RX 7900 XT with 20,252 MiB free ran out
    413 MiB above the sum of its buffers. GPUs after the first hold copies for the transfers between them.
    `share` is in thousandths.
    """

    context: int = 320 * MIB
    growth: int = 512 * MIB
    share: int = 30
    further: int = 1024 * MIB

    def __call__(self, total: int, *, later: bool) -> int:
        """Bytes to keep free on a GPU with `total` bytes of memory that holds layers."""
        kept = self.context + max(self.growth, total * self.share // 1000)
        return kept + (self.further if later else 0)
