"""Energy and memory of NVIDIA's GPUs by their own counters, through NVML, the library that comes with the driver.

``nvmlDeviceGetTotalEnergyConsumption`` counts millijoules since the driver was loaded, from Volta on
(https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html). It takes in the whole card, memory and all.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"


class GpuCounter:
    """The counter of one GPU, made by :func:`gpu_counter`."""

    def __init__(self, library: Any, device: ctypes.c_void_p) -> None:
        self._library, self._device = library, device

    def read(self) -> int:
        """Microjoules so far.

        Raises:
            OSError: The counter cannot be read (any more).
        """
        millijoules = ctypes.c_ulonglong()
        code = self._library.nvmlDeviceGetTotalEnergyConsumption(self._device, ctypes.byref(millijoules))
        if code != 0:
            raise OSError(f"NVML's error {code}")
        return 1000 * millijoules.value

    def spent(self, before: int, after: int) -> int:
        """Return the microjoules between two readings; 64 bits never overflow in practice."""
        return after - before


def gpu_counter(device: str | None = None) -> GpuCounter | None:
    """Return the counter of a GPU; None without NVIDIA's driver, or where the GPU has no such counter.

    Args:
        device: UUID of the GPU, or its index in the order of ``nvidia-smi``; None takes the first of
            ``CUDA_VISIBLE_DEVICES``.
    """
    library = _loaded()
    if library is None:
        return None
    handle = _handle(library, device)
    if handle is None:
        return None
    counter = GpuCounter(library, handle)
    try:
        counter.read()
    except OSError:
        return None
    return counter


def used_memory_mb(device: str | None = None) -> float | None:
    """Return the memory in use on a GPU by all processes together, in MiB; None where it cannot be read.

    Args:
        device: UUID of the GPU, or its index in the order of ``nvidia-smi``; None takes the first of
            ``CUDA_VISIBLE_DEVICES``.
    """
    library, handle = _loaded(), None
    if library is not None:
        handle = _handle(library, device)
    if handle is None:
        return None
    memory = _Memory()
    if library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != 0:
        return None  # an integrated GPU has none of its own
    return float(memory.used / 2**20)


class _Memory(ctypes.Structure):
    """``nvmlMemory_t``: sizes in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def _handle(library: Any, device: str | None) -> ctypes.c_void_p | None:
    if device is None:
        device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
    handle = ctypes.c_void_p()
    if device.isdigit():
        code = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(device)), ctypes.byref(handle))
    else:
        code = library.nvmlDeviceGetHandleByUUID(device.encode(), ctypes.byref(handle))
    return handle if code == 0 else None


@cache
def _loaded() -> Any:
    """Return the initialized NVML; None without it."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        return library if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None
