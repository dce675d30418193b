"""GPUs that are not there: an `nvidia-smi` on a host that answers from recordings.

A recording (recorded/NAME.json) holds what the tool tells of one GPU when nothing runs on it; see
recorded/README.md for where the figures come from. A few recordings are failures: a driver that is not
loaded, a library that does not match, no device.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path

from .process import LabError

RECORDED = Path(__file__).with_name("recorded")
_DATA = "usr/share/lab-gpus.json"
_TOOL = "usr/bin/nvidia-smi"
NODE = "/dev/nvidiactl"
_NAMESPACE = uuid.UUID("6f0c3c6e-6f6c-4c61-8d1a-0b1a6d5f2c11")


def recordings() -> list[str]:
    """Names that `gpus=` takes."""
    return sorted(path.stem for path in RECORDED.glob("*.json"))


def install(root: Path, host: str, names: Sequence[str]) -> None:
    """Put `nvidia-smi` and the recordings `names`, one per GPU, into the tree of `host`.

    UUIDs and bus addresses are made from host and index, so they stay the same from run to run. Raises
    LabError for a name that was not recorded, or for a failure together with something else.
    """
    loaded = []
    for name in names:
        path = RECORDED / f"{name}.json"
        if not path.is_file():
            raise LabError(f"no recorded GPU {name!r}; there are {', '.join(recordings())}")
        loaded.append(json.loads(path.read_text()))
    if any("failure" in recording for recording in loaded):
        if len(loaded) > 1:
            raise LabError("a recorded failure stands for the whole machine; give no other GPU beside it")
        data = loaded[0]
    else:
        # One machine has one driver: the newest that any of its cards was recorded with.
        newest = max(
            loaded, key=lambda recording: [int(part) for part in recording["driver_version"].split(".")]
        )
        driver, cuda = newest["driver_version"], newest["cuda_version"]
        gpus = []
        for index, recording in enumerate(loaded):
            identity = {
                "index": index,
                "count": len(loaded),
                "uuid": f"GPU-{uuid.uuid5(_NAMESPACE, f'{host}/{index}')}",
                "pci.bus_id": f"00000000:{0x11 * index + 1:02X}:00.0",
                "driver_version": driver,
            }
            gpus.append({**recording["gpu"], **identity})
        data = {"driver_version": driver, "cuda_version": cuda, "gpus": gpus}
        # What the driver makes at boot; a unit may wait for it.
        at_boot = root / "etc/tmpfiles.d/lab-gpus.conf"
        at_boot.parent.mkdir(parents=True, exist_ok=True)
        at_boot.write_text(f"f {NODE} 0666 root root -\n")
    (root / _DATA).write_text(json.dumps(data, indent=1))
    tool = root / _TOOL
    tool.write_bytes(Path(__file__).with_name("nvidia_smi.py").read_bytes())
    tool.chmod(0o755)
