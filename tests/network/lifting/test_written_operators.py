"""An operator of another library that a package describes is lifted, trained, pruned, masked, written and linted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import LiftError
from compress.lint import lint
from compress.network.lifting.written_operators import wrongly_described
from compress.network.network import Network, load_network
from compress.network.tracing import trace
from compress.pruning import find_channels, random_batch, remove
from compress.pruning.masked import run_masked
from compress.target.target import load_target
from tests.distributions import installed


@torch.library.custom_op("compress_tests::snake", mutates_args=())
def snake(x: torch.Tensor, frequency: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
    return x + scale * torch.sin(frequency * x) ** 2 / frequency


@snake.register_fake
def _(x: torch.Tensor, frequency: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("compress_tests::halves", mutates_args=())
def halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[:, ::2].clone(), x[:, 1::2].clone()


@halves.register_fake
def _(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x[:, ::2]), torch.empty_like(x[:, 1::2])


SOURCE = """
import torch

TABLE = torch.tensor([2.0])

def snake(x, frequency, *, scale=1.0):
    return x + torch.sin(frequency * x).square() * scale / frequency

def halves(x):
    return x[:, ::2], x[:, 1::2]

def wrong(x, frequency, *, scale=1.0):
    return x + torch.sin(frequency * x).square() * scale * TABLE / frequency

def of_another_shape(x, frequency, *, scale=1.0):
    return x.sum(1)

def one_in_a_tuple(x, frequency, *, scale=1.0):
    return (snake(x, frequency, scale=scale),)

def a_number(x, frequency, *, scale=1.0):
    return 1.0

def exchanged(x):
    return x[:, 1::2], x[:, ::2]

def in_a_list(x):
    return [x[:, ::2], x[:, 1::2]]

def failing(x, frequency, *, scale=1.0):
    raise ValueError("no such\\nthing")
"""
X = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)


class Snake(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.rand(channels, 1, 1) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return snake(x, self.frequency, scale=0.7)


def network() -> nn.Module:
    torch.manual_seed(0)
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return nn.Sequential(nn.Conv2d(3, 16, 3), Snake(16), nn.Conv2d(16, 8, 3), nn.ReLU(), *tail).eval()


@pytest.fixture
def described(tmp_path: Path) -> Iterator[None]:
    points = {
        "compress_tests::snake": "acme_operators:snake",
        "compress_tests::halves": "acme_operators:halves",
    }
    with installed(tmp_path / "site", "acme", {"compress.operators": points}, acme_operators=SOURCE):
        yield


def lifted() -> Network:
    return load_network(network(), example=[X])


def test_without_a_description_it_is_refused() -> None:
    with pytest.raises(LiftError, match="compress_tests::snake"):
        lifted()


@pytest.mark.usefixtures("described")
def test_it_is_lifted_and_trains() -> None:
    graph = lifted().graph
    torch.testing.assert_close(graph(torch.from_numpy(X)), network()(torch.from_numpy(X)))
    graph(torch.from_numpy(X)).sum().backward()
    (frequency,) = (value for name, value in graph.named_parameters() if name.endswith("frequency"))
    assert frequency.grad is not None
    assert bool(frequency.grad.abs().min() > 0)


@pytest.mark.usefixtures("described")
def test_what_is_pruned_through_it_is_what_a_hand_would_cut_and_what_is_masked() -> None:
    found = lifted()
    channels = find_channels(found.graph, [torch.from_numpy(X)])
    (through,) = (group.name for group in channels.groups if len(group.atoms) == 16)
    keep = [at for at in range(16) if at not in (1, 4)]
    by_hand = network()
    by_hand[0].weight, by_hand[0].bias = (
        nn.Parameter(each[keep]) for each in (by_hand[0].weight, by_hand[0].bias)
    )
    by_hand[1].frequency = nn.Parameter(by_hand[1].frequency[keep])
    by_hand[2].weight = nn.Parameter(by_hand[2].weight[:, keep])
    expected = by_hand(torch.from_numpy(X))
    (masked,) = run_masked(channels, channels.removed({through: [1, 4]}), [torch.from_numpy(X)])
    cut = remove(channels, {through: [1, 4]}, random_batch([torch.from_numpy(X)], [True]))
    torch.testing.assert_close(masked, expected)
    torch.testing.assert_close(cut(torch.from_numpy(X)), expected)


@pytest.mark.usefixtures("described")
def test_it_is_written_in_operators_of_onnx_and_linted() -> None:
    model = lifted().to_onnx()
    assert "Sin" in {node.op_type for node in model.graph.node}
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert [each for each in lint(model, load_target("jetson")) if each.rule == "operator"] == []


@pytest.mark.usefixtures("described")
def test_one_with_two_results() -> None:
    class Halves(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            even, odd = halves(x)
            return even - odd

    module = nn.Sequential(nn.Conv2d(3, 16, 3), Halves(), nn.Flatten(), nn.Linear(800, 4)).eval()
    graph = load_network(module, example=[X]).graph
    torch.testing.assert_close(graph(torch.from_numpy(X)), module(torch.from_numpy(X)))


@pytest.mark.parametrize(
    "function, found",
    [
        ("wrong", r"results up to .* apart from the operator's"),
        ("of_another_shape", r"float32\[\w+, 10, 10\] where the operator gives float32\[\w+, 16, 10, 10\]"),
        ("one_in_a_tuple", r"a tuple of 1: float32\[.*\] where the operator gives float32\["),
        ("a_number", r"a value of type float where the operator gives float32\["),
        ("failing", "ValueError: no such"),
    ],
)
def test_a_wrong_description_is_told_with_its_distribution(tmp_path: Path, function: str, found: str) -> None:
    points = {"compress_tests::snake": f"acme_operators:{function}"}
    with (
        installed(tmp_path / "site", "acme", {"compress.operators": points}, acme_operators=SOURCE),
        pytest.raises(LiftError, match=found) as caught,
    ):
        lifted()
    assert caught.value.wanted == "'compress_tests::snake' in PyTorch's operators, as acme 1.0 describes it"
    assert caught.value.todo == f"correct acme_operators:{function}, or uninstall acme"


class Halves(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        even, odd = halves(x)
        return even - 2 * odd


def both() -> nn.Module:
    """A network with two operators, ``snake`` before ``halves``."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), Snake(16), Halves(), nn.Flatten(), nn.Linear(800, 4)).eval()


