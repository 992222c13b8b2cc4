"""A second run takes over what the first one's steps made, also after its results were deleted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compress.techniques.quantize as technique
from compress import optimize
from compress.api.cache import kept
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe, Step
from tests.graphs import classifier, samples

INT8 = Recipe("mine", (Step("quantize", {"scope": "all"}),))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(classifier(), tmp_path / "model.onnx")
    np.savez(tmp_path / "val.npz", x=samples(60), y=np.arange(60) % 4)
    return tmp_path


def test_quantized_once_for_two_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quantized: list[int] = []
    whole = technique.quantize_static

    def counted(*arguments: Any) -> Any:
        quantized.append(1)
        return whole(*arguments)

    monkeypatch.setattr(technique, "quantize_static", counted)

    def run(**options: Any) -> Any:
        shutil.rmtree(place / "build", ignore_errors=True)
        chosen = {"recipes": [INT8], "backends": ["onnxruntime"], "seconds": 0.05, "threads": 1, **options}
        return optimize("model.onnx", data="val.npz", out="build", max_drop=100.0, **chosen)

    first, second = run(), run()
    assert len(quantized) == 1
    assert [entry.recipe.name for entry in first.candidates] == ["fp32", "mine"]
    built = [result.candidates[1] for result in (first, second)]
    assert built[0].profile.artifact_sha256 == built[1].profile.artifact_sha256
    assert built[0].reports["quantize"] == built[1].reports["quantize"]
    assert "step" in {thing.kind for thing in kept()}
    run(cache="off")
    assert len(quantized) == 2
    run(cache=place / "shared")
    run(cache=place / "shared")
    assert len(quantized) == 3
    run(seed=5)
    assert len(quantized) == 4
