"""The directory of the TensorRT provider's engines: one for each combination of what an engine depends on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from compress.api.cache import kept, remove
from compress.backends import engine_cache
from compress.backends.engine_cache import engine_cache_options
from compress.backends.onnxruntime import DEFAULTS, OnnxRuntime
from compress.backends.providers import CPU, CUDA, TENSORRT
from compress.machine.machine import Gpu
from tests.graphs import classifier

CARD = Gpu("NVIDIA L4", "8.9", 24.0, "570")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Gpu | None]:
    """The machine's GPU, which a test may change."""
    found: list[Gpu | None] = [CARD]
    monkeypatch.setattr(engine_cache, "_gpu", lambda: found[0])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return found


def place(path: Path) -> str:
    return engine_cache_options(path)["trt_engine_cache_path"]


def test_all_that_an_engine_depends_on_has_a_directory_of_its_own(
    card: list[Gpu | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights too: the provider's own name for an engine tells the structure of its graph alone."""
    model = classifier()
    onnx.save(model, tmp_path / "one.onnx")
    onnx.save(model, tmp_path / "same.onnx")
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(1), weight.name))
    onnx.save(model, tmp_path / "other.onnx")
    first = place(tmp_path / "one.onnx")
    assert Path(first).is_dir()
    assert place(tmp_path / "same.onnx") == first
    places = {first, place(tmp_path / "other.onnx")}
    for changed in (replace(CARD, driver="580"), replace(CARD, compute_capability="9.0")):
        card[0] = changed
        places.add(place(tmp_path / "one.onnx"))
    card[0] = CARD
    monkeypatch.setattr(onnxruntime, "__version__", "9.9")
    places.add(place(tmp_path / "one.onnx"))
    assert len(places) == 5


def test_what_is_kept_is_listed_and_removed(card: list[Gpu | None], tmp_path: Path) -> None:
    onnx.save(classifier(), tmp_path / "one.onnx")
    (Path(place(tmp_path / "one.onnx")) / "engine").write_bytes(bytes(100))
    found = [each for each in kept([tmp_path]) if each.kind in ("engine", "timing cache")]
    assert {each.kind for each in found} == {"engine", "timing cache"}
    assert remove(found) == {}
    assert not any(each.path.exists() for each in found)


def test_a_session_in_tensorrt_keeps_its_engines_and_no_other_does(
    card: list[Gpu | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    asked: list[Any] = []
    real = onnxruntime.InferenceSession

    def session(path: str, options: Any, providers: Any, **more: Any) -> Any:
        asked.append(providers)
        return real(path, options, providers=[CPU], **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr("compress.backends.onnxruntime.check_taken", lambda *_: None)
    for provider, keeps in ((TENSORRT, True), (CUDA, False), (CPU, False)):
        OnnxRuntime().open(replace(artifact, options={**DEFAULTS, "provider": provider})).close()
        assert ("trt_engine_cache_path" in asked[-1][0][1]) is keeps
    card[0] = None
    OnnxRuntime().open(replace(artifact, options={**DEFAULTS, "provider": TENSORRT})).close()
    assert asked[-1][0][1] == {"trt_fp16_enable": "0", "trt_int8_enable": "0"}
