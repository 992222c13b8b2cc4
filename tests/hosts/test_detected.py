from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from compress.machine.figures import cpu_figures, cuda_figures, further_backends
from compress.machine.machine import Cpu, Gpu
from compress.target.target import load_target


def processor(*isa: str, **changes: Any) -> Cpu:
    values = {
        "model": "A processor",
        "architecture": "x86_64",
        "cores": 2,
        "isa": isa,
        "memory_gb": 16.0,
        "frequency_ghz": 2.0,
        "governor": None,
    }
    return Cpu(**values | changes)


@pytest.mark.parametrize(
    "isa, fp32, int8",
    [
        # 2 cores × 2 GHz × operations per cycle, in 10¹² per second
        (("avx2", "avx512f", "avx512_vnni"), 0.256, 1.024),
        (("avx2", "avx512f"), 0.256, 0.256 * 4 / 3),
        (("avx2", "avx_vnni"), 0.128, 0.512),
        (("avx2",), 0.128, 0.128 * 4 / 3),
        (("avx2", "avx512f", "avx512_vnni", "amx_int8"), 0.256, 8.192),
        (("asimd", "asimddp"), 0.064, 0.256),
        (("asimd", "asimddp", "i8mm"), 0.064, 0.512),
        ((), 0.032, 0.032 * 4 / 3),
    ],
)
def test_peaks_follow_from_the_instructions(isa: tuple[str, ...], fp32: float, int8: float):
    peaks = cpu_figures(processor(*isa))["peaks"]
    assert peaks["fp32_tflops"] == pytest.approx(fp32, abs=1e-4)
    assert peaks["int8_tops"] == pytest.approx(int8, abs=1e-4)


def test_half_precisions_are_there_where_the_instructions_are():
    assert "fp16_tflops" not in cpu_figures(processor("avx2"))["peaks"]
    peaks = cpu_figures(processor("avx512f", "avx512_fp16", "avx512_bf16"))["peaks"]
    assert peaks["fp16_tflops"] == peaks["bf16_tflops"] == pytest.approx(0.512)


@pytest.mark.parametrize(
    "isa, reduced",
    [(("avx512f", "avx512_vnni"), False), (("avx2", "avx_vnni"), False), (("avx512f",), True), ((), True)],
)
def test_x86_takes_seven_bit_weights_only_without_vnni(isa: tuple[str, ...], reduced: bool):
    flavour = cpu_figures(processor(*isa))["quantization"]
    assert (flavour["activation"], flavour["weight"]) == ("uint8", "int8")
    assert flavour["reduce_range"] is reduced
    assert flavour["quantize_bias"] is True


def test_arm_takes_signed_activations():
    flavour = cpu_figures(processor("asimd", architecture="aarch64"))["quantization"]
    assert (flavour["activation"], flavour["reduce_range"]) == ("int8", False)


def test_what_is_not_known_is_assumed_and_says_so():
    figures = cpu_figures(processor("avx2", memory_gb=None, frequency_ghz=None))
    assert figures["memory_gb"] == 4.0
    assert "memory_gb" in figures["estimated"]
    assert "assumed" in figures["source"]["memory_gb"]
    assert "an assumed 2 GHz" in figures["source"]["default"]
    assert "memory_gb" not in cpu_figures(processor("avx2"))["estimated"]


def test_bandwidth_does_not_grow_with_cores_for_ever():
    assert cpu_figures(processor(cores=4))["bandwidth_gb_s"] == 40
    assert cpu_figures(processor(cores=64))["bandwidth_gb_s"] == 100


KNOWN = {
    name: {
        "compute_capability": load_target(name).compute_capability,
        "memory_gb": load_target(name).memory_gb,
        "bandwidth_gb_s": load_target(name).bandwidth_gb_s,
        "peaks": {"fp32_tflops": load_target(name).peaks.fp32_tflops},
    }
    for name in (
        "t4",
        "a10",
        "l4",
        "l40s",
        "a100-80gb",
        "h100-sxm",
        "jetson-orin-nano-super",
        "jetson-agx-orin-64gb",
    )
}


@pytest.mark.parametrize(
    "name, capability, memory_gb, board",
    [
        ("Tesla T4", "7.5", 16.1, "t4"),
        ("NVIDIA A100-SXM4-80GB", "8.0", 85.9, "a100-80gb"),
        ("NVIDIA H100 80GB HBM3", "9.0", 85.5, "h100-sxm"),
        ("NVIDIA L40S", "8.9", 48.3, "l40s"),
        # Not known: the same generation, then the size of the memory.
        ("NVIDIA GeForce RTX 4090", "8.9", 25.8, "l4"),
        ("NVIDIA RTX 6000 Ada Generation", "8.9", 51.5, "l40s"),
        ("NVIDIA GeForce RTX 3060", "8.6", 12.9, "a10"),
        ("Orin (nvgpu)", "8.7", 7.9, "jetson-orin-nano-super"),
        ("Orin (nvgpu)", "8.7", 64.3, "jetson-agx-orin-64gb"),
    ],
)
def test_a_gpu_is_matched_to_the_known_one(name: str, capability: str, memory_gb: float, board: str):
    figures = cuda_figures(Gpu(name, capability, memory_gb, "550"), memory_gb, KNOWN)
    assert figures["bandwidth_gb_s"] == KNOWN[board]["bandwidth_gb_s"]
    assert f"the target {board}," in figures["source"]["default"]
    assert figures["memory_gb"] == memory_gb
    assert figures["compute_capability"] == capability


def test_figures_of_a_gpu_that_only_resembles_are_estimates():
    known = cuda_figures(Gpu("Tesla T4", "7.5", 16.1, "550"), 16.1, KNOWN)
    other = cuda_figures(Gpu("NVIDIA GeForce RTX 2080", "7.5", 8.6, "550"), 8.6, KNOWN)
    assert known["estimated"] == ()
    assert set(other["estimated"]) == {"bandwidth_gb_s", "fp32_tflops"}
    assert other["sparsity_2_4"] is False


def test_a_driver_that_states_no_capability_is_no_reason_to_fail():
    assert cuda_figures(Gpu("Something", "[N/A]", None, "1"), 8.0, KNOWN)["sparsity_2_4"] is False


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for nvidia-smi is a shell script")
@pytest.mark.parametrize("memory", ["23034", "[N/A]"])
def test_cuda_is_loaded_with_the_figures_of_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str
):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho 'NVIDIA L4, 8.9, {memory}, 550.54.15'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cuda = load_target("cuda")
    assert cuda.here is True
    assert cuda.provider == "CUDAExecutionProvider"
    assert cuda.peaks == load_target("l4").peaks
    assert cuda.compute_capability == "8.9"
    assert cuda.memory_gb == (24.2 if memory.isdigit() else load_target("cpu").memory_gb)
    assert "NVIDIA L4, driver 550.54.15" in cuda.description
    assert cuda.sources["int8_tops"] == "the target l4, this GPU"


def test_openvino_competes_on_x86_with_bf16_where_the_processor_has_it():
    plain = further_backends(processor("avx2", "avx512f"))["openvino"]
    assert plain["precisions"] == ("fp32", "int8")
    assert (plain["quantization"]["quantize_bias"], plain["quantization"]["reduce_range"]) == (False, True)
    assert further_backends(processor("avx512_vnni", "amx_bf16"))["openvino"]["precisions"] == (
        "fp32",
        "bf16",
        "int8",
    )
    assert further_backends(processor("asimd", "bf16", architecture="aarch64")) == {}
