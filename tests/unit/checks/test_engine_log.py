"""Loads read from the engine's log: lines of all generations, and any lines at all.

The lines of llama-server are those in its sources' own tests (v0.32.15, llm/llama_server_test.go); the others are put
together from the statements that print them in v0.9.6 and v0.24.0, and were not recorded on a GPU.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.checks.engine_log import HOST, MIB, fields, go_map, last_load, parse_loads, parse_start

BLOB = "ab" * 32
OTHER = "cd" * 32
GIB = 1 << 30


def start(message: str, command: str) -> str:
    return f'time=2026-08-20T10:00:00.000Z level=INFO source=server.go:433 msg="{message}" cmd="{command}"'


def slog(message: str, **more: str) -> str:
    pairs = " ".join(f'{key}="{value}"' for key, value in more.items())
    return f'time=2026-08-20T10:00:00.000Z level=INFO source=x.go:1 msg="{message}" {pairs}'


MODEL = f"/usr/share/ollama/.ollama/models/blobs/sha256-{BLOB}"
FIRST = start(
    "starting llama server", f"/usr/bin/ollama runner --model {MODEL} --ctx-size 8192 --n-gpu-layers 33"
)
SECOND = start("starting runner", f"/usr/bin/ollama runner --ollama-engine --model {MODEL} --port 4711")
THIRD = start(
    "starting llama-server", f"/opt/lib/ollama/llama-server --model {MODEL} --port 4711 -c 8192 -np 1"
)
SEARCH = start("starting runner", "/usr/bin/ollama runner --ollama-engine --port 40001")

LLAMA_CPP = [
    "load_tensors: offloading 32 repeating layers to GPU",
    "load_tensors: offloading output layer to GPU",
    "load_tensors: offloaded 33/33 layers to GPU",
    "load_tensors:        CUDA0 model buffer size =  4155.99 MiB",
    "load_tensors:   CPU_Mapped model buffer size =   281.81 MiB",
    "llama_kv_cache_unified:      CUDA0 KV buffer size =  1024.00 MiB",
    "llama_context:      CUDA0 compute buffer size =   560.00 MiB",
    "llama_context:  CUDA_Host compute buffer size =    24.01 MiB",
]


def test_first_generation_with_its_estimate() -> None:
    offload = (
        "time=2025-06-01T10:00:00.000Z level=INFO source=server.go:175 msg=offload library=cuda "
        'layers.requested=-1 layers.model=33 layers.offload=20 layers.split="" memory.available="[7.6 GiB]"'
    )
    (estimated,) = parse_loads([offload, FIRST])
    assert (estimated.offloaded, estimated.layers, estimated.full) == (20, 33, False)
    (told,) = parse_loads([offload, FIRST, *LLAMA_CPP])
    assert (told.offloaded, told.layers, told.full) == (33, 33, True)
    (later,) = parse_loads([offload, FIRST, FIRST.replace(BLOB, OTHER)])[1:]
    assert later.offloaded is None, "an estimate is of the load that follows it, and of no other"


@pytest.mark.parametrize("line", [FIRST, SECOND, THIRD])
def test_llama_cpp_in_every_generation(line: str) -> None:
    (load,) = parse_loads([line, *LLAMA_CPP])
    assert load.blob == BLOB
    assert load.exact
    assert load.devices["CUDA0"].kv == 1024 * MIB
    assert load.devices["CUDA0"].weights == round(4155.99 * MIB)
    assert load.vram == round(4155.99 * MIB) + 1584 * MIB
    assert load.places[HOST].weights == round(281.81 * MIB)
    assert load.places[HOST].compute == round(24.01 * MIB)


def test_ollamas_own_engine() -> None:
    (load,) = parse_loads(
        [
            SEARCH,
            SECOND,
            slog("offloading 24 repeating layers to GPU"),
            slog("offloading output layer to CPU"),
            slog("offloaded 24/25 layers to GPU"),
            slog("model weights", device="CUDA0", size="11.8 GiB"),
            slog("model weights", device="CPU", size="1.1 GiB"),
            slog("kv cache", device="CUDA0", size="300.0 MiB"),
            slog("compute graph", device="CUDA0", size="126.8 MiB"),
            slog("compute graph", device="CPU", size="5.6 MiB"),
            slog("total memory", size="13.3 GiB"),
            slog("llama runner started in 2.53 seconds"),
        ]
    )
    assert (load.offloaded, load.layers, load.full, load.started) == (24, 25, False, True)
    assert not load.exact
    assert load.devices["CUDA0"].weights == round(11.8 * GIB)
    assert load.devices["CUDA0"].kv == 300 * MIB
    assert load.places[HOST].compute == round(5.6 * MIB)


def test_ollamas_own_engine_of_the_first_generation_names_buffers() -> None:
    lines = [
        slog("model weights", buffer="CUDA0", size="3.1 GiB"),
        slog("compute graph", backend="CUDA0", buffer_type="CUDA_Host", size="10.0 MiB"),
    ]
    (load,) = parse_loads([FIRST, *lines])
    assert load.devices["CUDA0"].weights == round(3.1 * GIB)
    assert load.places[HOST].compute == 10 * MIB


def test_the_last_of_each_counts_since_fitting_prints_the_same_lines() -> None:
    """Two devices; lines as in llama-server's own tests, first of the trial and then of the load."""
    lines = [
        "load_tensors: offloaded 0/33 layers to GPU",
        "load_tensors:        CUDA0 model buffer size =     0.00 MiB",
        "llama_kv_cache:      CUDA0 KV buffer size =     0.00 MiB",
        "sched_reserve:      CUDA1 compute buffer size =  6436.28 MiB",
        "load_tensors: offloaded 33/33 layers to GPU",
        "load_tensors:          CPU model buffer size =   682.03 MiB",
        "load_tensors:        CUDA0 model buffer size =  8171.01 MiB",
        "load_tensors:        CUDA1 model buffer size =  6618.25 MiB",
        "llama_kv_cache:      CUDA0 KV buffer size =  9216.00 MiB",
        "llama_memory_recurrent:      CUDA0 RS buffer size =    90.40 MiB",
        "sched_reserve:      CUDA0 compute buffer size =  9952.25 MiB",
        "sched_reserve:      CUDA1 compute buffer size =  6276.28 MiB",
        "alloc_compute_meta:      CUDA0 compute buffer size =   248.10 MiB",
        "sched_reserve:  CUDA_Host compute buffer size =  8272.31 MiB",
    ]
    (load,) = parse_loads([THIRD, *lines])
    assert load.full
    assert sorted(load.devices) == ["CUDA0", "CUDA1"]
    assert load.devices["CUDA0"].kv == round(9216.00 * MIB) + round(90.40 * MIB)
    assert load.devices["CUDA0"].compute == round(9952.25 * MIB) + round(248.10 * MIB)
    assert load.devices["CUDA1"].compute == round(6276.28 * MIB)


