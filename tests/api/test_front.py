"""The Pareto front as bundles: every build of it is proven inside the limits, and each is a bundle like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

import compress
from compress.errors import OutputError
from compress.onnx_graph.files import save_model
from compress.search.decision import choice_on_front, choose, proven_front
from compress.search.limits import Limits
from tests.graphs import classifier, samples
from tests.records import candidate
from tests.search.choices import FP32


def test_the_front_holds_what_is_proven_and_not_beaten() -> None:
    fast = candidate("fast", ratio=0.3, drop=(0.2, 0.5, 0.9))
    exact = candidate("exact", ratio=0.6, drop=(-0.2, 0.1, 0.3))
    beaten = candidate("beaten", ratio=0.7, drop=(-0.2, 0.2, 0.3))
    lossy = candidate("lossy", ratio=0.1, drop=(0.5, 0.9, 1.4))
    tried = [FP32, fast, exact, beaten, lossy]
    front = proven_front(tried, Limits(front=True))
    assert [entry.recipe.name for entry in front] == ["fast", "exact", "fp32"]
    choice = choice_on_front(exact, choose(tried, Limits()), tried, Limits())
    assert choice.reason.startswith("on the Pareto front: exact, which takes 0.60× the time of fp32")
    assert (choice.verdicts["exact"], choice.verdicts["fast"]) == ("shipped", "the best by the objective")
    # By size the original is beaten by what is smaller, unless it is more accurate.
    assert FP32 in proven_front(tried, Limits(objective="size"))
    assert FP32 not in proven_front(tried, Limits(max_latency_ms=3.0))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    save_model(classifier(), place / "model.onnx")
    (scores,) = ReferenceEvaluator(classifier()).run(None, {"x": samples(200)})
    np.savez(place / "val.npz", x=samples(200), y=scores.argmax(1).astype(np.int64))
    (place / "int8.toml").write_text('name = "my int8"\n[[technique]]\nname = "quantize"\n')
    return place


def run(place: Path, out: Path, **settings: Any) -> Any:
    return compress.optimize(
        place / "model.onnx",
        data=place / "val.npz",
        out=out,
        recipes=[place / "int8.toml"],
        backends=["onnxruntime"],
        seconds=0.02,
        threads=1,
        max_drop=100.0,
        objective="size",
        front=True,
        **settings,
    )


def test_every_build_of_the_front_is_a_bundle(place: Path, tmp_path: Path) -> None:
    result = run(place, tmp_path / "build")
    assert "fp32" in result.front_bundles
    assert {path.name for path in tmp_path.iterdir()} == {
        "build",
        *(path.name for path in result.front_bundles.values()),
    }
    for name, path in result.front_bundles.items():
        bundle = compress.load_bundle(path)
        assert bundle.manifest["name"] == name
        assert bundle.manifest["reason"].startswith("on the Pareto front: ")
        assert compress.explain(path).shipped == name
        compress.report(path, html=tmp_path / f"{path.name}.html")
        verdict = compress.gate_build(path, baseline=result.bundle.path, data=place / "val.npz")
        assert verdict.to_dict()["checks"]
        assert compress.inspect(path).format == "bundle"
    assert result.to_dict()["front_bundles"] == {
        name: str(path) for name, path in result.front_bundles.items()
    }


def test_a_directory_that_is_no_bundle_is_kept_and_told_before_anything_is_measured(
    place: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "build-my-int8" / "thesis.tex"
    kept.parent.mkdir()
    kept.write_text("text")
    with pytest.raises(OutputError, match="build-my-int8"):
        run(place, tmp_path / "build")
    assert [path.name for path in tmp_path.iterdir()] == ["build-my-int8"]
    assert kept.read_text() == "text"
