"""How much memory a model takes, term by term, on each GPU and on the host.

`fit` is the one question: one model, one machine, one set of options. It is pure arithmetic on facts: nothing
is read, started or measured. All sizes are bytes.
"""

from ollama_fleet.planner.memory.budget import GpuBudget, budget_of, budget_of_size, budgets_of
from ollama_fleet.planner.memory.engine import Generation, generation_of
from ollama_fleet.planner.memory.estimate import DeviceMemory, Estimate, HostMemory
from ollama_fleet.planner.memory.fitting import fit
from ollama_fleet.planner.memory.options import FitOptions, KvType

__all__ = [
    "DeviceMemory",
    "Estimate",
    "FitOptions",
    "Generation",
    "GpuBudget",
    "HostMemory",
    "KvType",
    "budget_of",
    "budget_of_size",
    "budgets_of",
    "fit",
    "generation_of",
]
