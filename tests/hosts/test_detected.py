from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from compress.errors import UnavailableError
from compress.machine.figures import cpu_figures, cuda_figures, further_backends
from compress.machine.machine import Cpu, Gpu
from compress.target.target import list_targets, load_target


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
    target.name: {
        "family": target.family,
        "compute_capability": target.compute_capability,
        "memory_gb": target.memory_gb,
        "bandwidth_gb_s": target.bandwidth_gb_s,
        "peaks": {name: rate for name, rate in asdict(target.peaks).items() if rate is not None},
    }
    for target in list_targets()
    if target.compute_capability and target.name != "cuda"
}


@pytest.mark.parametrize(
    "name, capability, memory_gb, board",
    [
        ("Tesla T4", "7.5", 16.1, "t4"),
        ("NVIDIA A100-SXM4-80GB", "8.0", 85.9, "a100-80gb"),
        ("NVIDIA H100 80GB HBM3", "9.0", 85.5, "h100-sxm"),
        ("NVIDIA L40S", "8.9", 48.3, "l40s"),
        ("NVIDIA A30", "8.0", 25.8, "a30"),
        ("Tesla V100-SXM2-32GB", "7.0", 34.4, "v100"),
        ("NVIDIA GH200 480GB", "9.0", 101.5, "gh200"),
        ("NVIDIA GB10", "12.1", 119.0, "gb10"),
        ("NVIDIA GeForce RTX 3080", "8.6", 10.7, "rtx-3080"),
        ("NVIDIA GeForce RTX 4090", "8.9", 25.8, "rtx-4090"),
        ("NVIDIA GeForce RTX 5060", "12.0", 8.6, "rtx-5060"),
    ],
)
def test_a_known_gpu_has_its_own_figures(name: str, capability: str, memory_gb: float, board: str):
    figures = cuda_figures(Gpu(name, capability, memory_gb, "550"), memory_gb, KNOWN)
    assert figures["bandwidth_gb_s"] == KNOWN[board]["bandwidth_gb_s"]
    assert figures["source"]["default"] == f"the target {board}, this GPU"
    assert "≈" not in figures["description"]
    assert figures["peaks"] == KNOWN[board]["peaks"]
    assert figures["memory_gb"] == memory_gb
    assert figures["compute_capability"] == capability


@pytest.mark.parametrize(
    "name, capability, memory_gb, board",
    [
        # The same class, then the same generation, then the size of the memory.
        ("NVIDIA GeForce RTX 4070 Ti", "8.9", 12.9, "rtx-4070"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "8.9", 17.2, "rtx-4080"),
        ("NVIDIA RTX 6000 Ada Generation", "8.9", 51.5, "rtx-4090"),
        ("NVIDIA GeForce RTX 3060", "8.6", 8.6, "rtx-3070"),  # there is one with 12 GB, and this is none
        ("NVIDIA GeForce RTX 2080", "7.5", 8.6, "rtx-3070"),
        ("NVIDIA GeForce GTX 1080", "6.1", 8.6, "rtx-3070"),
        ("NVIDIA H100 PCIe", "9.0", 85.5, "h100-sxm"),
        ("NVIDIA H100 NVL", "9.0", 100.0, "gh200"),
        ("NVIDIA A100-SXM4-40GB", "8.0", 42.9, "a30"),
        ("NVIDIA A10G", "8.6", 24.1, "a10"),
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", "9.0", 42.0, "h100-sxm"),
        ("Orin (nvgpu)", "8.7", 7.9, "jetson-orin-nano-8gb"),
        ("Orin (nvgpu)", "8.7", 64.3, "jetson-agx-orin-64gb"),
        ("NVIDIA Thor", "11.0", 128.0, "jetson-thor-t5000"),
    ],
)
def test_an_unknown_gpu_is_only_likened_and_never_to_another_class(
    name: str, capability: str, memory_gb: float, board: str
):
    figures = cuda_figures(Gpu(name, capability, memory_gb, "550"), memory_gb, KNOWN)
    assert figures["source"]["default"].startswith(f"≈ the target {board},")
    assert f"(≈ {board})" in figures["description"]
    assert set(figures["estimated"]) == {"bandwidth_gb_s", *figures["peaks"]}


def test_a_likened_gpu_has_no_arithmetic_that_came_after_it():
    turing = cuda_figures(Gpu("NVIDIA GeForce RTX 2080", "7.5", 8.6, "550"), 8.6, KNOWN)
    assert set(turing["peaks"]) == {"fp32_tflops", "fp16_tflops", "int8_tops"}
    assert turing["further_backends"]["torch-tensorrt"]["precisions"] == ("fp32", "fp16")
    assert turing["sparsity_2_4"] is False


def test_without_a_known_gpu_of_its_class_nothing_is_made_up():
    cards = {name: board for name, board in KNOWN.items() if board["family"] == "datacenter"}
    with pytest.raises(UnavailableError, match="graphics card"):
        cuda_figures(Gpu("NVIDIA GeForce RTX 4090", "8.9", 25.8, "550"), 25.8, cards)


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
