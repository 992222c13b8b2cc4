"""Rounding while training is the rounding of the build."""

from __future__ import annotations

import numpy as np
import pytest

from compress.quantization.weights.onnxruntime import round_blocks
from compress.quantization.weights.settings import Settings

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("inputs", [64, 80])
def test_weights_are_rounded_as_the_runtime_rounds_them(bits: int, inputs: int):
    from compress.language.weight_rounding import rounded

    weight = np.random.default_rng(0).normal(size=(24, inputs)).astype(np.float32)
    weight[3] = np.abs(weight[3])
    weight[5] = 0
    theirs = round_blocks(weight, Settings("onnxruntime", bits, 32, False, "int8"))
    assert theirs.zero_points is not None
    values = (theirs.integers.astype(np.float32) - theirs.zero_points[..., None]) * theirs.scales[..., None]
    wanted = values.reshape(24, -1)[:, :inputs]
    found = rounded(torch.from_numpy(weight), bits, 32).numpy()
    step = theirs.scales.max()
    assert np.abs(found - wanted).max() <= step * 1.01  # half a step that falls to the other side
    assert np.mean(np.abs(found - wanted) > 1e-4) < 0.02


def test_the_gradient_passes():
    from compress.language.weight_rounding import rounded

    weight = torch.randn(4, 32, requires_grad=True)
    (rounded(weight, 4, 32) * torch.arange(32)).sum().backward()
    assert torch.equal(weight.grad, torch.arange(32).float().expand(4, 32))
