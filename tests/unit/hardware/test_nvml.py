"""The reader of the own machine, through the real binding: without a driver, and with
a library of our own.

The library answers for a machine with a 4090, a divided A100, a GB10 and a GPU that fell off the bus, and
can leave out the functions that older drivers do not have.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LIBRARY = r"""
#include <stdio.h>
#include <string.h>
typedef unsigned long long u64;
enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, LOST = 15, MISMATCH = 18 };
static long of(void *h) { return (long)h - 100; }  /* 0 1 2 3 are GPUs, 10 and 12 instances of GPU 1 */
int nvmlInitWithFlags(unsigned flags) { return INIT_RESULT; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) {
  return code == LOST ? "GPU is lost"
       : code == MISMATCH ? "Driver/library version mismatch" : "Not Supported";
}
int nvmlSystemGetDriverVersion(char *s, unsigned n) { snprintf(s, n, "580.159.03"); return OK; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = GPUS; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) {
  *h = (void *)(100L + i);
  return i == 3 ? LOST : OK;
}
int nvmlDeviceGetName(void *h, char *s, unsigned n) {
  long i = of(h);
  snprintf(s, n, "%s", i == 0 ? "NVIDIA GeForce RTX 4090" : i == 2 ? "NVIDIA GB10" :
           i == 1 ? "NVIDIA A100-SXM4-40GB" : "NVIDIA A100-SXM4-40GB MIG 1g.5gb");
  return OK;
}
int nvmlDeviceGetUUID(void *h, char *s, unsigned n) {
  snprintf(s, n, "%s-00000000-0000-0000-0000-0000000000%02ld", of(h) < 10 ? "GPU" : "MIG", of(h));
  return OK;
}
int nvmlDeviceGetMemoryInfo(void *h, u64 *m) {
  if (of(h) == 2) return NOT_SUPPORTED;
  m[0] = (of(h) == 0 ? 24564ULL : 4864ULL) << 20;
  m[1] = m[0] - (512ULL << 20);
  m[2] = 512ULL << 20;
  return OK;
}
int nvmlDeviceGetCudaComputeCapability(void *h, int *major, int *minor) {
  long i = of(h);
  *major = i == 2 ? 12 : 8;
  *minor = i == 0 ? 9 : i == 2 ? 1 : 0;
  return OK;
}
#ifdef WITH_MIG
int nvmlDeviceGetMigMode(void *h, unsigned *now, unsigned *pending) {
  if (of(h) != 1) return NOT_SUPPORTED;
  *now = *pending = 1;
  return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(void *h, unsigned *n) { *n = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *h, unsigned i, void **part) {
  *part = (void *)(110L + i);
  return i == 0 || i == 2 ? OK : NOT_FOUND;
}
#endif
"""

PROGRAM = """
import dataclasses, json, sys
from ollama_fleet.hardware.cpu import HostMemory
from ollama_fleet.hardware.nvml import read_nvml
host = HostMemory(total=127600748 * 1024, available=118566368 * 1024) if "host" in sys.argv else None
reading = read_nvml(host)
print(json.dumps({"devices": [dataclasses.asdict(d) for d in reading.devices], "reason": reading.reason}))
"""

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def read(library: Path | None, *arguments: str) -> dict[str, Any]:
    """Run the reader in a process of its own, since a library once loaded stays."""
    environment = dict(os.environ)
    environment.pop("LD_LIBRARY_PATH", None)
    if library is not None:
        environment["LD_LIBRARY_PATH"] = str(library)
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def build(folder: Path, *, gpus: int, init: int = 0, mig: bool = True) -> Path:
    defines = [f"-DGPUS={gpus}", f"-DINIT_RESULT={init}", *(["-DWITH_MIG"] if mig else [])]
    command = ["cc", "-shared", "-fPIC", "-x", "c", *defines, "-o", str(folder / "libnvidia-ml.so.1"), "-"]
    subprocess.run(command, input=LIBRARY, text=True, check=True)
    return folder


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has an NVIDIA driver")
def test_a_machine_without_a_driver_has_no_devices_and_says_why() -> None:
    answer = read(None)
    assert answer["devices"] == []
    assert "no NVIDIA driver" in answer["reason"]


@needs_compiler
def test_the_devices_of_a_mixed_machine(tmp_path: Path) -> None:
    answer = read(build(tmp_path, gpus=4), "host")
    kinds = [(d["index"], d["kind"], d["uuid"][:4], d["compute_capability"]) for d in answer["devices"]]
    assert kinds == [
        (0, "rtx-4090", "GPU-", "8.9"),
        (1, None, "MIG-", "8.0"),
        (2, None, "MIG-", "8.0"),
        (3, "gb10", "GPU-", "12.1"),
    ]
    assert answer["reason"] == "GPU 3: GPU is lost"
    first, part, _, unified = answer["devices"]
    assert (first["memory_total"], first["memory_free"]) == (24564 << 20, (24564 - 512) << 20)
    assert first["driver"] == "580.159.03"
    assert part["memory_total"] == 4864 << 20
    assert (unified["memory_total"], unified["unified"]) == (127600748 * 1024, True)


@needs_compiler
def test_unified_memory_needs_the_machines_size(tmp_path: Path) -> None:
    answer = read(build(tmp_path, gpus=3))
    assert "gb10" not in [device["kind"] for device in answer["devices"]]
    assert answer["reason"].startswith("GPU 2: ")


@needs_compiler
def test_a_driver_that_knows_no_mig(tmp_path: Path) -> None:
    answer = read(build(tmp_path, gpus=1, mig=False))
    assert [device["kind"] for device in answer["devices"]] == ["rtx-4090"]
    assert answer["reason"] is None


@needs_compiler
def test_a_driver_without_gpus(tmp_path: Path) -> None:
    answer = read(build(tmp_path, gpus=0))
    assert answer == {"devices": [], "reason": "the NVIDIA driver is loaded and finds no GPU"}


@needs_compiler
def test_a_library_that_does_not_fit_the_driver(tmp_path: Path) -> None:
    answer = read(build(tmp_path, gpus=1, init=18))
    assert answer["devices"] == []
    assert answer["reason"].startswith("the NVIDIA library does not start: ")
