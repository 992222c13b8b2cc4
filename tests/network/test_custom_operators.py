"""Operators that are not PyTorch's own are refused with who calls them, where, and a way out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import LiftError
from compress.network.network import load_network


@torch.library.custom_op("compress_tests::thrice", mutates_args=())
def thrice(x: torch.Tensor) -> torch.Tensor:
    return x * 3


@torch.library.custom_op("compress_tests::grouped", mutates_args=())
def grouped(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@grouped.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Experts(nn.Module):
    def __init__(self, implementation: str) -> None:
        super().__init__()
        self.config = SimpleNamespace(_experts_implementation=implementation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return grouped(x)  # HERE grouped


class Unknown(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return thrice(x)  # HERE thrice


def line_of(mark: str) -> str:
    lines = Path(__file__).read_text().splitlines()
    return f"{__file__}:{next(at for at, text in enumerate(lines, 1) if text.endswith(f'# HERE {mark}'))}"


def refusal(part: nn.Module) -> LiftError:
    network = nn.Sequential(nn.Linear(3, 3), nn.Sequential(part))
    with pytest.raises(LiftError) as caught:
        load_network(network, example=[np.ones((2, 3), np.float32)])
    return caught.value


def test_an_operator_that_cannot_be_traced_is_named_with_its_module_and_line() -> None:
    error = refusal(Unknown())
    assert (
        error.found
        == f"the custom operator 'compress_tests::thrice' in '1.0' (Unknown) at {line_of('thrice')}"
    )
    assert error.todo == "replace it by PyTorch's operators, or give an ONNX file"


def test_the_networks_own_settings_are_the_way_out() -> None:
    error = refusal(Experts("grouped_mm"))
    assert (
        error.found
        == f"the custom operator 'compress_tests::grouped' in '1.0' (Experts) at {line_of('grouped')}"
    )
    assert error.todo == "build it with experts_implementation='batched_mm' in place of 'grouped_mm'"


def test_settings_that_are_plain_already_are_not_the_way_out() -> None:
    assert "ONNX" in refusal(Experts("batched_mm")).todo


def test_a_network_that_torch_quantized_is_wanted_in_floats() -> None:
    class Quantized(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q = torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)
            return torch.ops.quantized.relu6(q).dequantize()

    error = refusal(Quantized())
    assert "quantized" in error.found
    assert "in floats" in error.todo
