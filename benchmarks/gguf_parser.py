"""gguf-parser-go itself, asked about the same models: a program around its library, built in a folder that goes away.

Needs Go and a module proxy (or a filled module cache). Where it cannot be built, why is printed, and the rest runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from rivals import MIB, Case

from ollama_fleet.artifacts.tensor_shapes import Shape
from unit.artifacts.gguf_files import shape_metadata, shape_tensors, write_model

MODULE = "github.com/gpustack/gguf-parser-go"
VERSION = "v0.28.1"
PROGRAM = """\
package main

import (
	"encoding/json"
	"os"
	"strconv"

	gguf "github.com/gpustack/gguf-parser-go"
)

func number(place int) int {
	value, err := strconv.Atoi(os.Args[place])
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	types := map[string]gguf.GGMLType{"f16": gguf.GGMLTypeF16, "q8_0": gguf.GGMLTypeQ8_0, "q4_0": gguf.GGMLTypeQ4_0}
	file, err := gguf.ParseGGUFFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	options := []gguf.GGUFRunEstimateOption{
		gguf.WithLLaMACppContextSize(int32(number(2))),
		gguf.WithLLaMACppPhysicalBatchSize(int32(number(3))),
		gguf.WithLLaMACppCacheKeyType(types[os.Args[4]]),
		gguf.WithLLaMACppCacheValueType(types[os.Args[5]]),
		gguf.WithLLaMACppOffloadLayers(1 << 20),
	}
	if os.Args[6] == "flash" {
		options = append(options, gguf.WithFlashAttention())
	}
	gpu := file.EstimateLLaMACppRun(options...).Devices[1]
	json.NewEncoder(os.Stdout).Encode(map[string]uint64{
		"footprint": uint64(gpu.Footprint),
		"weights":   uint64(gpu.Weight.Sum()),
		"kv":        uint64(gpu.KVCache.Sum()),
		"compute":   uint64(gpu.Computation.Sum()),
	})
}
"""


class Unbuilt(Exception):
    """Why the program could not be built; one line."""


@dataclass(frozen=True)
class GgufParser:
    """The built program and a folder for headers."""

    program: Path
    folder: Path

    @classmethod
    def build(cls, folder: Path) -> GgufParser:
        """Build it in a folder. Raises Unbuilt."""
        go = shutil.which("go")
        if go is None:
            raise Unbuilt("there is no Go here")
        (folder / "main.go").write_text(PROGRAM)
        environment = {
            **os.environ,
            "GOFLAGS": "-mod=mod -modcacherw",
            "GOPATH": str(folder / "go"),
            "GOWORK": "off",
        }
        for command in (
            (go, "mod", "init", "rival"),
            (go, "get", f"{MODULE}@{VERSION}"),
            (go, "build", "-o", "rival", "."),
        ):
            try:
                done = subprocess.run(
                    command,
                    cwd=folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=300,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise Unbuilt(f"`{' '.join(command[1:])}` took more than five minutes") from None
            if done.returncode:
                raise Unbuilt((done.stderr.strip().splitlines() or ["go says nothing"])[-1])
        return cls(folder / "rival", folder)

    def total(self, case: Case, shape: Shape, quantization: str, weights: float | None) -> float:
        """MiB on the GPU with all layers there; `weights` stand in for its own where the file's types are unknown."""
        options = case.options
        path = self.folder / f"{shape.architecture}-{shape.layers}-{shape.embedding}-{quantization}.gguf"
        if not path.exists():
            write_model(
                path,
                shape_tensors(shape, quantization),
                shape_metadata(shape),
                architecture=shape.architecture,
                file_type=15,
                vocabulary=(f"word {number:08}" for number in range(shape.vocabulary)),
            )
        arguments = (path, options.num_ctx, case.batch, options.kv_type_k, options.kv_type_v)
        command = [str(self.program), *map(str, arguments), "flash" if case.flash else "plain"]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        own = found["weights"] / MIB if weights is None else weights
        return float(own + (found["kv"] + found["compute"]) / MIB)
