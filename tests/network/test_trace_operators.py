"""Networks that take gradients or map over an axis in inference are traced operator by operator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import LiftError
from compress.network.network import load_network


class Energy(nn.Module):
    """An energy of coordinates, and the force, its gradient."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
        self.way = way

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).sum()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.way == "grad":
            force = torch.func.grad(self.energy)(x)
        elif self.way == "vmap":
            force = torch.func.vmap(torch.func.grad(self.energy))(x)
        else:
            with torch.enable_grad():
                given = x.detach().requires_grad_(True)
                (force,) = torch.autograd.grad(self.energy(given), given)
        return {"energy": self.layers(x), "force": -force}


class Mapped(nn.Module):
    """Maps over the features, with a parameter that is not mapped over."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.vmap(lambda a, b: torch.tanh(a) * b.sum(), in_dims=(1, None), out_dims=1)(
            self.layer(x), self.layer.weight
        )


class Decides(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.sum() > 0 else x


@pytest.mark.parametrize("way", ["grad", "vmap", "autograd"])
def test_a_gradient_in_inference_has_an_onnx_form(way: str) -> None:
    torch.manual_seed(0)
    module, x = Energy(way).eval(), torch.randn(5, 6)
    network = load_network(module, example=[x.numpy()])
    assert network.graph is not None
    assert [str(spec) for spec in network.outputs] == [
        "energy: float32[batch, 1]",
        "force: float32[batch, 6]",
    ]
    wanted = module(x[:3])
    for one, other in zip(network.graph(x[:3]), wanted.values(), strict=True):
        torch.testing.assert_close(one, other.detach())
    assert way == "vmap" or "layers.0.weight" in dict(network.graph.named_parameters())
    assert network.to_onnx().graph.node


def test_a_map_over_features_follows_the_batch() -> None:
    module, x = Mapped().eval(), torch.randn(5, 6)
    network = load_network(module, example=[x.numpy()])
    assert network.graph is not None
    assert network.inputs[0].shape == ("batch", 6)
    torch.testing.assert_close(network.graph(x[:3]), module(x[:3]))


def test_what_depends_on_values_is_refused_as_before() -> None:
    with pytest.raises(LiftError, match="operations do not depend on its data"):
        load_network(Decides(), example=[np.ones((2, 3), np.float32)])
