"""What a machine has to give: the free memory of each GPU, measured or assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ollama_fleet.hardware.device import Device

MIB = 2**20
GIB = 2**30

DESKTOP_USE = 1740 * MIB
"""In use on a card that draws a desktop, where nothing was measured: 1.7 GiB, as in a published measurement of
an idle RTX 5070 (1702 MiB); a browser and a compositor are that much."""

_APPLE_SHARE = ((36 * GIB, 2 / 3), (1 << 62, 3 / 4))
"""Metal's recommended working set: two thirds of the memory up to 36 GiB, three quarters above."""

# Cards without a screen, by how the catalogue names their families.
_HEADLESS = ("Tesla", "Instinct", "data centre", "A100", "H100", "B200", "T4", "DGX", "Quadro GV100")


@dataclass(frozen=True, slots=True)
class GpuBudget:
    """One GPU: bytes in all, bytes free for a model and what belongs to it.

    `bandwidth` is in bytes per second, 0 where unknown. `fused_attention` tells whether the engine can compute
    flash attention on it. `unified` memory is the host's as well. `measured`: `free` was read, not assumed.
    """

    name: str
    total: int
    free: int
    bandwidth: int = 0
    unified: bool = False
    fused_attention: bool = True
    measured: bool = False


def budget_of(device: Device, desktop: bool | None = None) -> GpuBudget:
    """The budget of a GPU.

    Args:
        device: as found or declared.
        desktop: a screen is attached; None goes by the kind. Counts only where free memory was not measured.
    """
    gpu = device.gpu
    family = gpu.family if gpu else ""
    if desktop is None:
        desktop = not any(word in family for word in _HEADLESS)
    if device.memory_free is not None:
        free = device.memory_free
    elif device.unified and device.vendor == "apple":
        free = int(
            device.memory_total * next(share for most, share in _APPLE_SHARE if device.memory_total <= most)
        )
    else:
        free = max(device.memory_total - (DESKTOP_USE if desktop else 0), 0)
    bandwidth = int((gpu.bandwidth_gb_s or 0.0) * 1e9) if gpu else 0
    return GpuBudget(
        name=device.kind or device.name,
        total=device.memory_total,
        free=free,
        bandwidth=bandwidth,
        unified=device.unified,
        fused_attention=_fused(device),
        measured=device.memory_free is not None,
    )


def budgets_of(devices: Sequence[Device], desktop: bool | None = None) -> tuple[GpuBudget, ...]:
    """The budgets of the GPUs of one machine; a desktop is drawn by the first of them alone."""
    return tuple(budget_of(device, desktop if place == 0 else False) for place, device in enumerate(devices))


def budget_of_size(size: int, desktop: bool = True) -> GpuBudget:
    """The budget of a GPU of which nothing but the bytes of memory is known; a desktop is the safe assumption."""
    free = max(size - (DESKTOP_USE if desktop else 0), 0)
    return GpuBudget(f"GPU with {size / GIB:g} GiB", size, free)


def _fused(device: Device) -> bool:
    # The engine refuses CUDA devices before Pascal and the 7.2 of Xavier; all other libraries can.
    capability = device.compute_capability
    if device.vendor != "nvidia" or capability is None:
        return True
    major, _, minor = capability.partition(".")
    return int(major) >= 6 and (major, minor) != ("7", "2")
