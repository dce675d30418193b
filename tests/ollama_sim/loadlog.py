"""What the log says while a model loads."""

from __future__ import annotations

from collections.abc import Mapping

from ollama_sim import golog
from ollama_sim.machine import Machine
from ollama_sim.memory import MIB, DoesNotFitError, Layout, Share
from ollama_sim.model import Model
from ollama_sim.options import RunnerOptions


def told(llama_server: bool, model: Model, options: RunnerOptions, layout: Layout, machine: Machine) -> None:
    """Log a load that went well, in the words of the generation."""
    devices = {gpu.id: f"{gpu.library}{number}" for number, gpu in enumerate(machine.gpus)}
    given = "" if options.num_gpu < 0 else f" -ngl {options.num_gpu}"
    if llama_server:
        command = f"llama-server --model {model.file} -c {options.num_ctx}{given}"
        golog.log("INFO", "llama_server.go:433", "starting llama-server", cmd=command)
    else:
        golog.log("INFO", "server.go:433", "starting runner", cmd=f"ollama runner --model {model.file}")
    total, free = golog.human(machine.memory), golog.human(machine.memory_free)
    golog.log("INFO", "sched.go:484", "system memory", total=total, free=free, free_swap="0 B")
    if not llama_server and not machine.get("unparsed_buffers"):
        _device_lines(layout, devices, options.num_gpu)
    if not llama_server and machine.get("ollama_engine"):
        _ollama_engine_lines(layout)
    else:
        # With `num_gpu` 0 the engine gets no libraries for GPUs, and so says nothing of layers.
        known = devices if options.num_gpu else {}
        _llama_lines(layout, known, llama_server, sizes=not machine.get("unparsed_buffers"))
    what = "llama-server" if llama_server else "llama runner"
    golog.log("INFO", "server.go:1432", f"{what} started in 0.25 seconds")


def _llama_lines(layout: Layout, devices: Mapping[str, str], llama_server: bool, *, sizes: bool) -> None:
    """What llama.cpp says, inside a runner or as llama-server; of layers only where it knows of GPUs."""
    if devices:
        repeating = min(layout.offloaded, layout.layers - 1)
        if layout.offloaded == layout.layers:
            golog.raw("load_tensors: offloading output layer to GPU")
        golog.raw(f"load_tensors: offloading {repeating} repeating layers to GPU")
        golog.raw(f"load_tensors: offloaded {layout.offloaded}/{layout.layers} layers to GPU")
    if not sizes:
        return
    compute = "sched_reserve" if llama_server else "llama_context"
    for place, share in _places(layout, devices).items():
        golog.raw(f"load_tensors: {place:>12} model buffer size = {share.weights / MIB:8.2f} MiB")
    for place, share in _places(layout, devices).items():
        golog.raw(f"llama_kv_cache: {place:>10} KV buffer size = {share.kv / MIB:8.2f} MiB")
        golog.raw(f"{compute}: {place:>10} compute buffer size = {share.graph / MIB:8.2f} MiB")


def _ollama_engine_lines(layout: Layout) -> None:
    """What Ollama's own engine says; it counts layers on every machine."""
    repeating = min(layout.offloaded, layout.layers - 1)
    output = "GPU" if layout.offloaded == layout.layers else "CPU"
    golog.log("INFO", "ggml.go:490", f"offloading {repeating} repeating layers to GPU")
    golog.log("INFO", "ggml.go:494", f"offloading output layer to {output}")
    golog.log("INFO", "ggml.go:502", f"offloaded {layout.offloaded}/{layout.layers} layers to GPU")


def out_of_memory(error: DoesNotFitError) -> list[str]:
    """What the engine says when a device runs out of memory while loading."""
    size = error.size
    asked = f"allocating {size / MIB:.2f} MiB on device 0: cudaMalloc failed: out of memory"
    lines = [f"ggml_backend_cuda_buffer_type_alloc_buffer: {asked}"]
    match error.term:
        case "weights":
            lines.append(f"alloc_tensor_range: failed to allocate CUDA0 buffer of size {size}")
            lines.append("llama_model_load: error loading model: unable to allocate CUDA0 buffer")
        case "kv":
            words = "failed to allocate buffer for kv cache"
            lines.append(f"llama_init_from_model: failed to initialize the context: {words}")
        case _:
            lines.append(f"ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size {size}")
            lines.append("graph_reserve: failed to allocate compute buffers")
    return lines


LATE_OUT_OF_MEMORY = (
    "CUDA error: out of memory",
    "  current device: 0, in function alloc at ggml-cuda.cu:532",
    "  cuMemSetAccess(pool_addr + pool_size, reserve_size, &access, 1)",
)
"""What the engine says when a device runs out of memory in the middle of an answer."""


def _places(layout: Layout, devices: Mapping[str, str]) -> dict[str, Share]:
    places = {devices[gpu]: share for gpu, share in layout.gpus.items()}
    return places | ({"CPU": layout.host} if layout.host.total or not places else {})


def _device_lines(layout: Layout, devices: Mapping[str, str], requested: int) -> None:
    """The summary of releases up to 0.24, which lay models out themselves."""
    attributes: dict[str, object] = {"model layers": layout.layers, "requested": requested}
    golog.log("INFO", "server.go:532", "loading model", **attributes)
    for words, part in (("model weights", "weights"), ("kv cache", "kv"), ("compute graph", "graph")):
        for place, share in _places(layout, devices).items():
            if size := getattr(share, part):
                golog.log("INFO", "device.go:245", words, device=place, size=golog.human(size))
    golog.log("INFO", "device.go:272", "total memory", size=golog.human(layout.total))
