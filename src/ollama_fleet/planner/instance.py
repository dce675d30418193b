"""One server of a host as it should be, and the host as seen from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.items.model import WantedLoaded, WantedModel
from ollama_fleet.planner.items.service import WantedService
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.placement import Placement
from ollama_fleet.planner.state import HostState

NONE = "-1"
"""No device, as the drivers' libraries read it."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One `ollama serve`: where it listens, which devices it has, and what it serves on them."""

    name: str
    """Empty for the only server of a host."""
    layout: Layout
    address: str
    port: int
    devices: tuple[Device, ...]
    service: WantedService
    placements: tuple[Placement, ...]
    loaded: tuple[WantedLoaded, ...]

    @property
    def models(self) -> tuple[WantedModel, ...]:
        """What it serves, under the names that clients use."""
        return tuple(placement.created for placement in self.placements)

    def sees(self, state: HostState) -> HostState:
        """The host as this server sees it: its own process, and its own devices alone."""
        return state.of_instance(self.name, self.devices)


def pinned(devices: Sequence[Device]) -> dict[str, str]:
    """Return the variables that leave a server these devices and no others.

    AMD's libraries read NVIDIA's variable where theirs is not set, and Vulkan would find the cards that CUDA hides,
    so each is always set.
    """
    return {
        "CUDA_VISIBLE_DEVICES": _words(devices, "nvidia"),
        "ROCR_VISIBLE_DEVICES": _words(devices, "amd"),
        "GGML_VK_VISIBLE_DEVICES": NONE,
    }


def _words(devices: Sequence[Device], vendor: str) -> str:
    return ",".join(device.uuid or NONE for device in devices if device.vendor == vendor) or NONE


def with_pins(environment: Mapping[str, str], devices: Sequence[Device]) -> dict[str, str]:
    """Return the variables of one of several servers."""
    return dict(sorted({**environment, **pinned(devices)}.items()))
