"""Whatever containers a module returns its tensors in; what is no container of tensors is named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import LiftError
from compress.network.network import load_network
from tests.loading import refusal

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


@dataclass
class Output:
    logits: Any
    hidden: Any = None


class Pair(NamedTuple):
    one: torch.Tensor
    other: torch.Tensor


class Returns(nn.Module):
    def __init__(self, make: Any, **config: Any) -> None:
        super().__init__()
        self.layer, self.make, self.config = nn.Linear(6, 5), make, SimpleNamespace(**config)

    def forward(self, x: torch.Tensor) -> Any:
        return self.make(self.layer(x))


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda y: Output(y), ["logits"]),
        (
            lambda y: Output(y, Output(y * 2, {"a/b": y * 3})),
            ["logits", "hidden_logits", "hidden_hidden_a_b"],
        ),
        (lambda y: Pair(y, y * 2), ["one", "other"]),
        (lambda y: Counter({"scores": y}), ["scores"]),
        (lambda y: (y, None, 3, "text"), ["output"]),
    ],
)
def test_outputs_are_named_after_their_fields(make: Any, names: list[str]) -> None:
    network = load_network(Returns(make), example=[X])
    assert [spec.name for spec in network.outputs] == names


class Cache:
    def __init__(self, keys: torch.Tensor) -> None:
        self.keys = keys


def test_what_is_no_tensor_is_named_with_its_place() -> None:
    error = refusal(LiftError, Returns(lambda y: {"logits": y, "past": Cache(y)}), example=[X])
    assert "a Cache as 'past'" in error.found
    assert "use_cache" not in error.todo


def test_a_cache_is_turned_off_in_the_config() -> None:
    module = nn.Sequential(Returns(lambda y: (y, Cache(y)), use_cache=True))
    assert "config.use_cache = False" in refusal(LiftError, module, example=[X]).todo
