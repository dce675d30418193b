"""The machine that is played: its GPUs and what goes wrong on it, from one JSON file.

The file is named by `OLLAMA_SIM`, or is /etc/ollama-sim.json where that exists. It is read again on every use, so a
test changes the machine while the server runs. All keys are optional:

    {"gpus": [{"name": "NVIDIA GeForce RTX 4090", "memory_bytes": 25757220864, "free_bytes": …, "uuid": "GPU-…",
               "compute": "8.9", "library": "CUDA", "integrated": false}],
     "memory_bytes": 68719476736,                  host memory
     "seed": 1, "noise": 0.05,                     the memory law's own noise, 0 to 0.15
     "late_growth_bytes": …,                       what a device needs more once the context is full
     "jitter_bytes": …,                            others on the device take up to so much, now more and now less
     "report_used": "/run/lab-gpu-used.json",      where the memory in use is written, for the lab's nvidia-smi
     "pretend": {"reasoner": {"weights_bytes": …, "layers": …, "kv_bytes_per_token": …, "graph_bytes": …}},
     "tokens_per_second": 40,
     "pull": {"bytes_per_second": …, "fail_after_bytes": …, "retry_scale": 0},
     "hang": ["/api/tags"],                        requests that are taken and never answered
     "errors": {"/api/ps": [500, "boom"]},         requests that are answered with an error
     "fail_load": "cudaMalloc failed: out of memory",
     "late_oom": {"after_tokens": 2000},           a chat that has grown so long ends in an error, and is unloaded
     "claim_full_gpu": true,                       /api/ps says 100 % GPU whatever is true
     "unparsed_buffers": true,                     no sizes in the log, and the file's size for both in /api/ps
     "ollama_engine": true,                        up to 0.24: the log in the words of Ollama's own engine
     "load_seconds": 2, "hang_load": true,         a load that takes long, or never ends
     "start": "exit" | "hang" | "exit-on-models",  `serve` ends with status 1, or never listens, or ends with status 1
                                                   where there are models
     "blind": true,                                no GPU is seen, whatever `gpus` says
     "version_lie": "0.0.0"}                       what /api/version says instead

On a host of the lab that has GPUs (`nvidia-smi` answers there), those are the machine's unless `gpus` says otherwise,
and the memory that models take of them is told to that `nvidia-smi`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollama_sim.environ import Environment

DEFAULT_FILE = Path("/etc/ollama-sim.json")
LAB_GPUS = Path("/usr/share/lab-gpus.json")
GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """One device; sizes in bytes."""

    id: str
    name: str
    memory: int
    free: int
    library: str = "CUDA"
    compute: str = "8.9"
    driver: str = "12.8"
    pci: str = "0000:01:00.0"
    integrated: bool = False


class Machine:
    """The scenario in force. `baked` holds the faults that were packed into the release itself."""

    def __init__(self, environment: Environment, baked: Mapping[str, Any] | None = None) -> None:
        named = environment.text("OLLAMA_SIM")
        self.path = Path(named) if named else DEFAULT_FILE
        self.baked = dict(baked or {})
        self.visible = environment.text("CUDA_VISIBLE_DEVICES")

    @property
    def scenario(self) -> dict[str, Any]:
        """The file's content over what was baked in. A file that cannot be read counts as empty."""
        try:
            given = json.loads(self.path.read_text("utf-8"))
        except (OSError, json.JSONDecodeError):
            given = {}
        return _lab_gpus() | self.baked | (given if isinstance(given, dict) else {})

    def get(self, key: str, default: Any = None) -> Any:
        return self.scenario.get(key, default)

    @property
    def gpus(self) -> list[Gpu]:
        """The devices that the process may use, in the order of CUDA_VISIBLE_DEVICES."""
        return [gpu for _, gpu in self.places]

    @property
    def places(self) -> list[tuple[int, Gpu]]:
        """The same, each with its index among all of the machine's, which `nvidia-smi` knows it by."""
        listed = [] if self.get("blind") else self.get("gpus") or []
        every = [(number, _gpu(number, entry)) for number, entry in enumerate(listed)]
        if not self.visible:
            return every
        chosen = []
        for word in self.visible.split(","):
            match = [(n, g) for n, g in every if word.strip() in (str(n), g.id)]
            if not match:  # CUDA stops at the first device it does not know
                break
            chosen += match
        return chosen

    @property
    def memory(self) -> int:
        """Bytes of host memory: the scenario's, or the real machine's."""
        given = self.get("memory_bytes")
        return int(given) if given else meminfo("MemTotal")

    @property
    def memory_free(self) -> int:
        given = self.get("memory_bytes")
        return int(given) if given else meminfo("MemAvailable")


def _lab_gpus() -> dict[str, Any]:
    """The devices that the lab gave this host, and where to tell their use; nothing elsewhere."""
    try:
        recorded = json.loads(LAB_GPUS.read_text("utf-8"))["gpus"]
    except (OSError, json.JSONDecodeError, KeyError):
        return {}
    gpus = [
        {
            "name": gpu["name"],
            "uuid": gpu["uuid"],
            "compute": gpu["compute_cap"],
            "memory_bytes": gpu["memory.total"] * MIB,
            "free_bytes": (gpu["memory.total"] - gpu["memory.reserved"] - gpu["memory.used"]) * MIB,
        }
        for gpu in recorded
    ]
    # Whoever the server runs as may write there, and the number tells whether it still runs.
    return {"gpus": gpus, "report_used": f"/dev/shm/lab-gpu-used.{os.getpid()}.json"}


def meminfo(key: str) -> int:
    """Bytes of one line of /proc/meminfo; 8 GiB where there is none."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 8 * GIB


def _gpu(number: int, entry: Mapping[str, Any]) -> Gpu:
    memory = int(entry["memory_bytes"])
    return Gpu(
        id=entry.get("uuid", f"GPU-00000000-0000-4000-8000-{number:012d}"),
        name=entry.get("name", "NVIDIA GeForce RTX 4090"),
        memory=memory,
        free=int(entry.get("free_bytes", memory - memory // 64)),
        library=entry.get("library", "CUDA"),
        compute=str(entry.get("compute", "8.9")),
        driver=str(entry.get("driver", "12.8")),
        pci=entry.get("pci", f"0000:{number + 1:02x}:00.0"),
        integrated=bool(entry.get("integrated", False)),
    )
