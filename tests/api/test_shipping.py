"""What lies on disk while a run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compress import load_bundle, optimize
from compress.core.progress import Reporter
from compress.recipe import Recipe
from compress.records.profile import Profile
from tests.graphs import classifier, samples


class StoppedError(BaseException):
    """Stands for the end of the process."""


class StopWhenShipped(Reporter):
    """Ends the run at the candidate after the first bundle."""

    def __init__(self) -> None:
        self.shipped: list[str] = []

    def ship(self, name: str) -> None:
        self.shipped.append(name)

    def begin(self, recipe: Recipe) -> None:
        if self.shipped:
            raise StoppedError


def test_a_run_that_is_stopped_leaves_the_best_build_so_far_complete(tmp_path: Path) -> None:
    """On a board that is not at hand, what is faster is estimated, and the same everywhere."""
    from compress.onnx_graph.files import save_model

    save_model(classifier(channels=512), tmp_path / "model.onnx")
    np.savez(tmp_path / "val.npz", x=samples(60), y=np.arange(60) % 4)
    given = {"data": tmp_path / "val.npz", "target": "jetson", "max_drop": 100.0, "out": tmp_path / "build"}
    reporter = StopWhenShipped()
    with pytest.raises(StoppedError):
        optimize(tmp_path / "model.onnx", **given, reporter=reporter)
    early = load_bundle(tmp_path / "build")
    manifest = json.loads((early.path / "manifest.json").read_text())
    assert (manifest["name"], manifest["complete"]) == (reporter.shipped[0], False)
    assert "the search was not over" in (early.path / "report.md").read_text()
    profile = Profile.from_dict(json.loads((early.path / "profile.json").read_text()))
    assert profile.latency[0].ratio is not None
    assert profile.latency[0].ratio < 1
    result = optimize(tmp_path / "model.onnx", **given)
    assert result.resumed >= 2
    manifest = json.loads((tmp_path / "build" / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert "the search was not over" not in (tmp_path / "build" / "report.md").read_text()
