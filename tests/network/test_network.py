"""Networks that live in memory: what loading reads of them, and what it leaves as it was."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel

from compress.errors import DataError, NetworkError
from compress.network.network import Network, load_network
from tests.graphs import classifier
from tests.loading import refusal
from tests.networks import NETWORKS, ResidualCNN, TwoInputs, TwoOutputs, build, load_example

EXAMPLE = NETWORKS[ResidualCNN]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Converting a tensor")


def test_a_live_module_is_never_modified() -> None:
    module, (x,) = build(ResidualCNN), load_example(ResidualCNN)
    module.train()
    module.layers[0].bn1.eval()
    module.head.bias.requires_grad_(False)
    module(x).sum().backward()
    calls: list[int] = []
    module.head.register_forward_hook(lambda *_: calls.append(1))
    before = copy.deepcopy(module)
    gradients = [None if each.grad is None else each.grad.clone() for each in module.parameters()]
    array = EXAMPLE["x"].copy()

    network = load_network(module, example={"x": array})
    assert network.graph is not None
    network.graph.train()(x)
    with torch.no_grad():
        for parameter in network.graph.parameters():
            parameter.add_(1)

    assert [part.training for part in module.modules()] == [part.training for part in before.modules()]
    for now, then in zip(module.state_dict().values(), before.state_dict().values(), strict=True):
        assert torch.equal(now, then)
    assert [each.requires_grad for each in module.parameters()] == [
        each.requires_grad for each in before.parameters()
    ]
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        assert parameter.grad is gradient is None or torch.equal(parameter.grad, gradient)
    assert len(module.head._forward_hooks) == 1
    assert np.array_equal(array, EXAMPLE["x"])


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        torch.compile,
        torch.jit.script,
        AveragedModel,
        lambda each: nn.DataParallel(torch.compile(each)),
    ],
)
def test_wrapped_modules_are_unwrapped(wrap: Any) -> None:
    module = build(ResidualCNN)
    network = load_network(wrap(module), example=EXAMPLE)
    assert network.graph is not None
    (x,) = load_example(ResidualCNN)
    torch.testing.assert_close(network.graph(x), module(x), rtol=1e-4, atol=1e-5)
    assert "layers.1.shortcut.weight" in dict(network.graph.named_parameters())


def test_a_module_that_keeps_what_it_computed_is_copied() -> None:
    class Keeps(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.kept = [super().forward(x)]
            return self.kept[0]

    module = nn.Sequential(prune.l1_unstructured(nn.Linear(6, 6), "weight", 0.5), Keeps(6, 5))
    x = torch.randn(4, 6)
    expected = module(x)
    weight = module[0].weight
    network = load_network(module, example=[x.numpy()])
    assert network.graph is not None
    torch.testing.assert_close(network.graph(x), expected)
    assert module[0].weight is weight
    assert weight.grad_fn is not None


def test_the_origin_of_a_live_module_is_its_state() -> None:
    module = build(TwoOutputs)
    origin = load_network(module, example=NETWORKS[TwoOutputs]).origin
    assert (origin.path, origin.format) == ("TwoOutputs", "module")
    assert load_network(build(TwoOutputs), example=NETWORKS[TwoOutputs]).origin == origin
    with torch.no_grad():
        module.box.bias[0] += 1
    assert load_network(module, example=NETWORKS[TwoOutputs]).origin.sha256 != origin.sha256


@pytest.mark.parametrize(
    "example",
    [
        {"x": NETWORKS[TwoOutputs]["x"]},
        {"images": NETWORKS[TwoOutputs]["x"]},
        [NETWORKS[TwoOutputs]["x"]],
        [NETWORKS[TwoOutputs]["x"].astype(np.float64)],
        [NETWORKS[TwoOutputs]["x"][:1]],
    ],
    ids=["by name", "another name", "in order", "another float", "one row"],
)
def test_examples_are_matched_to_the_inputs(example: Any) -> None:
    assert str(load_network(build(TwoOutputs), example=example).inputs[0]) == "x: float32[batch, 8]"


def test_an_optional_input_may_be_left_out_or_given() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
            return x if scale is None else x * scale

    ones = np.ones((2, 3), np.float32)
    assert [spec.name for spec in load_network(Scaled(), example=[ones]).inputs] == ["x"]
    assert [spec.name for spec in load_network(Scaled(), example={"scale": ones, "x": ones}).inputs] == [
        "x",
        "scale",
    ]


def test_no_example() -> None:
    assert "--data" in refusal(NetworkError, build(TwoOutputs)).todo


@pytest.mark.parametrize(
    "example",
    [{"image": np.ones((2, 3, 8, 8))}, {"a": 1, "b": 2}, [], [1, 2, 3], {"image": "no", "tokens": [[1]]}],
)
def test_examples_that_do_not_name_the_inputs(example: Any) -> None:
    refusal(DataError, build(TwoInputs), example=example)


def test_an_example_of_the_wrong_shape_is_told_with_its_shape() -> None:
    error = refusal(NetworkError, build(ResidualCNN), example=[np.ones((2, 1, 8, 8), np.float32)])
    assert "float32[2, 1, 8, 8]" in error.found
    assert "3 channels" in error.found


def test_something_else_than_a_module() -> None:
    refusal(NetworkError, 3, example=[])


def test_an_infinite_mask_is_no_fault() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.triu(torch.full((3, 3), float("-inf")), 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x[:, None] + self.mask, -1)

    assert load_network(Masked(), example=[np.ones((2, 3), np.float32)]).trainable


def test_a_module_without_values_is_refused() -> None:
    refusal(NetworkError, nn.Linear(3, 3, device="meta"), example=[np.ones((2, 3))])
    refusal(NetworkError, nn.LazyLinear(3), example=[np.ones((2, 3))])


def test_bfloat16_is_given_and_returned_as_float32() -> None:
    network = load_network(nn.Linear(3, 3).bfloat16(), example=[np.ones((2, 3))])
    assert [spec.dtype for spec in (*network.inputs, *network.outputs)] == ["float32", "float32"]


def test_a_network_continues_as_onnx_or_as_another_graph() -> None:
    network = load_network(build(TwoOutputs), example=NETWORKS[TwoOutputs])
    model = classifier()
    continued = network.with_onnx(model)
    assert continued.to_onnx() is model
    assert not continued.trainable
    assert continued.origin == network.origin
    assert network.graph is not None
    graph = copy.deepcopy(network.graph)
    other = network.with_graph(graph)
    assert isinstance(other, Network)
    assert (other.inputs, other.outputs, other.origin) == (network.inputs, network.outputs, network.origin)
    assert other.graph is graph
    assert other.trainable
