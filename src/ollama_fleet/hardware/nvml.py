"""NVIDIA GPUs of the machine that this process runs on, through the driver's own library."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pynvml  # type: ignore[import-untyped]

from ollama_fleet.hardware.catalogue import MIB, candidates, identify
from ollama_fleet.hardware.cpu import HostMemory
from ollama_fleet.hardware.device import Device


class NvmlReading(NamedTuple):
    """The devices found, and one line that says why there are none or not all of them."""

    devices: list[Device]
    reason: str | None


def read_nvml(host_memory: HostMemory | None = None) -> NvmlReading:
    """Return the GPUs that a CUDA program on this machine could use; never raises for a missing driver.

    A GPU divided by MIG is replaced by its instances, which have no kind; `index` counts what is returned.
    GPUs with unified memory have the machine's, `host_memory`.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return NvmlReading(
            [], "there is no NVIDIA driver on this machine (its library libnvidia-ml was not found)"
        )
    except pynvml.NVMLError as error:
        return NvmlReading([], f"the NVIDIA library does not start: {error}")
    devices: list[Device] = []
    reasons: list[str] = []
    try:
        driver = _optional(pynvml.nvmlSystemGetDriverVersion)
        for number in range(pynvml.nvmlDeviceGetCount()):
            try:
                for handle in _usable(number):
                    devices.append(_device(handle, len(devices), driver, host_memory))
            except pynvml.NVMLError as error:
                reasons.append(f"GPU {number}: {error}")
    except pynvml.NVMLError as error:
        reasons.append(f"the NVIDIA library gives no list of GPUs: {error}")
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    if not devices and not reasons:
        reasons.append("the NVIDIA driver is loaded and finds no GPU")
    return NvmlReading(devices, "; ".join(reasons) or None)


def _optional(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what the library answers, None where this driver or device does not have it."""
    try:
        return call(*arguments)
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NotFound):
        return None


def _usable(number: int) -> Iterator[Any]:
    """Yield the handle of a GPU, or those of its instances if it is divided."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    mode = _optional(pynvml.nvmlDeviceGetMigMode, handle)
    if mode is None or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        yield handle
        return
    for instance in range(_optional(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        part = _optional(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, instance)
        if part is not None:
            yield part


def _device(handle: Any, index: int, driver: str | None, host_memory: HostMemory | None) -> Device:
    name = str(pynvml.nvmlDeviceGetName(handle))
    memory = _optional(pynvml.nvmlDeviceGetMemoryInfo, handle)
    if memory is not None:
        total: int = memory.total
        free: int | None = memory.free
    elif host_memory is not None and any(gpu.unified for gpu in candidates(name, None)):
        total, free = host_memory.total, host_memory.available
    else:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    gpu = identify(name, total // MIB)
    capability = _optional(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    return Device(
        index=index,
        uuid=_optional(pynvml.nvmlDeviceGetUUID, handle),
        name=name,
        kind=None if gpu is None else gpu.key,
        memory_total=total,
        memory_free=free,
        driver=driver,
        compute_capability=None if capability is None else "{}.{}".format(*capability),
        vendor="nvidia",
        unified=gpu is not None and gpu.unified,
    )
