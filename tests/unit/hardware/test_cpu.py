"""What a machine without a GPU has: memory, processors, and the speed of the memory."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.hardware import HardwareError
from ollama_fleet.hardware.cpu import memory_bandwidth_gb_s, memory_bus, parse_cpuinfo, parse_meminfo

MEMINFO = """\
MemTotal:       24684092 kB
MemFree:        24060856 kB
MemAvailable:   24279504 kB
Buffers:            7200 kB
SwapTotal:             0 kB
HugePages_Total:       0
"""


def cpuinfo(model: str, sockets: int, cores: int, threads_per_core: int) -> str:
    """Write the fields that the kernel writes for x86, in its order."""
    blocks = []
    for thread in range(threads_per_core):
        for socket in range(sockets):
            for core in range(cores):
                number = (thread * sockets + socket) * cores + core
                blocks.append(
                    f"processor\t: {number}\nvendor_id\t: AuthenticAMD\nmodel name\t: {model}\n"
                    f"physical id\t: {socket}\nsiblings\t: {cores * threads_per_core}\ncore id\t\t: {core}\n"
                    f"cpu cores\t: {cores}\nflags\t\t: fpu avx2 avx512f\npower management:\n"
                )
    return "\n".join(blocks)


# An Arm server names no model and no cores.
ARM = "".join(
    f"processor\t: {n}\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\n" for n in range(4)
)


def test_memory_in_bytes() -> None:
    memory = parse_meminfo(MEMINFO)
    assert memory.total == 24684092 * 1024
    assert memory.available == 24279504 * 1024


def test_an_old_kernel_does_not_tell_what_is_available() -> None:
    assert parse_meminfo("MemTotal:  1024 kB\nMemFree: 10 kB\n").available is None


@pytest.mark.parametrize(
    "text", ["", "MemTotal: lots kB\n", "MemFree: 5 kB\n", "MemTotal: 0 kB\n", "\x00" * 1000]
)
def test_what_is_not_meminfo_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(HardwareError, match="MemTotal") as caught:
        parse_meminfo(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("sockets", "cores", "per_core"), [(1, 1, 1), (1, 128, 2), (2, 64, 2), (4, 18, 1)])
def test_processors_are_counted(sockets: int, cores: int, per_core: int) -> None:
    cpu = parse_cpuinfo(cpuinfo("AMD EPYC 9755 128-Core Processor", sockets, cores, per_core))
    assert cpu.model == "AMD EPYC 9755 128-Core Processor"
    assert (cpu.sockets, cpu.cores, cpu.threads) == (sockets, sockets * cores, sockets * cores * per_core)


def test_a_machine_that_tells_little() -> None:
    cpu = parse_cpuinfo(ARM)
    assert (cpu.model, cpu.sockets, cpu.cores, cpu.threads) == (None, 1, 4, 4)


@pytest.mark.parametrize("text", ["", "processor\n", "model name : x\n", "processor : -1\n"])
def test_what_is_not_cpuinfo_is_refused(text: str) -> None:
    with pytest.raises(HardwareError, match="no processor"):
        parse_cpuinfo(text)


@pytest.mark.parametrize(
    ("model", "gb_s"),
    [
        ("AMD EPYC 9755 128-Core Processor", 576.0),
        ("AMD EPYC 9654 96-Core Processor", 460.8),
        ("AMD EPYC 9684X 96-Core Processor", 460.8),
        ("AMD EPYC 8534P 64-Core Processor", 230.4),
        ("AMD EPYC 7763 64-Core Processor", 204.8),
        ("AMD EPYC 7551 32-Core Processor", 170.624),
        ("Intel(R) Xeon(R) CPU E7-8890 v4 @ 2.20GHz", 102.4),
        ("Intel(R) Xeon(R) Platinum 8480+", 307.2),
        ("Intel(R) Xeon(R) Gold 6348 CPU @ 2.60GHz", 204.8),
        ("AMD Ryzen Threadripper PRO 7995WX 96-Cores", 332.8),
        ("AMD Ryzen Threadripper 3970X 32-Core Processor", 102.4),
    ],
)
def test_memory_bandwidth_of_a_socket(model: str, gb_s: float) -> None:
    bus = memory_bus(model)
    assert bus is not None
    assert bus.bandwidth_gb_s == pytest.approx(gb_s)


def test_the_tutorials_machine_has_slower_modules() -> None:
    bus = memory_bus("AMD EPYC 9755 128-Core Processor")
    assert bus is not None
    assert memory_bandwidth_gb_s(bus.channels, 4800) == pytest.approx(460.8)
    assert memory_bandwidth_gb_s(1, 3200) == pytest.approx(25.6)  # its "DDR4 25.6 GB/s"


@pytest.mark.parametrize("model", ["", "AMD EPYC", "QEMU Virtual CPU version 2.5+", "x" * 10_000])
def test_a_cpu_that_is_not_listed_has_no_bandwidth(model: str) -> None:
    assert memory_bus(model) is None


@settings(deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (parse_meminfo, parse_cpuinfo):
        assert said(read, text).isprintable()
    memory_bus(text)


def said(read: Callable[[str], object], text: str) -> str:
    """Return the reader's refusal, "" if it took the text."""
    try:
        read(text)
    except HardwareError as error:
        return str(error)
    return ""


@settings(deadline=None)
@given(st.integers(min_value=1, max_value=10**14 - 1), st.integers(min_value=0, max_value=10**14 - 1))
def test_memory_available_is_never_more_than_there_is(total: int, available: int) -> None:
    memory = parse_meminfo(f"MemTotal: {total} kB\nMemAvailable: {available} kB\n")
    assert memory.total == total * 1024
    assert memory.available == min(available, total) * 1024
