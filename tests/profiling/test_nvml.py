"""NVML's part in it is played by a small library of the same name, since machines that run tests seldom have a GPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from compress.backends.base import Artifact
from compress.backends.onnxruntime import OnnxRuntime
from compress.backends.providers import CPU, CUDA, TENSORRT
from compress.profiling import nvml
from compress.profiling.energy import counters, energy_mj
from compress.timing import worker
from tests.graphs import classifier, samples

#: One GPU that spends 7 mJ between two readings; with ``-DOLD`` it has no counter.
_SOURCE = r"""
static unsigned long long spent = 1000;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) { *device = &spent; return index ? 6 : 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) { *device = &spent; return uuid[0] == 'G' ? 0 : 6; }
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
#ifdef OLD
    return 3;
#endif
    *millijoules = (spent += 7);
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *sizes) {
#ifdef OLD
    return 3;
#endif
    static unsigned long long used = 0;
    sizes[0] = 1ULL << 34; sizes[2] = (used += 100ULL << 20); sizes[1] = sizes[0] - used;
    return 0;
}
"""

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or sys.platform != "linux", reason="needs a C compiler and Linux"
)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Builds the library, and has it loaded in place of the driver's."""

    def built(*flags: str) -> None:
        (tmp_path / "nvml.c").write_text(_SOURCE)
        library = tmp_path / "libnvidia-ml.so.1"
        subprocess.run(
            ["cc", "-shared", "-fPIC", *flags, "-o", str(library), str(tmp_path / "nvml.c")],
            check=True,
            timeout=60,
        )
        monkeypatch.setattr(nvml, "_LIBRARY", str(library))
        nvml._loaded.cache_clear()

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield built
    nvml._loaded.cache_clear()


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_energy_of_a_session_on_a_gpu_is_the_gpus(play, provider: str) -> None:  # type: ignore[no-untyped-def]
    play()
    found = counters(provider)
    assert len(found) == 1
    assert energy_mj(lambda: None, 0.0, found) == 7.0


def test_processor_keeps_its_own_counter(play) -> None:  # type: ignore[no-untyped-def]
    play()
    assert not any(isinstance(each, nvml.GpuCounter) for each in (*counters(), *counters(CPU)))


def test_gpu_is_the_one_that_cuda_runs_on(play, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    play()
    for devices, there in (("0,1", True), ("GPU-8932f937", True), ("1", False), ("MIG-1", False)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
        assert (nvml.gpu_counter() is not None) is there


def test_gpu_without_a_counter_tells_nothing(play) -> None:  # type: ignore[no-untyped-def]
    play("-DOLD")
    assert counters(CUDA) == ()
    assert energy_mj(lambda: None, 0.0, ()) is None


def test_machine_without_a_driver_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_LIBRARY", "libnvidia-ml-that-is-not-here.so.1")
    nvml._loaded.cache_clear()
    assert counters(CUDA) == ()
    nvml._loaded.cache_clear()


@pytest.mark.parametrize(("flags", "peak"), [((), 100.0), (("-DOLD",), None)])
def test_memory_of_a_build_on_a_gpu_is_the_gpus_and_never_the_processors(  # type: ignore[no-untyped-def]
    play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], peak: float | None
) -> None:
    play(*flags)
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    feeds = tmp_path / "feeds.npz"
    np.savez(feeds, **{"_x": samples(1)})
    request = {"artifact": {**asdict(artifact), "path": str(artifact.path)}, "feeds": {"1": str(feeds)}}
    monkeypatch.setattr(worker, "_runs_on_gpu", lambda _: True)
    assert worker._opened(request)[2] == peak


@pytest.mark.parametrize(("provider", "gpu"), [(CPU, False), (CUDA, True), (TENSORRT, True)])
def test_builds_run_on_a_gpu_by_their_provider(provider: str, gpu: bool) -> None:
    artifact = Artifact(Path("model.onnx"), "sha", 1, "onnxruntime", {"provider": provider})
    assert worker._runs_on_gpu(artifact) is gpu