def test_layers_that_overflow_are_no_full_offload() -> None:
    lines = [
        "common_params_fit_impl:   - ROCm0 (AMD Radeon RX 6700 XT): 25 layers ( 5 overflowing),  "
        "11065 MiB used,   1036 MiB free",
        "llm_load_tensors: offloaded 25/25 layers to GPU",
    ]
    (load,) = parse_loads([THIRD, *lines])
    assert (load.offloaded, load.overflowing, load.full) == (25, 5, False)


def test_a_build_for_the_cpu_says_nothing_of_layers() -> None:
    (load,) = parse_loads([SECOND, "load_tensors:   CPU model buffer size =   308.23 MiB"])
    assert (load.offloaded, load.full, load.vram) == (None, None, 0)


def test_device_mapped_buffers_are_the_devices() -> None:
    (load,) = parse_loads([THIRD, "load_tensors:  MTL0_Mapped model buffer size =  1918.35 MiB"])
    assert list(load.devices) == ["MTL0"]


def test_the_last_load_of_a_file() -> None:
    lines = [
        THIRD,
        *LLAMA_CPP,
        THIRD.replace(BLOB, OTHER),
        THIRD,
        "load_tensors: offloaded 1/33 layers to GPU",
    ]
    load = last_load(lines, BLOB)
    assert load is not None
    assert load.offloaded == 1
    assert last_load(lines, "ef" * 32) is None


