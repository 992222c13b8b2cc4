"""Each algorithm's integers stand for the weights that neural-compressor itself computes with."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.quantization.weights import Settings, neural_compressor
from compress.quantization.weights.grouped import NotApplicableError, in_groups
from compress.quantization.weights.onnxruntime import round_blocks
from compress.quantization.weights.scale_search import round_alone
from tests.quantization.weights.matrices import rows

INPUTS = 96


def weight(outputs: int = 24, inputs: int = INPUTS, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((outputs, inputs)) / 8).astype(np.float32)


def output_error(found: np.ndarray, wanted: np.ndarray, inputs: np.ndarray) -> float:
    return float(np.square(inputs @ (found - wanted).T).mean() / np.square(inputs @ wanted.T).mean())


def test_hqq_is_that_of_neural_compressor():
    from neural_compressor.torch.algorithms.weight_only.hqq.config import QTensorConfig, hqq_global_option
    from neural_compressor.torch.algorithms.weight_only.hqq.core import HQQTensorHandle

    # Told to share scales along axis 0, of a weight whose groups stand side by side there.
    columns = in_groups(weight(), 32).reshape(-1, 32).T.copy()
    config = QTensorConfig(nbits=4, group_size=32, optimize=True, round_zero=True, pack=True)
    handle = HQQTensorHandle.quantize(torch.from_numpy(columns), config)
    before, hqq_global_option.use_half = hqq_global_option.use_half, False
    try:
        wanted = HQQTensorHandle.dequantize(handle).T.reshape(24, INPUTS)
    finally:
        hqq_global_option.use_half = before
    found = neural_compressor.hqq(weight(), Settings(algorithm="hqq"))
    np.testing.assert_allclose(found.dequantized(), wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize("symmetric", [False, True])
def test_awq_spares_the_columns_whose_inputs_are_large(symmetric):
    settings = Settings(algorithm="awq", symmetric=symmetric)
    x = rows(256, INPUTS)
    found = neural_compressor.awq(weight(), x, settings)
    assert found.input_scales is not None
    large = np.arange(INPUTS) % 16 == 0
    assert found.input_scales[large].mean() < found.input_scales[~large].mean()
    rounded = round_blocks(weight(), settings).dequantized()
    assert output_error(found.dequantized(), weight(), x) < output_error(rounded, weight(), x)


@pytest.mark.parametrize("where", ["column", "group", "size"])
def test_awq_says_where_it_cannot_work(where):
    given = weight(inputs=80 if where == "size" else INPUTS)
    if where == "column":
        given[:, 5] = 0
    elif where == "group":
        given[3, 32:64] = 0
    with pytest.raises(NotApplicableError):
        neural_compressor.awq(given, rows(16, given.shape[1]), Settings(algorithm="awq"))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("inputs", [INPUTS, 80])
def test_the_runtimes_own_rounding_is_close_to_the_weights(bits, symmetric, inputs):
    settings = Settings(algorithm="onnxruntime", bits=bits, symmetric=symmetric)
    given = weight(inputs=inputs)
    found = round_blocks(given, settings).dequantized()
    assert found.shape == given.shape
    step = np.abs(given).max() * 2 / (2**bits - 1)
    assert np.abs(found - given).max() < step


def test_zero_weights_stay_zero():
    for name, algorithm in (
        ("rtn", round_alone),
        ("search", round_alone),
        ("hqq", neural_compressor.hqq),
    ):
        found = algorithm(np.zeros((4, 64), np.float32), Settings(algorithm=name))
        np.testing.assert_array_equal(found.dequantized(), 0)


def test_nothing_is_left_in_the_working_directory_and_nothing_is_logged(tmp_path):
    root = Path(__file__).parents[3]
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r})\n"
        "import numpy as np\n"
        "from compress.quantization.weights import Settings, neural_compressor\n"
        "weight = np.random.default_rng(0).standard_normal((8, 64)).astype('float32')\n"
        "inputs = np.random.default_rng(1).standard_normal((40, 64)).astype('float32')\n"
        "neural_compressor.awq(weight, inputs, Settings(algorithm='awq'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert done.stdout == ""
    assert "neural" not in done.stderr.lower()
    assert "accelerator" not in done.stderr


def test_the_callers_logs_are_not_silenced_for_good():
    neural_compressor.hqq(weight(), Settings(algorithm="hqq"))
    assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [False, True])
def test_onnxruntimes_rounding_reads_the_long_rows_of_its_older_releases(
    bits: int, symmetric: bool, monkeypatch: pytest.MonkeyPatch
):
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantizer

    settings = Settings(algorithm="onnxruntime", bits=bits, symmetric=symmetric)
    weight = np.random.default_rng(0).normal(size=(5, 96)).astype(np.float32)
    wanted = round_blocks(weight, settings)
    rounding = DefaultWeightOnlyQuantizer.qbits_block_quant

    def flat(self, values):
        packed, scales, zero_points = rounding(self, values)
        return packed, scales.reshape(-1), zero_points.reshape(-1)

    monkeypatch.setattr(DefaultWeightOnlyQuantizer, "qbits_block_quant", flat)
    found = round_blocks(weight, settings)
    assert found.scales.shape == (5, 3)
    np.testing.assert_array_equal(found.dequantized(), wanted.dequantized())
