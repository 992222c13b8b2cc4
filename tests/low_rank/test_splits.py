from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

from compress.low_rank.responses import Responses, pair
from compress.low_rank.splits import Split, obstacle, splits

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Module, torch.Tensor]:
    """A layer of any geometry that can be split, with a batch."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    inputs, outputs = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    bias = draw(st.booleans())
    axes = draw(st.integers(0, 3))
    if axes == 0:
        return nn.Linear(inputs, outputs, bias=bias), torch.randn(
            4, *draw(st.sampled_from([(), (3,)])), inputs
        )
    sizes = st.tuples(*[st.integers(1, 3)] * axes)
    kernel, dilation = draw(sizes), draw(sizes)
    stride = draw(sizes)
    padding: object = draw(st.one_of(sizes, st.sampled_from(["same", "valid"])))
    if padding == "same":
        stride = (1,) * axes
    layer = CONVOLUTIONS[axes - 1](
        inputs,
        outputs,
        kernel,
        stride,
        padding,
        dilation,
        bias=bias,  # type: ignore[arg-type]
    )
    return layer, torch.randn(3, inputs, *[draw(st.integers(7, 10)) for _ in range(axes)])


@settings(max_examples=60)
@given(layers(), st.booleans())
def test_at_full_rank_the_pair_is_the_layer(case: tuple[nn.Module, torch.Tensor], listened: bool) -> None:
    layer, batch = case
    for split in splits(layer):
        responses = Responses(split)
        if listened:
            responses.add(batch.relu())
        basis = responses.basis()
        first, second = pair(split, basis, split.full_rank)
        with torch.no_grad():
            expected = layer(batch)
            torch.testing.assert_close(second(first(batch)), expected, atol=1e-5, rtol=1e-5)
        assert first.bias is None


@settings(max_examples=30)
@given(layers(), st.integers(1, 9))
def test_macs_are_those_of_the_layers(case: tuple[nn.Module, torch.Tensor], rank: int) -> None:
    layer, batch = case
    with torch.no_grad():
        output = layer(batch)
        for split in splits(layer):
            rank = min(rank, split.full_rank)
            first, second = pair(split, Responses(split).basis(), rank)
            between = first(batch)
            channels = [
                tensor.shape[-1 if isinstance(layer, nn.Linear) else 1] for tensor in (between, output)
            ]
            assert channels == [rank, len(layer.weight)]
            wanted = (
                output.numel() * layer.weight[0].numel(),
                between.numel() * first.weight[0].numel() + output.numel() * second.weight[0].numel(),
            )
            assert split.macs(rank, tuple(batch.shape), tuple(output.shape)) == wanted


def error(split: Split, inputs: torch.Tensor, rank: int, heard: torch.Tensor | None) -> float:
    responses = Responses(split)
    if heard is not None:
        responses.add(heard)
    first, second = pair(split, responses.basis(), rank)
    with torch.no_grad():
        return float((second(first(inputs)) - split.layer(inputs)).square().mean())


@pytest.mark.parametrize("scheme", ["channels", "spatial"])
def test_data_makes_the_cut_better_than_the_weights_alone(scheme: str) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 16, 3, padding=1)
    mix = torch.randn(16, 16) * torch.logspace(0, -2, 16)
    inputs = torch.einsum("nchw,dc->ndhw", torch.randn(24, 16, 8, 8), mix) + 0.5
    split = next(each for each in splits(layer) if each.scheme == scheme)
    plain, aware = (error(split, inputs[12:], 4, heard) for heard in (None, inputs[:12]))
    assert aware < 0.75 * plain


def test_the_mean_passes_into_the_bias() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(12, 12, bias=False)
    inputs = 100 + torch.randn(500, 3) @ torch.randn(3, 12)
    (split,) = splits(layer)
    assert error(split, inputs, 3, inputs) < 1e-4 * float(layer(inputs).detach().var())


def test_nothing_is_scaled_far_from_anything_else() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(32, 32)
    inputs = torch.randn(400, 32) * torch.logspace(0, -3, 32)
    (split,) = splits(layer)
    responses = Responses(split)
    responses.add(inputs)
    first, _ = pair(split, responses.basis(), 24)
    with torch.no_grad():
        between = first(inputs).std(0)
        plain = layer(inputs).std(0)
    assert float(between.max() / between.min()) < 100
    assert float(plain.min()) > 0


def test_a_rank_keeps_the_energy_that_is_asked_for() -> None:
    torch.manual_seed(0)
    (split,) = splits(nn.Linear(20, 20))
    basis = Responses(split).basis()
    for energy in (0.3, 0.9, 0.99, 1.0):
        rank = basis.rank(energy)
        assert basis.energy(rank) >= energy - 1e-9
        assert rank == 1 or basis.energy(rank - 1) < energy
    singular = torch.linalg.svdvals(split.layer.weight.detach().double()) ** 2
    torch.testing.assert_close(basis.energies, singular)


def test_a_layer_of_zeros_has_a_rank() -> None:
    layer = nn.Linear(4, 4)
    nn.init.zeros_(layer.weight)
    (split,) = splits(layer)
    first, second = pair(split, Responses(split).basis(), 1)
    with torch.no_grad():
        torch.testing.assert_close(second(first(torch.ones(2, 4))), layer(torch.ones(2, 4)))


def test_types_and_frozen_weights_stay() -> None:
    layer = nn.Linear(6, 6).double().requires_grad_(False).eval()
    (split,) = splits(layer)
    for half in pair(split, Responses(split).basis(), 2):
        assert half.weight.dtype == torch.float64
        assert not half.weight.requires_grad
        assert not half.training


def test_what_cannot_be_split_says_why() -> None:
    assert obstacle(nn.Linear(2, 2)) is None
    assert obstacle(nn.Conv2d(4, 4, 3)) is None
    assert obstacle(nn.Conv2d(4, 4, 3, groups=2)) == "2 groups"
    assert obstacle(nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")) == "padding_mode circular"
    assert obstacle(nn.ConvTranspose2d(4, 4, 3)) == "a transposed convolution"
    masked = nn.Linear(2, 2)
    parametrize.register_parametrization(masked, "weight", nn.Identity())
    assert obstacle(masked) == "its weight is held to a pattern"


def test_a_layer_that_hears_zeros_alone_is_split_by_its_weight() -> None:
    layer = nn.Linear(6, 8)
    for split in splits(layer):
        silent, deaf = Responses(split), Responses(split)
        silent.add(torch.zeros(4, 6))
        torch.testing.assert_close(silent.basis().energies, deaf.basis().energies)
        first, second = pair(split, silent.basis(), split.full_rank)
        batch = torch.randn(3, 6)
        with torch.no_grad():
            torch.testing.assert_close(second(first(batch)), layer(batch), atol=1e-5, rtol=1e-5)
