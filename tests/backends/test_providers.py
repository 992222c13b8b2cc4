"""What each execution provider is told, on a machine that has none of a GPU's."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest

from compress.backends import providers, tried_providers
from compress.backends.onnxruntime import DEFAULTS, OnnxRuntime
from compress.backends.providers import CPU, CUDA, TENSORRT, XNNPACK, check_taken, requested
from compress.errors import UnavailableError
from compress.search.backends import competing_backends
from compress.target.target import load_target
from tests.graphs import classifier, samples


@pytest.fixture
def all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [TENSORRT, CUDA, XNNPACK, CPU])


def settings(provider: str, threads: int = 1) -> dict[str, object]:
    return {**DEFAULTS, "provider": provider, "intra_op_threads": threads}


@pytest.mark.usefixtures("all_there")
@pytest.mark.parametrize(
    "precision, fp16, int8", [("fp32", "0", "0"), ("fp16", "1", "0"), ("int8", "1", "1")]
)
def test_tensorrt_is_told_what_the_graph_holds_and_cuda_takes_the_rest(
    precision: str, fp16: str, int8: str
) -> None:
    told = {"trt_fp16_enable": fp16, "trt_int8_enable": int8}
    assert requested(TENSORRT, 1, precision) == [(TENSORRT, told), (CUDA, {})]


@pytest.mark.usefixtures("all_there")
def test_xnnpack_has_the_threads_and_others_have_no_options() -> None:
    assert requested(XNNPACK, 2, "fp32") == [(XNNPACK, {"intra_op_num_threads": "2"})]
    assert requested(CUDA, 1, "fp16") == [(CUDA, {})]


def test_provider_that_is_not_there_is_told_with_what_to_install() -> None:
    with pytest.raises(UnavailableError, match=r"TensorrtExecutionProvider.*onnxruntime-gpu"):
        requested(TENSORRT, 1, "fp32")
    with pytest.raises(UnavailableError, match="built with the XnnpackExecutionProvider"):
        requested(XNNPACK, 1, "fp32")


def test_session_that_fell_back_to_the_processor_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As where CUDA's libraries are missing: the wheel has the provider, and the session runs on the processor."""
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    monkeypatch.setattr(providers, "available", lambda: (CUDA, CPU))
    with (
        pytest.warns(UserWarning, match=CUDA),
        pytest.raises(UnavailableError, match=rf"{CUDA}; found ONNX Runtime fell back to {CPU}"),
    ):
        OnnxRuntime().open(replace(artifact, options=settings(CUDA)))
    check_taken(CPU, [CPU])


@pytest.mark.skipif(XNNPACK not in providers.available(), reason="this ONNX Runtime is built without XNNPACK")
def test_xnnpack_runs_where_it_is_installed(tmp_path: Path) -> None:
    artifact = OnnxRuntime().compile(classifier(), tmp_path, settings(XNNPACK, threads=2))
    with OnnxRuntime().open(artifact) as session:
        assert session.run({"x": samples(2)})[0].shape == (2, 4)


def test_provider_that_compiles_subgraphs_tells_no_coverage(tmp_path: Path) -> None:
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    assert OnnxRuntime().coverage(artifact) is not None
    assert OnnxRuntime().coverage(replace(artifact, options=settings(TENSORRT))) is None


def test_what_a_session_opens_in_is_asked_once_and_only_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(tried_providers.subprocess, "run", lambda *given, **_: started.append(given))
    tried_providers.tried.cache_clear()
    assert tried_providers.tried() == (tuple(onnxruntime.get_available_providers()), ())
    assert started == []
    tried_providers.tried.cache_clear()


def test_a_provider_in_the_wheel_in_which_no_session_opens_does_not_compete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("compress.search.backends.tried", lambda: ((CUDA, CPU), (TENSORRT,)))
    target = replace(load_target("cpu"), further_providers={TENSORRT: ("fp32",), CUDA: ("fp32",)})
    found = competing_backends(target, ("onnxruntime",))
    assert found.providers == (CUDA,)
    assert any("no session opens in the TensorrtExecutionProvider" in note for note in found.notes)


@pytest.mark.usefixtures("all_there")
def test_libraries_that_pip_brought_are_loaded_before_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []
    monkeypatch.setattr(
        onnxruntime, "preload_dlls", lambda: loaded.append(1) or print("lib not found"), raising=False
    )
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    providers.load_libraries.cache_clear()
    requested(CPU, 1, "fp32")
    assert loaded == []
    requested(CUDA, 1, "fp32")
    requested(TENSORRT, 1, "fp32")
    assert loaded == [1]
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    providers.load_libraries.cache_clear()
