"""Calls before they become modules: written in place, trained or inlined away, or refused with their place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from compress.errors import LiftError
from compress.network.lifting.calls import aten
from compress.network.lifting.graph import lift
from tests.lifting import lifted, modules, network, traced_program
from tests.networks import ResidualCNN


def test_no_operator_works_in_place_where_it_can_be_avoided() -> None:
    graph = network(ResidualCNN)
    targets = {node.target for node in graph.graph.nodes}
    assert {aten.relu.default, aten.add.Tensor} <= targets
    assert not targets & {aten.relu_.default, aten.add_.Tensor}


class WritesIntoASlice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        y[:, 0] = 0
        return y + 1


class ReadsWhatWasChanged(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        row = y[:, 0]
        z = torch.relu_(y)
        return z + y + row[:, None]


class ChangesItsInput(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.add_(1) * x


@pytest.mark.parametrize("kind", [WritesIntoASlice, ReadsWhatWasChanged, ChangesItsInput])
def test_writes_in_place_keep_their_meaning(kind: type[nn.Module]) -> None:
    x = torch.randn(4, 3)
    graph, _, _ = lifted(kind(), x.numpy())
    torch.testing.assert_close(graph(x.clone()), kind()(x.clone()))


def test_a_block_without_gradients_is_inlined() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                x = self.body(x)
            return self.head(x)

    graph, _, _ = lifted(Frozen(), np.ones((2, 3), np.float32))
    assert list(modules(graph)) == ["body", "head"]


class Mixed(nn.Module):
    """A norm kept out of mixed precision, by a block, by a decorator, and within another block."""

    def __init__(self, *, enabled: bool = False) -> None:
        super().__init__()
        self.body, self.head, self.enabled = nn.Linear(3, 4), nn.Linear(4, 2), enabled

    @torch.autocast("cpu", enabled=False)
    def norm(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.float() / x.float().norm(dim=-1, keepdim=True), x + 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=self.enabled):
            x = self.body(x)  # HERE mixed precision
        one, other = self.norm(x.float())
        with torch.no_grad(), torch.autocast("cuda", enabled=False):
            return self.head(one * other)


def test_a_block_that_casts_nothing_is_inlined() -> None:
    module, x = Mixed(), torch.randn(4, 3)
    graph, _, _ = lifted(module, x.numpy())
    torch.testing.assert_close(graph(x), module(x))
    assert list(modules(graph)) == ["body", "head"]


def mixed() -> nn.Module:
    return Mixed(enabled=True)


def test_training_behaviour_of_calls_is_off_too() -> None:
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = F.scaled_dot_product_attention(x, x, x, dropout_p=0.5 if self.training else 0.0)
            return F.rrelu(y, training=self.training) - F.dropout(x, training=self.training)

    module, x = Noisy().train(), torch.randn(4, 2, 3, 8)
    graph, _, _ = lift(traced_program(module, x))
    torch.testing.assert_close(graph(x), module.eval()(x))


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:  # HERE branches
            return x
        return -x


class Conditional(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))  # HERE cond


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1  # HERE 'calls'
        return x + self.calls


@torch.library.custom_op("compress_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Custom(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return twice(x) + 1  # HERE compress_tests::twice


class Complex(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.fft(x)  # HERE complex64


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (Branches, "Eq(u0, 1)"),
        (Conditional, "cond"),
        (Counts, "'calls'"),
        (Custom, "compress_tests::twice"),
        (Complex, "complex64"),
        (mixed, "mixed precision"),
    ],
)
def test_what_cannot_be_lifted_is_named_with_its_place(kind: Callable[[], nn.Module], named: str) -> None:
    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text().splitlines(), 1)
        if f"# HERE {'branches' if kind is Branches else named}" in text
    )
    with pytest.raises(LiftError) as caught:
        lifted(kind(), np.ones((2, 3), np.float32))
    assert named in caught.value.found
    assert f"{__file__}:{line}" in caught.value.found


def test_a_parameter_among_the_outputs_asks_for_no_gradient() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(3, 4), nn.Parameter(torch.full((1,), 7.0))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.layer(x), self.scale

    graph, _, outputs = lifted(Scaled(), np.ones((2, 3), np.float32))
    with torch.no_grad():
        _, scale = graph(torch.ones(2, 3))
    assert scale.numpy().tolist() == [7.0]
    assert outputs[1].shape == (1,)


def test_nothing_is_printed_when_tracing_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LiftError):
        lifted(Branches(), np.ones((2, 3), np.float32))
    assert capfd.readouterr() == ("", "")


def test_a_network_that_is_random_in_inference_is_refused() -> None:
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.rand_like(x)

    with pytest.raises(LiftError, match="random"):
        lifted(Noisy(), np.ones((2, 3), np.float32))
