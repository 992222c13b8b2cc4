"""Networks of torch in half precision: techniques get them in float32, and what is written is in half again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from compress import quantize
from compress.api.inputs import load_bound
from compress.data.task import load_task
from compress.network.lifting.widening import in_half
from compress.network.network import load_network
from compress.network.preparation import outputs_as_it_came
from compress.network.saving import save_network

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((6, 3, 8, 8)).astype(np.float32)


class Net(nn.Module):
    """With a value that it makes itself, a norm in float32, and two outputs, of which one holds integers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu(self.conv(x)).mean((2, 3)) + torch.ones(8, dtype=x.dtype)
        y = self.norm(y).float().softmax(-1).to(x.dtype)
        scores = self.head(y)
        return scores, scores.argmax(-1)


def net(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return Net().eval().to(dtype)


@pytest.mark.parametrize(("dtype", "edge"), [(torch.float16, "float16"), (torch.bfloat16, "float32")])
def test_a_graph_is_widened_and_the_network_as_it_came_is_kept(dtype: torch.dtype, edge: str) -> None:
    module = net(dtype)
    network = load_network(module, example=[X])
    assert network.graph is not None
    assert {parameter.dtype for parameter in network.graph.parameters()} == {torch.float32}
    assert network.inputs[0].dtype == edge
    assert [spec.dtype for spec in network.outputs] == [edge, "int64"]
    x = X.astype(edge)
    scores, _ = outputs_as_it_came(network, {"x": x})
    with torch.no_grad():
        wanted, _ = module(torch.from_numpy(X).to(dtype))
    np.testing.assert_array_equal(scores, wanted.to(getattr(torch, edge)).numpy())
    model = network.to_onnx()
    (found, _) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x[:2]})
    assert found.dtype == edge
    np.testing.assert_allclose(found.astype(np.float32), wanted[:2].float().numpy(), atol=0.02)


def test_a_network_in_float32_is_left_alone() -> None:
    network = load_network(net(torch.float32), example=[X])
    assert network.half is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_is_written_is_in_half_precision_again(dtype: torch.dtype, tmp_path: Path) -> None:
    module = net(dtype)
    network = load_network(module, example=[X])
    save_network(network, tmp_path / "written.pt2")
    program = torch.export.load(tmp_path / "written.pt2")
    assert {tensor.dtype for tensor in program.state_dict.values()} == {dtype}
    x = torch.from_numpy(X[:3]).to(dtype)
    found, _ = program.module()(x)
    with torch.no_grad():
        wanted, _ = module(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)
    again = load_network(tmp_path / "written.pt2", example=[X])
    assert [spec.dtype for spec in again.inputs] == [spec.dtype for spec in network.inputs]


def test_what_came_in_another_precision_stays_in_it() -> None:
    class Mixed(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.conv(x)).mean((2, 3))
            return self.head(self.norm(y.float()).to(y.dtype))

    module = Mixed().eval().half()
    module.norm.float()
    network = load_network(module, example=[X.astype(np.float16)])
    assert network.half is not None
    assert network.graph is not None
    dtypes = {name: each.dtype for name, each in in_half(network.graph, network.half).named_parameters()}
    assert {name: dtype for name, dtype in dtypes.items() if dtype != torch.float16} == {
        "norm.weight": torch.float32,
        "norm.bias": torch.float32,
    }


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_builds_are_judged_against_the_network_as_it_came(dtype: torch.dtype, tmp_path: Path) -> None:
    data = {"x": RANDOM.standard_normal((60, 3, 8, 8)).astype(np.float32)}
    result = quantize(net(dtype), data=data, out=tmp_path / "q.onnx", precision="fp16")
    assert result.agreement is not None
    assert result.agreement.mean > 0.9


def test_data_in_float32_is_bound_to_a_network_in_float16() -> None:
    network, task = load_bound(load_task({"x": RANDOM.standard_normal((60, 3, 8, 8))}), net(torch.float16))
    assert task.example()["x"].dtype == np.float16
    assert network.half is not None
