"""Predicted token rates against published ones: the share inside the range, and how wide the range is.

    python benchmarks/token_rate.py

The rows and where they were published: benchmarks/data/token-rate.csv. The prediction is never a gate.
"""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

from ollama_fleet.artifacts.model_facts import Experts, LayerRun, ModelFacts
from ollama_fleet.planner.memory import FitOptions, GpuBudget, fit
from ollama_fleet.planner.speed import SpeedRange, token_rate

DATA = Path(__file__).parent / "data" / "token-rate.csv"

# Layers, and elements of K and V a token, of the models in the rows.
_LAYERS = {
    "Llama-3-8B": (32, 2048),
    "Llama-3-70B": (80, 2048),
    "Llama-2-7B": (32, 8192),
    "Llama-2-70B": (80, 2048),
    "R1-Distill-Qwen-7B": (28, 1024),
    "deepseek-r1:7b": (28, 1024),
    "qwen2.5:7b-instruct": (28, 1024),
    "R1-0528-Qwen3-8B": (36, 2048),
    "R1-Distill-Qwen-14B": (48, 2048),
    "R1-Distill-Qwen-32B": (64, 2048),
    "R1-Distill-Qwen-1.5B": (28, 512),
    "Llama-3.2-3B": (28, 2048),
    "llama3.2:3b": (28, 2048),
    "gpt-oss-20b": (24, 1024),
    "DeepSeek-R1 671B": (61, 576),
}


def predicted(row: dict[str, str]) -> SpeedRange | None:
    """The range for one row, all layers on GPUs of equal kind."""
    layers, width = _LAYERS[row["model"]]
    size, active, count = int(row["size_bytes"]), int(row["active_bytes"]), int(row["n_gpus"])
    mixture = row["case"] == "moe"
    share = active / size
    per_layer = size // layers
    facts = ModelFacts(
        architecture="qwen3moe" if mixture else "llama",
        quantization=row["quant"],
        block_count=layers,
        context_length=0,
        embedding_length=4096,
        vocabulary=0,
        heads=32,
        kv_heads=8,
        key_length=128,
        value_length=128,
        feed_forward=0 if mixture else 14336,
        token_embd_bytes=0,
        output_bytes=0,
        output_norm_bytes=0,
        layers=(
            LayerRun(
                layers,
                0 if mixture else per_layer,
                per_layer if mixture else 0,
                key_width=width // 2,
                value_width=width // 2,
            ),
        ),
        experts=Experts(10_000, round(10_000 * share)) if mixture else None,
    )
    bandwidth = int(float(row["mem_bw_gbps_per_gpu"]) * 1e9)
    unified = row["gpu"].startswith("M1") or "140V" in row["gpu"]
    gpus = tuple(GpuBudget(row["gpu"], 1 << 50, 1 << 50, bandwidth, unified) for _ in range(count))
    options = FitOptions(num_ctx=1024, num_gpu=layers + 1, spread=True, release="0.32.0")
    return token_rate(facts, fit(facts, gpus, options), gpus)


def main() -> None:
    """Print each row and the two figures."""
    inside, widths, errors = [], [], []
    with DATA.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        found = predicted(row)
        measured = float(row["tg_tps"])
        judged = row["case"] in ("dense-full-gpu", "moe")
        if found is None:
            continue
        told = "" if measured in found else "  outside"
        print(
            f"{row['n_gpus']:>2} × {row['gpu']:16} {row['model']:22} {row['quant']:7} measured {measured:7.1f}"
            f"   predicted {found.low:6.1f} … {found.expected:6.1f} … {found.high:6.1f}"
            f"{told if judged else '  not judged: ' + row['case']}"
        )
        if judged:
            inside.append(measured in found)
            widths.append(found.high / found.low)
            errors.append(abs(found.expected / measured - 1))
    print(
        f"\n{len(inside)} rows: {100 * sum(inside) / len(inside):.0f} % inside the range,"
        f" whose median width is {statistics.median(widths):.2f} (high / low);"
        f" median error of the expected rate {100 * statistics.median(errors):.0f} %"
    )


if __name__ == "__main__":
    main()