@pytest.mark.parametrize(
    ("snake_by", "halves_by", "blamed"),
    [("snake", "exchanged", "halves"), ("wrong", "halves", "snake"), ("wrong", "exchanged", "snake")],
)
def test_the_one_of_two_packages_that_is_wrong_is_named(
    tmp_path: Path, snake_by: str, halves_by: str, blamed: str
) -> None:
    """The network's outputs differ in each case; the first operator that differs itself is at fault."""
    first = {"compress.operators": {"compress_tests::snake": f"acme_snake:{snake_by}"}}
    second = {"compress.operators": {"compress_tests::halves": f"bolt_halves:{halves_by}"}}
    with (
        installed(tmp_path / "acme", "acme", first, acme_snake=SOURCE),
        installed(tmp_path / "bolt", "bolt", second, bolt_halves=SOURCE),
        pytest.raises(LiftError, match=r"results .* apart from the operator's") as caught,
    ):
        load_network(both(), example=[X])
    package = {"snake": "acme", "halves": "bolt"}[blamed]
    assert caught.value.wanted.startswith(
        f"'compress_tests::{blamed}' in PyTorch's operators, as {package} 1.0"
    )


@pytest.mark.usefixtures("described")
def test_where_no_description_is_wrong_no_package_is_blamed() -> None:
    program = trace(both(), {"input": torch.from_numpy(X)})
    assert wrongly_described(program, [torch.from_numpy(X[:1])]) is None


def test_a_list_of_results_is_as_good_as_a_tuple(tmp_path: Path) -> None:
    points = {
        "compress_tests::snake": "acme_operators:snake",
        "compress_tests::halves": "acme_operators:in_a_list",
    }
    with installed(tmp_path / "site", "acme", {"compress.operators": points}, acme_operators=SOURCE):
        module = both()
        graph = load_network(module, example=[X]).graph
        torch.testing.assert_close(graph(torch.from_numpy(X)), module(torch.from_numpy(X)))
