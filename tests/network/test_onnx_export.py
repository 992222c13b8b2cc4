from __future__ import annotations

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from compress.core.tensor_spec import TensorSpec
from compress.errors import InternalError, NetworkError
from compress.network.lifting.graph import lift
from compress.network.network import Network, load_network
from compress.network.onnx_export import export_onnx
from compress.network.tracing import trace_module
from tests.networks import (
    NETWORKS,
    DepthwiseCNN,
    GRUNet,
    LSTMNet,
    ResidualCNN,
    TwoInputs,
    TwoOutputs,
    VisionTransformer,
    build,
    load_example,
)

# The rest differs in nothing that the exporter sees.
EXPORTED = [DepthwiseCNN, VisionTransformer, GRUNet, LSTMNet, TwoInputs, TwoOutputs]


@pytest.fixture(scope="module", params=EXPORTED, ids=lambda kind: kind.__name__)
def exported(request: pytest.FixtureRequest) -> tuple[nn.Module, Network, onnx.ModelProto]:
    module = build(request.param)
    network = load_network(module, example=NETWORKS[request.param])
    return module, network, network.to_onnx()


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_the_model_computes_the_same_at_every_batch_size(
    exported: tuple[nn.Module, Network, onnx.ModelProto],
) -> None:
    module, network, model = exported
    runner = session(model)
    for rows in (1, 2, 7):
        example = [tensor[torch.arange(rows) % len(tensor)] for tensor in load_example(type(module))]
        with torch.no_grad():
            expected = module(*example)
        if not isinstance(expected, dict):
            expected = {"output": expected}
        feeds = {spec.name: each.numpy() for spec, each in zip(network.inputs, example, strict=True)}
        for name, reference in expected.items():
            np.testing.assert_allclose(runner.run([name], feeds)[0], reference, rtol=1e-4, atol=1e-4)


def test_names_axes_and_operator_set_are_as_specified(
    exported: tuple[nn.Module, Network, onnx.ModelProto],
) -> None:
    _, network, model = exported
    runner = session(model)
    assert [(each.name, tuple(each.shape)) for each in runner.get_inputs()] == [
        (spec.name, spec.shape) for spec in network.inputs
    ]
    assert [(each.name, tuple(each.shape)) for each in runner.get_outputs()] == [
        (spec.name, spec.shape) for spec in network.outputs
    ]
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 20)]


def test_recurrent_layers_stay_whole(exported: tuple[nn.Module, Network, onnx.ModelProto]) -> None:
    module, _, model = exported
    operators = {node.op_type for node in model.graph.node}
    assert operators & {"GRU", "LSTM"} == {GRUNet: {"GRU"}, LSTMNet: {"LSTM"}}.get(type(module), set())


def test_exporting_leaves_every_submodule_in_its_mode(capfd: pytest.CaptureFixture[str]) -> None:
    network = load_network(build(ResidualCNN), example=NETWORKS[ResidualCNN])
    assert network.graph is not None
    network.graph.train()
    network.graph.get_submodule("layers.0.bn1").eval()
    before = {path: part.training for path, part in network.graph.named_modules()}
    statistics = network.graph.get_submodule("layers.1.bn1").running_mean.clone()
    model = network.to_onnx()
    assert {path: part.training for path, part in network.graph.named_modules()} == before
    assert torch.equal(network.graph.get_submodule("layers.1.bn1").running_mean, statistics)
    assert "Dropout" not in {node.op_type for node in model.graph.node}
    assert capfd.readouterr() == ("", "")


def test_an_axis_other_than_the_batch_stays_dynamic() -> None:
    x = torch.randn(2, 3, 8, 8)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    height = torch.export.Dim("height", min=4, max=64)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("n"), 2: height},))
    traced = trace_module(copy.deepcopy(module), [x.numpy()])
    graph, inputs, outputs = lift(type(traced)(program, traced.example, traced.reference))
    batch, channels, tall, wide = inputs[0].shape
    assert (batch, channels, wide) == ("batch", 3, 8)
    assert isinstance(tall, str)
    runner = session(export_onnx(graph, inputs, outputs, [x.numpy()]))
    taller = torch.randn(3, 3, 11, 8)
    np.testing.assert_allclose(
        runner.run(None, {inputs[0].name: taller.numpy()})[0], module(taller).detach(), rtol=1e-4, atol=1e-5
    )


def test_a_fixed_batch_stays_fixed() -> None:
    class FixedBatch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.ones(4, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.bias

    model = load_network(FixedBatch(), example=[np.ones((4, 3), np.float32)]).to_onnx()
    assert session(model).get_inputs()[0].shape == [4, 3]


def test_an_operator_without_onnx_form_is_named() -> None:
    class Bessel(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x)

    network = load_network(Bessel(), example=[np.ones((2, 3), np.float32)])
    with pytest.raises(NetworkError, match="bessel_j0"):
        network.to_onnx()


def test_attention_with_a_learned_bias_has_an_onnx_form() -> None:
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.bias = nn.Linear(4, 4), nn.Parameter(torch.randn(1, 6, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layer(x)
            return nn.functional.scaled_dot_product_attention(y, y, y, attn_mask=self.bias)

    network = load_network(
        Biased(), example=[np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)]
    )
    network.to_onnx()  # verified against the graph
    assert network.graph is not None
    assert all(parameter.requires_grad for parameter in network.graph.parameters())


def test_a_network_onnx_runtime_does_not_run_is_refused() -> None:
    network = load_network(nn.Conv2d(3, 4, 3).double(), example=[np.ones((2, 3, 5, 5))])
    assert network.inputs[0].dtype == "float64"
    with pytest.raises(NetworkError, match="float32"):
        network.to_onnx()


def test_another_operator_set() -> None:
    network = load_network(build(TwoOutputs), example=NETWORKS[TwoOutputs])
    assert network.graph is not None
    sample = [np.ones((2, 8), np.float32)]
    model = export_onnx(network.graph, network.inputs, network.outputs, sample, opset=18)
    assert [each.version for each in model.opset_import if not each.domain] == [18]
    with pytest.raises(InternalError, match="operator set 13"):  # torch gives 18 without a word
        export_onnx(network.graph, network.inputs, network.outputs, sample, opset=13)


def test_a_model_that_computes_something_else_is_a_defect() -> None:
    class Unstable(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.rand_like(x)

    graph = torch.fx.symbolic_trace(Unstable())
    specs = (TensorSpec("x", "float32", ("batch", 3)),), (TensorSpec("y", "float32", ("batch", 3)),)
    with pytest.raises(InternalError, match="agrees"):
        export_onnx(graph, *specs, [np.ones((2, 3), np.float32)])


def test_a_trained_graph_exports_what_it_is_now() -> None:
    network = load_network(build(TwoOutputs), example=NETWORKS[TwoOutputs])
    assert network.graph is not None
    first = network.to_onnx()
    assert network.to_onnx() is first
    network.graph.get_submodule("box").bias.data += 1
    feeds = NETWORKS[TwoOutputs]
    second = session(network.to_onnx()).run(["box"], feeds)[0]
    np.testing.assert_allclose(second, session(first).run(["box"], feeds)[0] + 1, rtol=1e-4, atol=1e-4)
