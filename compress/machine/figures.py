"""Figures of a target, read from this machine, in the form of a target's file.

Peaks of a processor are derived, not measured: cores × frequency × operations per cycle, where the fp32
rate follows from the width of its fused multiply-add and the others are multiples of it. A GPU takes the
figures of the known board that it is, or else, as estimates, those of the one of its class that it resembles most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from compress.errors import UnavailableError
from compress.machine.machine import Cpu, Gpu

#: fp32 operations per cycle and core: two units, so many lanes, a multiply and an add.
_FP32_PER_CYCLE = {"avx512f": 64, "avx2": 32, "asimd": 16}
_FP32_PER_CYCLE_ELSE = 8

#: What an instruction does per cycle, as a multiple of the core's own fp32 rate; the first present counts.
#: A tile unit is one per core, 1024 int8 or 512 bf16 multiply-adds a cycle.
_INT8_RATE = {"amx_int8": 32.0, "avx512_vnni": 4.0, "avx_vnni": 4.0, "i8mm": 8.0, "asimddp": 4.0}
#: Multiply, widen, add: three instructions where the dot product is one.
_INT8_RATE_ELSE = 4 / 3
_FP16_RATE = {"avx512_fp16": 2.0, "asimdhp": 2.0}
_BF16_RATE = {"amx_bf16": 16.0, "avx512_bf16": 2.0, "bf16": 4.0}

_ASSUMED_GHZ = 2.0
_ASSUMED_MEMORY_GB = 4.0
#: One core alone sustains about this much; the sum is limited by the memory's channels.
_BANDWIDTH_PER_CORE_GB_S = 10.0
_BANDWIDTH_AT_MOST_GB_S = 100.0

_VNNI = ("avx512_vnni", "avx_vnni")

#: Class of GPUs by the family of a known board.
_CLASSES = {"gpu": "graphics card", "jetson": "module", "desktop": "desktop", "datacenter": "data center GPU"}
#: Class of the GPUs that share the memory of their processor, by compute capability.
_SHARED_MEMORY = {
    **dict.fromkeys(("5.3", "6.2", "7.2", "8.7", "10.1", "11.0"), "module"),
    "12.1": "desktop",
}
#: Words of a GPU's name that tell no model from another.
_SAID_BESIDE = frozenset({"nvidia", "tesla", "geforce", "gpu", "graphics"})
#: Memories that differ by this share are of other models: 40 and 80 GB, 8 and 12 GB. What a driver keeps is less.
_SAME_MEMORY = 0.12
#: Compute capability from which on a GPU has the arithmetic of a peak.
_FIRST_WITH = {
    "fp16_tflops": 5.3,
    "bf16_tflops": 8.0,
    "int8_tops": 6.1,
    "fp8_tflops": 8.9,
    "fp4_tflops": 10.0,
}


def cpu_figures(cpu: Cpu) -> dict[str, Any]:
    """Return the figures of this machine that the file of the target ``cpu`` leaves out."""
    ghz = cpu.frequency_ghz or _ASSUMED_GHZ
    stated = f"{ghz:g} GHz" if cpu.frequency_ghz else f"an assumed {ghz:g} GHz"
    per_cycle = _rate(cpu, _FP32_PER_CYCLE) or _FP32_PER_CYCLE_ELSE
    fp32 = cpu.cores * ghz * per_cycle / 1e3
    rates = {
        "fp32_tflops": 1.0,
        "fp16_tflops": _rate(cpu, _FP16_RATE),
        "bf16_tflops": _rate(cpu, _BF16_RATE),
        "int8_tops": _rate(cpu, _INT8_RATE) or _INT8_RATE_ELSE,
    }
    peaks = {name: round(fp32 * rate, 4) for name, rate in rates.items() if rate}
    bandwidth = min(cpu.cores * _BANDWIDTH_PER_CORE_GB_S, _BANDWIDTH_AT_MOST_GB_S)
    memory_source = "asked of this machine" if cpu.memory_gb else "assumed: this system does not tell"
    return {
        "description": f"This machine's processor: {cpu.model}, {_count(cpu.cores, 'core')}.",
        "cores": cpu.cores,
        "isa": cpu.isa,
        "memory_gb": cpu.memory_gb or _ASSUMED_MEMORY_GB,
        "bandwidth_gb_s": bandwidth,
        "peaks": peaks,
        "quantization": quantization(cpu),
        "further_backends": further_backends(cpu),
        "source": {
            "default": f"derived from {_count(cpu.cores, 'core')} at {stated} and the instruction set",
            "memory_gb": memory_source,
            "quantization": "the instruction set, by ONNX Runtime's documentation on quantization",
            "bandwidth_gb_s": f"assumed: {_BANDWIDTH_PER_CORE_GB_S:g} GB/s a core, "
            f"{_BANDWIDTH_AT_MOST_GB_S:g} at most",
        },
        "estimated": ("bandwidth_gb_s", *peaks, *(() if cpu.memory_gb else ("memory_gb",))),
    }


def quantization(cpu: Cpu) -> dict[str, Any]:
    """Return the int8 flavour that ONNX Runtime runs fastest on this processor without saturating sums.

    x86 multiplies unsigned by signed bytes. Without VNNI the products are added in pairs to 16 bits and saturate,
    so the weights get seven bits (ONNX Runtime's documentation on quantization, "Data type selection"). On 64-bit
    Arm its kernels for symmetric weights take signed activations.
    """
    arm = cpu.architecture == "aarch64"
    return {
        "activation": "int8" if arm else "uint8",
        "weight": "int8",
        "symmetric": False,
        "per_channel": True,
        "reduce_range": not arm and not any(flag in cpu.isa for flag in _VNNI),
        "quantize_bias": True,
    }


def further_backends(cpu: Cpu) -> dict[str, Any]:
    """Return OpenVINO for x86 processors, with bf16 where the processor multiplies it.

    Its int8 takes what ONNX Runtime's does, except that the bias stays float: its kernels add that in fp32.
    """
    if cpu.architecture != "x86_64":
        return {}
    bf16 = ("bf16",) if any(flag in cpu.isa for flag in _BF16_RATE) else ()
    flavour = {**quantization(cpu), "quantize_bias": False}
    return {"openvino": {"precisions": ("fp32", *bf16, "int8"), "quantization": flavour}}


def cuda_figures(gpu: Gpu, memory_gb: float, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of this machine that the file of the target ``cuda`` leaves out.

    Args:
        gpu: GPU of this machine.
        memory_gb: Memory that the GPU can use, in 10⁹ bytes.
        known: The tables of the known boards with an NVIDIA GPU, by name.

    Raises:
        UnavailableError: No known board is of the GPU's class.
    """
    kind = _class_of(gpu)
    alike = {name: board for name, board in known.items() if _CLASSES.get(board["family"]) == kind}
    if not alike:
        raise UnavailableError(
            f"a known GPU of the class of {gpu.name} ({kind})",
            ", ".join(sorted(known)) or "none",
            'describe it in a target\'s file: detect = "cuda", peaks and bandwidth_gb_s',
        )

    def likeness(name: str) -> tuple[bool, float, float]:
        board = known[name]
        capability = abs(_capability(board["compute_capability"]) - _capability(gpu.compute_capability))
        return _is_model(gpu.name, name, memory_gb, board), -capability, -abs(board["memory_gb"] - memory_gb)

    model = max(sorted(alike), key=likeness)
    board = known[model]
    is_model = likeness(model)[0]
    has = _capability(gpu.compute_capability)
    peaks = {
        name: rate for name, rate in board["peaks"].items() if is_model or has >= _FIRST_WITH.get(name, 0.0)
    }
    bf16 = ("bf16",) if "bf16_tflops" in peaks else ()
    return {
        "description": f"This machine's GPU: {gpu.name}, driver {gpu.driver}{'' if is_model else f' (≈ {model})'}.",
        "compute_capability": gpu.compute_capability,
        "memory_gb": memory_gb,
        "bandwidth_gb_s": board["bandwidth_gb_s"],
        "peaks": peaks,
        "sparsity_2_4": has >= _capability("8.0"),
        "further_backends": {"torch-tensorrt": {"precisions": ("fp32", "fp16", *bf16)}},
        "source": {
            "default": f"the target {model}, this GPU"
            if is_model
            else f"≈ the target {model}, the known {kind} most like {gpu.name}",
            "memory_gb": "asked of this machine",
        },
        "estimated": tuple(key for key in board.get("estimated", ()) if key in (*peaks, "bandwidth_gb_s"))
        if is_model
        else ("bandwidth_gb_s", *peaks),
    }


def _class_of(gpu: Gpu) -> str:
    """Return the class of a GPU: those of one class have memories and clocks of one kind."""
    if gpu.compute_capability in _SHARED_MEMORY:
        return _SHARED_MEMORY[gpu.compute_capability]
    graphics = _words(gpu.name) & {"geforce", "rtx", "gtx", "quadro", "titan"}
    return "graphics card" if graphics else "data center GPU"


def _is_model(name: str, target: str, memory_gb: float, board: Mapping[str, Any]) -> bool:
    """Whether a GPU's name says the model of a target, and its memory is as large as that one's.

    A word more is another model: "Ti", "Laptop", "PCIe", "NVL", or a slice of a GPU.
    """
    shared = board["family"] in ("jetson", "desktop")  # a part of it is the system's
    same = shared or abs(memory_gb - board["memory_gb"]) <= _SAME_MEMORY * board["memory_gb"]
    return same and _words(name) - _SAID_BESIDE == _words(target) - _SAID_BESIDE


def _words(name: str) -> set[str]:
    words = set(re.split(r"[^a-z0-9.]+", name.casefold())) - {""}
    return {word for word in words if not re.fullmatch(r"\d+gb|sxm\d?|hgx|hbm\d\w?", word)}


def _rate(cpu: Cpu, rates: Mapping[str, float]) -> float | None:
    return next((rate for flag, rate in rates.items() if flag in cpu.isa), None)


def _capability(text: str) -> float:
    """Return a compute capability such as ``8.7`` as a number; unknown ones count as the oldest."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
