"""The environment variables that an Ollama server reads: what each holds, and which releases read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ollama_fleet.spec.values import ReleaseVersion

Numbers = tuple[int, int, int]


class Kind(Enum):
    """What a variable holds, and so how its value is read and written."""

    BOOLEAN = "true or false"
    COUNT = "a whole number, 0 or more"
    DURATION = "a duration such as 30s, 5m, 24h, or -1 for ever"
    BYTES = "a size such as 512MiB"
    MIB = "a size such as 1024MiB; a bare number is MiB"
    WORDS = "a list of words"
    ORIGINS = "a list of origins such as https://chat.example or http://*.lan"
    TEXT = "text"
    CHOICE = "one of a few words"
    DEVICES = "device numbers or UUIDs, as a list or separated by commas; -1 for none"
    URL = "a URL"


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable of the server; ``until`` is the first release that no longer reads it."""

    name: str
    kind: Kind
    about: str
    since: Numbers | None = None
    until: Numbers | None = None
    choices: tuple[str, ...] = ()


KV_CACHE_TYPES = ("f16", "q8_0", "q4_0")
"""What every release takes; 0.30.0 and later hand the word to the engine, which knows more."""
KV_CACHE_TYPES_SINCE_0_30 = ("f32", "bf16", "q5_0", "q5_1", "q4_1", "iq4_nl")

_TABLE = (
    Variable("OLLAMA_KEEP_ALIVE", Kind.DURATION, "How long a model stays loaded after its last request."),
    Variable("OLLAMA_LOAD_TIMEOUT", Kind.DURATION, "How long a load may stall before it is given up."),
    Variable("OLLAMA_MAX_LOADED_MODELS", Kind.COUNT, "Models loaded at once; 0 lets Ollama choose."),
    Variable("OLLAMA_NUM_PARALLEL", Kind.COUNT, "Requests at once per model; the KV cache grows with it."),
    Variable("OLLAMA_MAX_QUEUE", Kind.COUNT, "Requests that wait before the server answers 503."),
    Variable("OLLAMA_CONTEXT_LENGTH", Kind.COUNT, "Context of requests to models that name none."),
    Variable("OLLAMA_FLASH_ATTENTION", Kind.BOOLEAN, "Flash attention on or off; unset lets Ollama choose."),
    Variable(
        "OLLAMA_KV_CACHE_TYPE",
        Kind.CHOICE,
        "Type of the KV cache; f16 is the default.",
        choices=KV_CACHE_TYPES + KV_CACHE_TYPES_SINCE_0_30,
    ),
    Variable("OLLAMA_GPU_OVERHEAD", Kind.BYTES, "VRAM to leave free on each GPU; only logged since 0.30.0."),
    Variable("OLLAMA_SCHED_SPREAD", Kind.BOOLEAN, "Spread a model over all GPUs even where one would do."),
    Variable("OLLAMA_LLM_LIBRARY", Kind.TEXT, "The engine's library folder, such as cuda_v13."),
    Variable("OLLAMA_VULKAN", Kind.BOOLEAN, "Use the Vulkan backend.", since=(0, 12, 11)),
    Variable("OLLAMA_IGPU_ENABLE", Kind.BOOLEAN, "Use integrated GPUs.", since=(0, 30, 0)),
    Variable("OLLAMA_GO_TEMPLATE", Kind.BOOLEAN, "Use the Modelfile's template.", since=(0, 30, 0)),
    Variable(
        "OLLAMA_ORIGINS", Kind.ORIGINS, "Origins that browsers may call from, beside the built-in ones."
    ),
    Variable("OLLAMA_NOPRUNE", Kind.BOOLEAN, "Keep blobs that no model uses."),
    Variable("OLLAMA_NO_CLOUD", Kind.BOOLEAN, "Switch off models that run elsewhere.", since=(0, 16, 2)),
    Variable("OLLAMA_REMOTES", Kind.WORDS, "Hosts that remote models may name.", since=(0, 12, 0)),
    Variable("OLLAMA_MAX_TRANSFER_STREAMS", Kind.COUNT, "Parallel tensor transfers.", since=(0, 23, 3)),
    Variable("OLLAMA_DEBUG", Kind.COUNT, "1 logs for debugging, 2 traces."),
    Variable("OLLAMA_DEBUG_LOG_REQUESTS", Kind.BOOLEAN, "Write request bodies to files.", since=(0, 18, 3)),
    Variable("OLLAMA_AUTH", Kind.BOOLEAN, "The client signs its requests.", since=(0, 8, 0)),
    Variable("OLLAMA_EDITOR", Kind.TEXT, "Editor of the interactive prompt."),
    Variable("OLLAMA_NOHISTORY", Kind.BOOLEAN, "No history at the interactive prompt."),
    Variable("OLLAMA_NEW_ENGINE", Kind.BOOLEAN, "Ollama's own engine.", until=(0, 30, 0)),
    Variable("OLLAMA_MULTIUSER_CACHE", Kind.BOOLEAN, "Prompt caching for many users.", until=(0, 30, 0)),
    Variable(
        "OLLAMA_NEW_ESTIMATES", Kind.BOOLEAN, "Measured memory layouts.", since=(0, 11, 5), until=(0, 11, 11)
    ),
    Variable(
        "LLAMA_ARG_FIT", Kind.CHOICE, "The engine fits layers itself.", (0, 30, 0), choices=("on", "off")
    ),
    Variable("LLAMA_ARG_FIT_TARGET", Kind.MIB, "VRAM that fitting leaves free per GPU.", (0, 30, 0)),
    Variable("CUDA_VISIBLE_DEVICES", Kind.DEVICES, "NVIDIA GPUs that the server may use."),
    Variable("ROCR_VISIBLE_DEVICES", Kind.DEVICES, "AMD GPUs that the server may use."),
    Variable("HIP_VISIBLE_DEVICES", Kind.DEVICES, "AMD GPUs that the server may use."),
    Variable("GPU_DEVICE_ORDINAL", Kind.DEVICES, "AMD GPUs that the server may use."),
    Variable("GGML_VK_VISIBLE_DEVICES", Kind.DEVICES, "Vulkan devices that the server may use."),
    Variable("HSA_OVERRIDE_GFX_VERSION", Kind.TEXT, "Treat AMD GPUs as this one, such as 10.3.0."),
    Variable("JETSON_JETPACK", Kind.TEXT, "The JetPack generation, where it is not found."),
    Variable("HTTP_PROXY", Kind.URL, "Proxy for plain HTTP."),
    Variable("HTTPS_PROXY", Kind.URL, "Proxy that pulls go through."),
    Variable("NO_PROXY", Kind.WORDS, "Hosts that are reached without the proxy."),
)

