"""The user's own file as a build: where nothing beats it, it is what ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from compress.backends.base import Artifact
from compress.backends.onnx_artifact import copied
from compress.onnx_graph.files import sha256_of, size_of
from tests.graphs import classifier, samples


def test_a_copy_is_called_as_the_programs_of_a_bundle_expect_with_its_weights_beside_it(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "build").mkdir()
    path = tmp_path / "mine" / "net.onnx"
    onnx.save(classifier(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    given = Artifact(path, sha256_of(path), size_of(path), "onnxruntime", {})
    build = copied(given, tmp_path / "build")
    assert sorted(part.name for part in build.path.parent.iterdir()) == ["model.onnx", "weights.bin"]
    assert (build.sha256, build.size_bytes) == (given.sha256, given.size_bytes)
    x = samples(3)
    results = [onnxruntime.InferenceSession(str(each)).run(None, {"x": x})[0] for each in (path, build.path)]
    assert np.array_equal(*results)
