"""Energy of NVIDIA's GPUs by their own counter, through NVML, the library that comes with the driver.

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
    if device is None:
        device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
    handle = ctypes.c_void_p()
    if device.isdigit():
        code = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(device)), ctypes.byref(handle))
    else:
        code = library.nvmlDeviceGetHandleByUUID(device.encode(), ctypes.byref(handle))
    if code != 0:
        return None
    counter = GpuCounter(library, handle)
    try:
        counter.read()
    except OSError:
        return None
    return counter


@cache
def _loaded() -> Any:
    """Return the initialized NVML; None without it."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        return library if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None
