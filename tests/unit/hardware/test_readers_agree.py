"""Both ways to read NVIDIA GPUs tell the same of the same machine.

There is no GPU here: the machine is the lab's recordings, told once by the lab's `nvidia-smi` and once by a library of
our own behind the real pynvml. So this shows that the readers agree, not that drivers do.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lab import gpus, nvidia_smi
from ollama_fleet.hardware.nvidia_smi import FIELDS, parse
from unit.hardware.test_nvml import read

LIBRARY = r"""
#include <stdio.h>
typedef unsigned long long u64;
struct card { const char *name, *uuid; u64 total, free; int major, minor; };
static struct card cards[] = { CARDS };
static struct card *of(void *h) { return &cards[(long)h - 100]; }
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "Not Supported"; }
int nvmlSystemGetDriverVersion(char *s, unsigned n) { snprintf(s, n, "%s", DRIVER); return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = sizeof cards / sizeof *cards; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = (void *)(100L + i); return 0; }
int nvmlDeviceGetName(void *h, char *s, unsigned n) { snprintf(s, n, "%s", of(h)->name); return 0; }
int nvmlDeviceGetUUID(void *h, char *s, unsigned n) { snprintf(s, n, "%s", of(h)->uuid); return 0; }
int nvmlDeviceGetMemoryInfo(void *h, u64 *m) {
  m[0] = of(h)->total << 20;
  m[1] = of(h)->free << 20;
  m[2] = m[0] - m[1];
  return 0;
}
int nvmlDeviceGetCudaComputeCapability(void *h, int *major, int *minor) {
  *major = of(h)->major;
  *minor = of(h)->minor;
  return 0;
}
"""

CARDS = ["rtx-4090", "a100-80gb", "rtx-2080-ti-22gb", "v100-16gb"]

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def library(folder: Path, recorded: dict[str, Any], used: dict[str, int]) -> Path:
    """Build libnvidia-ml for a machine with these GPUs, so much of whose memory is in use."""
    cards = []
    for gpu in recorded["gpus"]:
        in_use = gpu["memory.reserved"] + gpu["memory.used"] + used.get(str(gpu["index"]), 0)
        sizes = f"{gpu['memory.total']}, {gpu['memory.total'] - in_use}"
        cards.append(
            f'{{"{gpu["name"]}", "{gpu["uuid"]}", {sizes}, {gpu["compute_cap"].replace(".", ", ")}}}'
        )
    source = f'#define CARDS {", ".join(cards)}\n#define DRIVER "{recorded["driver_version"]}"\n{LIBRARY}'
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(folder / "libnvidia-ml.so.1"), "-"]
    subprocess.run(command, input=source, text=True, check=True)
    return folder


def test_nvml_and_nvidia_smi_tell_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for directory in ("usr/share", "usr/bin", "shm"):
        (tmp_path / directory).mkdir(parents=True)
    gpus.install(tmp_path, "gpu-01", CARDS)
    data = tmp_path / "usr/share/lab-gpus.json"
    used = tmp_path / "used.json"
    used.write_text(json.dumps({"0": 9000, "3": 1234}))
    monkeypatch.setattr(nvidia_smi, "DATA", data)
    monkeypatch.setattr(nvidia_smi, "USED", used)
    monkeypatch.setattr(nvidia_smi, "TOLD", tmp_path / "shm")
    assert nvidia_smi.main([f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]) == 0

    told = [asdict(device) for device in parse(capsys.readouterr().out)]

    library(tmp_path, json.loads(data.read_text()), json.loads(used.read_text()))
    answer = read(tmp_path)
    assert answer["reason"] is None
    assert answer["devices"] == told
    assert [device["kind"] for device in told] == CARDS
    assert told[0]["memory_total"] - told[0]["memory_free"] > 9000 << 20