def test_a_warning_that_precedes_the_start_belongs_to_it() -> None:
    words = "OLLAMA_FLASH_ATTENTION must be enabled to use a quantized OLLAMA_KV_CACHE_TYPE"
    warning = f'time=x level=WARN source=server.go:239 msg="{words}" type=q8_0'
    first, second = parse_loads([SECOND, *LLAMA_CPP, warning, SECOND.replace(BLOB, OTHER)])
    assert (first.warnings, second.warnings) == ((), (words,))


CONFIG = (
    'time=2026-08-20T10:00:00.000Z level=INFO source=routes.go:1951 msg="server config" env="map[CUDA_VISIBLE_DEVICES: '
    "HTTP_PROXY: OLLAMA_FLASH_ATTENTION:true OLLAMA_HOST:http://0.0.0.0:11434 OLLAMA_KEEP_ALIVE:24h0m0s "
    "OLLAMA_MODELS:/srv/ollama models/m OLLAMA_ORIGINS:[http://localhost https://localhost http://localhost:* app://*] "
    'http_proxy: no_proxy:]"'
)


def test_what_the_server_made_of_its_environment() -> None:
    told = parse_start(
        [
            CONFIG,
            slog("inference compute", id="GPU-1", library="CUDA", description="NVIDIA GeForce RTX 4090"),
            "noise",
        ]
    )
    assert told.config is not None
    assert told.config["OLLAMA_MODELS"] == "/srv/ollama models/m"
    assert told.config["OLLAMA_ORIGINS"].startswith("[http://localhost https://localhost")
    assert (told.config["CUDA_VISIBLE_DEVICES"], told.config["no_proxy"]) == ("", "")
    assert [device.library for device in told.devices] == ["CUDA"]
    again = parse_start([CONFIG, slog("inference compute", id="x", library="CUDA"), CONFIG])
    assert again.devices == (), "the devices of an earlier start are not those of the last"


NAMES = st.text("ABCDEFXYZ_", min_size=1, max_size=9).map("OLLAMA_".__add__)
VALUES = st.text("abcxyz019/. ", max_size=12).map(str.strip)


@given(st.dictionaries(NAMES, VALUES))
def test_any_map_is_read_back(values: dict[str, str]) -> None:
    shown = "map[" + " ".join(f"{key}:{values[key]}" for key in sorted(values)) + "]"
    assert go_map(shown) == values


@given(st.text().filter(lambda text: "\n" not in text))
def test_any_quoted_value_is_read_back(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("\r", "\\r")
    if quoted.isprintable():
        assert fields(f'level=INFO msg=x cmd="{quoted}" after=1')["cmd"] == value


LINES = st.one_of(
    st.sampled_from([FIRST, SECOND, THIRD, SEARCH, CONFIG, *LLAMA_CPP]),
    st.text(),
    st.from_regex(
        r"load_tensors: +[A-Z]{1,4}[0-9_A-Za-z]{0,6} (model|KV|compute) buffer size = +[0-9.]{1,20} MiB"
    ),
    st.from_regex(
        r'msg="(offloaded [0-9]{1,9}/[0-9]{1,9} layers to GPU|kv cache)" (device|size)="?[^"\n]{0,9}"?'
    ),
)


@given(st.lists(LINES))
def test_any_log_is_read_and_sums_are_sums(lines: list[str]) -> None:
    loads = parse_loads(lines)
    parse_start(lines)
    for load in loads:
        assert all(terms.total > 0 for terms in load.places.values())
        assert load.vram == sum(terms.total for terms in load.devices.values())
        assert (load.offloaded is None) == (load.layers is None)


@given(
    st.lists(
        st.tuples(st.sampled_from(["CUDA0", "CUDA1", "CPU"]), st.integers(1, 10**7)), min_size=1, max_size=9
    )
)
def test_the_last_size_of_each_place_is_taken(sizes: list[tuple[str, int]]) -> None:
    lines = [f"load_tensors: {place:>12} model buffer size = {size / 100:8.2f} MiB" for place, size in sizes]
    (load,) = parse_loads([THIRD, *lines])
    expected = {HOST if place == "CPU" else place: round(size / 100 * MIB) for place, size in sizes}
    assert {place: terms.weights for place, terms in load.places.items()} == expected
