"""A lifted network computes and trains as its source does, for any batch that the source takes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import InternalError, NetworkError
from compress.network.lifting.calls import aten
from compress.network.lifting.graph import Lifted, lift
from compress.network.tracing import Traced, trace_module
from tests.lifting import lifted, modules, network, once, outputs, traced_program
from tests.networks import NETWORKS, ResidualCNN, TwoOutputs, VisionTransformer, build, load_example


@pytest.fixture(scope="module", params=list(NETWORKS), ids=lambda kind: kind.__name__)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Lifted]:
    return build(request.param), once(request.param)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_lifted_networks_compute_the_same_at_every_batch_size(
    case: tuple[nn.Module, Lifted], rows: int
) -> None:
    module, (graph, inputs, _) = case
    assert all(spec.shape[0] == "batch" for spec in inputs)
    example = [tensor[torch.arange(rows) % len(tensor)] for tensor in load_example(type(module))]
    with torch.no_grad():
        expected, found = outputs(module(*example)), outputs(graph(*example))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_every_parameter_is_there_once_and_gets_its_gradient(case: tuple[nn.Module, Lifted]) -> None:
    module, (lifted_graph, _, _) = case
    gradients = []
    for each_network in (copy.deepcopy(lifted_graph), copy.deepcopy(module)):
        sum(each.square().sum() for each in outputs(each_network(*load_example(type(module))))).backward()
        assert all(each.grad is not None for each in each_network.parameters())
        norms = [(each.numel(), float(each.grad.norm())) for each in each_network.parameters()]
        gradients.append(sorted(norms))
    assert gradients[0] == [(size, pytest.approx(norm, rel=1e-3, abs=1e-5)) for size, norm in gradients[1]]


def test_training_mode_uses_the_batch_and_drops_activations() -> None:
    graph = network(ResidualCNN)
    (x,) = load_example(ResidualCNN)
    before = graph.get_submodule("layers.0.bn1").running_mean.clone()
    graph.train()
    assert not torch.equal(graph(x), graph(x))  # dropout
    assert not torch.equal(graph.get_submodule("layers.0.bn1").running_mean, before)
    graph.eval()
    assert torch.equal(graph(x), graph(x))


def test_training_mode_computes_what_the_source_computes() -> None:
    module, graph = build(ResidualCNN), network(ResidualCNN)
    (x,) = load_example(ResidualCNN)
    for each in (module, graph):
        each.train()
        each.get_submodule("dropout").p = 0.0
    torch.testing.assert_close(graph(x), module(x))
    counted = graph.get_submodule("layers.0.bn1")
    assert counted.num_batches_tracked == module.get_submodule("layers.0.bn1").num_batches_tracked == 1
    torch.testing.assert_close(counted.running_var, module.get_submodule("layers.0.bn1").running_var)


def test_lifting_again_changes_nothing() -> None:
    first = once(VisionTransformer)
    again = lifted(first.graph, *NETWORKS[VisionTransformer].values())
    assert list(modules(again.graph)) == list(modules(first.graph))
    assert (again.inputs, again.outputs) == (first.inputs, first.outputs)


def test_tied_weights_that_a_program_names_twice_are_one_parameter() -> None:
    x = torch.randn(4, 8)
    graph = torch.fx.Graph()
    value = graph.placeholder("x")
    for name in ("first.weight", "second.weight"):
        value = graph.call_function(aten.linear.default, (value, graph.get_attr(name)))
    graph.output(value)
    weight = torch.randn(8, 8)
    tied = torch.fx.GraphModule(
        {"first.weight": nn.Parameter(weight), "second.weight": nn.Parameter(weight)}, graph
    )
    assert len(list(lift(trace_module(tied, [x.numpy()])).graph.parameters())) == 1


def test_outputs_keep_their_names() -> None:
    assert [str(spec) for spec in once(TwoOutputs).outputs] == [
        "logits: float32[batch, 5]",
        "box: float32[batch, 4]",
    ]


def test_an_output_named_like_an_input_gets_another_name() -> None:
    class Echo(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"x": x * 2, "y": x}

    _, inputs, specs = lifted(Echo(), np.ones((2, 3), np.float32))
    assert [spec.name for spec in (*inputs, *specs)] == ["x", "x_", "y"]


@pytest.mark.parametrize("kind", [ResidualCNN, VisionTransformer])
def test_decomposed_programs_get_their_layers_back(kind: type[nn.Module]) -> None:
    module, (x,) = build(kind), load_example(kind)
    whole = traced_program(module, x)
    program = whole.program.run_decompositions()
    graph, _, _ = lift(Traced(program, whole.example, whole.reference))
    found = {type(each).__name__ for each in modules(graph).values()}
    assert {"Conv2d", "Linear"} <= found
    assert found & {"BatchNorm2d", "LayerNorm"}
    assert sum(each.numel() for each in graph.parameters()) == sum(
        each.numel() for each in module.parameters()
    )


def test_a_program_exported_in_training_mode_is_lifted_for_inference() -> None:
    module, (x,) = build(ResidualCNN).train(), load_example(ResidualCNN)
    graph, _, _ = lift(traced_program(module, x))
    assert not graph.training
    torch.testing.assert_close(graph(x), module.eval()(x))


def test_a_program_traced_strictly_keeps_its_paths() -> None:
    module, (x,) = build(ResidualCNN), load_example(ResidualCNN)
    graph, _, _ = lift(traced_program(module, x, strict=True))
    assert {"layers.1.shortcut", "dropout"} <= modules(graph).keys()


class FixedBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bias


def test_a_network_that_fixes_its_batch_says_so() -> None:
    _, inputs, specs = lifted(FixedBatch(), np.ones((4, 3), np.float32))
    assert inputs[0].shape == specs[0].shape == (4, 3)


def test_a_program_saved_with_one_batch_size_gets_a_dynamic_one() -> None:
    module, (x,) = build(ResidualCNN), load_example(ResidualCNN)
    program = torch.export.export(module, (x[:1],))
    reference = program.module(check_guards=False)
    graph, inputs, _ = lift(Traced(program, {"x": x[:1]}, lambda each: (reference(each),), fixed=True))
    assert inputs[0].shape == ("batch", 3, 8, 8)
    torch.testing.assert_close(graph(x), module(x))


def test_a_fixed_batch_stays_where_rows_depend_on_each_other() -> None:
    class Centred(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - x.mean(0)

    x = torch.randn(4, 3)
    program = torch.export.export(Centred(), (x,))
    _, inputs, _ = lift(Traced(program, {"x": x}, lambda each: (each - each.mean(0),), fixed=True))
    assert inputs[0].shape == (4, 3)


def test_a_lifted_graph_that_computes_something_else_is_a_defect() -> None:
    traced = trace_module(build(TwoOutputs), [NETWORKS[TwoOutputs]["x"]])
    with pytest.raises(InternalError):
        lift(
            Traced(
                traced.program, traced.example, lambda x: tuple(each + 1e-3 for each in traced.reference(x))
            )
        )


def test_a_network_without_tensors_to_return_is_refused() -> None:
    class Silent(nn.Module):
        def forward(self, x: torch.Tensor) -> int:
            return 3

    with pytest.raises(NetworkError, match="returns tensors"):
        lifted(Silent(), np.ones((2, 3), np.float32))
