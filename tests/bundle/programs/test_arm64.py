"""The self-check on ARM64: ONNX Runtime's own aarch64 wheel under qemu's user-mode emulation; no time is a board's.

Opt-in: ``sh tests/bundle/programs/arm64.sh DIR`` sets it up, then run
``COMPRESS_ARM64=DIR pytest -m slow tests/bundle/programs/test_arm64.py``.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from compress import optimize
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe
from tests.bundle.programs.bundles import bundle
from tests.graphs import classifier, samples

ARM64 = os.environ.get("COMPRESS_ARM64", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ARM64, reason="COMPRESS_ARM64 is not set: see tests/bundle/programs/arm64.sh"),
]


def check(build: Path) -> str:
    """What the self-check says there."""
    command = [str(Path(ARM64) / "python"), str(build / "selfcheck.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_float_build(tmp_path: Path) -> None:
    assert check(bundle(tmp_path, "onnxruntime")).startswith("pass: 9 files, scores within ")


def test_int8_build_for_the_raspberry_pi(tmp_path: Path) -> None:
    save_model(classifier(channels=32), tmp_path / "model.onnx")
    x = samples(64)
    np.savez(tmp_path / "val.npz", x=x, y=np.arange(64) % 4)
    recipe = Recipe.from_dict({"name": "int8", "technique": [{"name": "quantize"}]})
    result = optimize(
        tmp_path / "model.onnx",
        data=tmp_path / "val.npz",
        target="raspberry-pi-5",
        recipes=[recipe],
        max_drop=100.0,
        out=tmp_path / "build",
    )
    assert result.bundle is not None
    assert result.bundle.recipe.name == "int8"
    assert check(tmp_path / "build").startswith("pass: ")