VARIABLES: Mapping[str, Variable] = {variable.name: variable for variable in _TABLE}
"""The variables that are known, by name."""

OWNED = {
    "OLLAMA_HOST": "listen",
    "OLLAMA_MODELS": "models_dir",
    "LLAMA_ARG_N_GPU_LAYERS": "num_gpu",
    "LLAMA_ARG_CTX_SIZE": "num_ctx",
}
"""Variables that another key writes, with that key."""

GONE = {
    "OLLAMA_INTEL_GPU": "releases from 0.9.0 on do not read it",
    "OLLAMA_MAX_VRAM": "releases from 0.7.0 on do not read it",
    "OLLAMA_TMPDIR": "releases from 0.9.0 on do not read it",
}
"""Variables that no release supported here reads."""


def unread_by(name: str, value: str, release: ReleaseVersion) -> str | None:
    """Why a release would not read a variable as meant, in words; ``None`` where it does."""
    variable = VARIABLES.get(name)
    if variable is None:
        return None
    if variable.since is not None and release.numbers < variable.since:
        return f"{name} came with {_dotted(variable.since)}; release {release} does not read it"
    if variable.until is not None and release.numbers >= variable.until:
        return f"{name} was removed in {_dotted(variable.until)}; release {release} does not read it"
    if name == "OLLAMA_KV_CACHE_TYPE" and value in KV_CACHE_TYPES_SINCE_0_30 and release.numbers < (0, 30, 0):
        return f"release {release} knows the KV types {', '.join(KV_CACHE_TYPES)} only"
    return None


def _dotted(numbers: Numbers) -> str:
    return ".".join(map(str, numbers))
