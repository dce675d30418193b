"""One GPU of one machine, as found there or as declared in fleet.yaml."""

from dataclasses import dataclass

from ollama_fleet.hardware.catalogue import Gpu, Vendor, catalogue


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU of a machine.

    `kind` is its key in the catalogue, None for one that is not listed there. `memory_total` and
    `memory_free` are in bytes; free memory is None where nothing measured it. `uuid` is what the driver takes
    for selecting the device (`GPU-…`, `MIG-…`), None where it has none; `index` is the driver's own order.
    """

    index: int
    uuid: str | None
    name: str
    kind: str | None
    memory_total: int
    memory_free: int | None
    driver: str | None
    compute_capability: str | None
    vendor: Vendor
    gfx_target: str | None = None
    unified: bool = False

    @property
    def gpu(self) -> Gpu | None:
        """What the catalogue knows of its kind."""
        return None if self.kind is None else catalogue()[self.kind]

    @classmethod
    def declared(cls, kind: str, index: int) -> "Device":
        """Return the device that fleet.yaml declares by a catalogue key, nothing about it measured.

        Raises KeyError for a key that is not in the catalogue.
        """
        gpu = catalogue()[kind]
        return cls(
            index=index,
            uuid=None,
            name=gpu.names[0],
            kind=kind,
            memory_total=gpu.memory_total,
            memory_free=None,
            driver=None,
            compute_capability=gpu.compute_capability,
            vendor=gpu.vendor,
            gfx_target=gpu.gfx_target,
            unified=gpu.unified,
        )
