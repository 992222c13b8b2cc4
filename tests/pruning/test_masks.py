from __future__ import annotations

import copy

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

from compress.network.network import load_network
from compress.onnx_graph.zeros import is_2_4, zeros_of
from compress.pruning.masks_2_4 import Held, mask_2_4, obstacle
from compress.quantization import Settings, quantize_static
from compress.target.target import TENSORRT_FLAVOUR


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 6), st.lists(st.integers(1, 3), max_size=3), st.integers(0, 99))
def test_the_two_largest_of_every_four_stay(outputs: int, fours: int, kernel: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, 4 * fours, *kernel, generator=generator)
    mask = mask_2_4(weight)
    assert mask.shape == weight.shape
    kept = (weight.abs() * mask).movedim(1, -1).reshape(-1, 4)
    every = weight.abs().movedim(1, -1).reshape(-1, 4)
    assert ((kept > 0).sum(1) == 2).all()
    torch.testing.assert_close(kept.sum(1), every.topk(2).values.sum(1))


def test_of_equal_weights_two_stay() -> None:
    assert mask_2_4(torch.ones(2, 8)).sum() == 8


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        (nn.Linear(8, 8), None),
        (nn.Conv2d(8, 8, 3), None),
        (nn.Conv2d(16, 16, 3, groups=2), "2 groups"),
        (nn.Linear(8, 4), "8 inputs and 4 outputs, fewer than 8"),
        (nn.Linear(4, 8), "4 inputs and 8 outputs, fewer than 8"),
        (nn.Linear(10, 8), "10 inputs, no multiple of 4"),
        (nn.ReLU(), "no matrix product or convolution"),
    ],
)
def test_what_is_left_dense_says_why(layer: nn.Module, wanted: str | None) -> None:
    assert obstacle(layer, 8) == wanted


def masked() -> tuple[nn.Module, np.ndarray]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(8, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 16, 3), nn.Flatten())
    return module.append(nn.Linear(16 * 16, 16)), torch.randn(16, 8, 6, 6).numpy()


def test_masks_hold_through_training_copies_export_and_int8() -> None:
    module, x = masked()
    graph = (network := load_network(module, example=[x[:2]])).graph
    assert graph is not None
    for layer in graph.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            parametrize.register_parametrization(layer, "weight", Held(mask_2_4(layer.weight)))
    graph = copy.deepcopy(graph).train()
    optimizer = torch.optim.AdamW(graph.parameters(), 1e-2)
    before = [parameter.clone() for parameter in graph.parameters()]
    for _ in range(3):
        optimizer.zero_grad()
        graph(torch.from_numpy(x)).square().sum().backward()
        optimizer.step()
    assert not any(torch.equal(*pair) for pair in zip(before, graph.parameters(), strict=True))
    trained = network.with_graph(graph.eval())
    model = trained.to_onnx()
    # Written as plain weights: no mask is multiplied at run time.
    assert not [node for node in model.graph.node if node.op_type in ("Mul", "Cast")]
    assert [each.two_of_four for each in zeros_of(model)] == [True] * 3
    with torch.no_grad():
        expected = graph(torch.from_numpy(x)).numpy()
    result = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {network.inputs[0].name: x})[0]
    np.testing.assert_allclose(result, expected, atol=1e-4)
    assert any(parametrize.is_parametrized(module) for module in graph.modules())
    quantized, _ = quantize_static(model, [{network.inputs[0].name: x}], TENSORRT_FLAVOUR, Settings())
    assert [each.two_of_four for each in zeros_of(quantized)] == [True] * 3
    assert is_2_4(quantized)


def test_a_dense_network_is_not_taken_for_sparse() -> None:
    module, x = masked()
    model = load_network(module, example=[x[:2]]).to_onnx()
    assert not is_2_4(model)
    assert not any(each.two_of_four for each in zeros_of(model))
