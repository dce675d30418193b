"""Running out of memory is recognised in every generation's words, and nothing else is taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.errors import Refused
from ollama_fleet.api.out_of_memory import Running, advice, explained, in_words, out_of_memory
from ollama_fleet.artifacts.families import find_model
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.planner.memory import Estimate, FitOptions, budget_of_size, fit

MIB = 2**20
GIB = 2**30

# What the API answered or the log said: (words, where, term, bytes).
AT_LOAD = [
    # to 0.9
    ("llama runner process has terminated: cudaMalloc failed: out of memory", "gpu", None, None),
    (
        "llama runner process has terminated: error loading model: unable to allocate CUDA0 buffer",
        "gpu",
        "weights",
        None,
    ),
    ("model requires more system memory (18.5 GiB) than is available (7.2 GiB)", "host", None, None),
    # 0.11 to 0.24
    ("memory layout cannot be allocated with num_gpu = 49", "gpu", None, None),
    ("memory layout cannot be allocated", "gpu", None, None),
    ("failed to allocate memory for model", "unknown", None, None),
    ("failed to commit memory for model", "gpu", None, None),
    ("panic: insufficient memory - required allocations: {InputWeights:}", "gpu", None, None),
    # from 0.30
    (
        "llama-server process has terminated: exit status 1: cudaMalloc failed: out of memory\n"
        "alloc_tensor_range: failed to allocate CUDA0 buffer of size 19413336064\n"
        "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
        "gpu",
        "weights",
        19413336064,
    ),
    (
        "llama-server reported out-of-memory during startup: "
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 2048.00 MiB on device 0: cudaMalloc failed: "
        "out of memory\nllama_init_from_model: failed to initialize the context: "
        "failed to allocate buffer for kv cache",
        "gpu",
        "kv",
        2048 * MIB,
    ),
    (
        "ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 1398145024\n"
        "graph_reserve: failed to allocate compute buffers",
        "gpu",
        "compute",
        1398145024,
    ),
    ("ggml_vulkan: Device memory allocation of size 1 failed. vk::ErrorOutOfDeviceMemory", "gpu", None, None),
    ("ggml_metal: Insufficient Memory (kIOGPUCommandBufferCallbackErrorOutOfMemory)", "gpu", None, None),
    ("hipMalloc failed", "gpu", None, None),
    ("llama runner process has terminated: signal: killed", "host", None, None),
]

LATE = [
    "CUDA error: out of memory\n  current device: 0, in function alloc at ggml-cuda.cu:532\n"
    "  cuMemSetAccess(pool_addr + pool_size, reserve_size, &access, 1)",
    "an error was encountered while running the model: CUDA error: out of memory",
    "an error was encountered while running the model: ROCm error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
]

HARMLESS = [
    "",
    "llama_context: graph reserve failed, retrying without pipeline parallelism: cudaMalloc failed: out of memory",
    "ggml_cuda_host_malloc: failed to allocate 512.00 MiB of pinned memory: no CUDA-capable device is detected",
    "load_all_data: failed to allocate host buffer for async uploads for device CUDA0",
    'level=INFO msg="model layout did not fit, applying backoff" backoff=0.10',
    "model 'x' not found",
    'option "num_gpu" must be of type integer',
    "llama runner process has terminated: error loading model: unknown model architecture: 'x'",
    "timed out waiting for llama-server to start - progress 0.50",
    "load_tensors: CUDA0 model buffer size = 18508.35 MiB",
]


@pytest.mark.parametrize(("words", "where", "term", "size"), AT_LOAD)
def test_words_at_load(words: str, where: str, term: str | None, size: int | None) -> None:
    found = out_of_memory(words)
    assert found is not None
    assert (found.when, found.where, found.term, found.size) == ("load", where, term, size)
    assert found.certain


@pytest.mark.parametrize("words", LATE)
def test_late_words(words: str) -> None:
    found = out_of_memory(words, "late")
    assert found is not None
    assert (found.when, found.where, found.term, found.certain) == ("late", "gpu", "growth", True)


@pytest.mark.parametrize("words", HARMLESS)
def test_what_is_not_out_of_memory(words: str) -> None:
    assert out_of_memory(words) is None


def test_a_benign_line_does_not_hide_the_real_one_after_it() -> None:
    text = f"{HARMLESS[1]}\nCUDA error: out of memory"
    found = out_of_memory(text)
    assert found is not None
    assert found.words == "CUDA error: out of memory"


def test_a_crash_of_unknown_reason_is_only_likely() -> None:
    words = (
        "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
        "check ollama server logs for details"
    )
    found = out_of_memory(words, "late")
    assert found is not None
    assert not found.certain
    assert "most likely" in explained(found)
    with_reason = out_of_memory(f"{words}: CUDA error: out of memory", "late")
    assert with_reason is not None
    assert with_reason.certain


def test_a_kill_in_the_kernels_log() -> None:
    found = out_of_memory("kernel: Out of memory: Killed process 812 (ollama) total-vm:9000kB")
    assert found is not None
    assert found.where == "host"


def estimate() -> Estimate:
    known = find_model(ModelName.parse("deepseek-r1:32b"))
    assert known is not None
    return fit(known.facts, [budget_of_size(24 * GIB)], FitOptions(num_ctx=8192, num_gpu=65, num_batch=512))


def test_the_term_that_was_larger_than_planned_is_named() -> None:
    plan = estimate()
    size = plan.devices[0].compute + 300 * MIB
    words = f"graph_reserve: failed to allocate compute buffers, buffer of size {size}"
    found = out_of_memory(words)
    assert found is not None
    said = explained(found, plan, Running(8192, 65))
    assert "at the compute buffer of" in said
    assert "300 MiB less" in said
    assert said.index("num_batch") < said.index("num_gpu")


def test_the_advice_fits_the_term() -> None:
    cache = out_of_memory("failed to allocate buffer for kv cache")
    assert cache is not None
    first, second, *_ = advice(cache, Running(8192, 40, "f16"))
    assert "num_ctx from 8192" in first
    assert "q8_0" in second
    assert not any("q8_0" in word for word in advice(cache, Running(8192, 40, "q8_0"))), "it has that already"
    host = out_of_memory("model requires more system memory (2 GiB) than is available (1 GiB)")
    assert host is not None
    assert not any("num_ctx" in word for word in advice(host))


@given(st.text())
def test_any_text_is_read_without_trouble(text: str) -> None:
    found = out_of_memory(text)
    assert found is None or "\n" not in explained(found)


@pytest.mark.parametrize(("status", "when"), [(500, "while loading"), (None, "while it answered")])
def test_an_error_in_words(status: int | None, when: str) -> None:
    said = in_words(Refused("POST /api/generate: CUDA error: out of memory", status))
    assert said.startswith(f"the GPU ran out of memory {when}")
    assert said.endswith("(POST /api/generate: CUDA error: out of memory)")
    other = Refused("POST /api/generate: model 'x' not found", 404)
    assert in_words(other) == str(other)
