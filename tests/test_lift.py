from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from compress.errors import InternalError, LiftError, NetworkError
from compress.lift import Lifted, lift
from compress.lift_calls import aten
from compress.trace import Traced, trace_module
from tests.networks import (
    NETWORKS,
    Functional,
    GRUNet,
    LSTMNet,
    ResidualCNN,
    TiedWeights,
    TwoOutputs,
    VisionTransformer,
    build,
    load_example,
)


def lifted(module: nn.Module, *arrays: np.ndarray) -> Lifted:
    return lift(trace_module(copy.deepcopy(module), list(arrays)))


def modules(graph: torch.fx.GraphModule) -> dict[str, nn.Module]:
    return {
        str(node.target): graph.get_submodule(str(node.target))
        for node in graph.graph.nodes
        if node.op == "call_module"
    }


def outputs(result: torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]) -> list[torch.Tensor]:
    if isinstance(result, dict):
        return list(result.values())
    return list(result) if isinstance(result, tuple) else [result]


@cache
def once(kind: type[nn.Module]) -> Lifted:
    return lifted(build(kind), *NETWORKS[kind].values())


def network(kind: type[nn.Module]) -> torch.fx.GraphModule:
    return copy.deepcopy(once(kind).graph)


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


def test_layers_are_modules_under_their_own_paths() -> None:
    graph = network(ResidualCNN)
    found = {path: type(module).__name__ for path, module in modules(graph).items()}
    assert found == {
        "stem": "Conv2d",
        "layers.0.conv1": "Conv2d",
        "layers.0.bn1": "BatchNorm2d",
        "layers.0.conv2": "Conv2d",
        "layers.0.bn2": "BatchNorm2d",
        "layers.1.conv1": "Conv2d",
        "layers.1.bn1": "BatchNorm2d",
        "layers.1.conv2": "Conv2d",
        "layers.1.bn2": "BatchNorm2d",
        "layers.1.shortcut": "Conv2d",
        "dropout": "Dropout",
        "head": "Linear",
    }


def test_attention_becomes_linear_layers_and_keeps_its_loose_parameters() -> None:
    graph = network(VisionTransformer)
    assert {"attention.in_proj", "attention.out_proj", "norm", "mlp.0"} <= modules(graph).keys()
    assert {"token", "positions"} <= dict(graph.named_parameters()).keys()


@pytest.mark.parametrize(
    ("kind", "path", "layer"), [(GRUNet, "recurrence", nn.GRU), (LSTMNet, "lstm", nn.LSTM)]
)
def test_recurrent_layers_start_from_zeros_by_themselves(
    kind: type[nn.Module], path: str, layer: type[nn.Module]
) -> None:
    graph = network(kind)
    assert isinstance(modules(graph)[path], layer)
    assert not any(node.target is aten.zeros.default for node in graph.graph.nodes)


def test_a_recurrent_layer_with_a_given_state_keeps_it() -> None:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 6, batch_first=True)
            self.start = nn.Linear(4, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            state = self.start(x[:, 0])[None]
            return self.lstm(x, (state, torch.tanh(state)))[0]

    torch.manual_seed(0)
    module, x = Decoder().eval(), torch.randn(4, 5, 4)
    graph, _, _ = lifted(module, x.numpy())
    assert isinstance(modules(graph)["lstm"], nn.LSTM)
    torch.testing.assert_close(graph(x), module(x))


def test_tied_weights_stay_one_parameter_and_a_layer_used_twice_one_module() -> None:
    graph = network(TiedWeights)
    layers = modules(graph)
    assert layers["embedding"].weight is layers["head"].weight
    assert [str(node.target) for node in graph.graph.nodes if node.op == "call_module"].count("shared") == 2
    assert copy.deepcopy(graph).get_submodule("embedding").weight is not layers["embedding"].weight


def test_functional_calls_become_modules_only_where_the_weight_is_a_parameter() -> None:
    graph = network(Functional)
    assert [type(module).__name__ for module in modules(graph).values()] == ["Conv2d", "LayerNorm", "Linear"]
    left = [node for node in graph.graph.nodes if node.target is aten.linear.default]
    assert len(left) == 1  # its weight is matrix * gain


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


def traced_program(module: nn.Module, x: torch.Tensor, **options: object) -> Traced:
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("n")},), **options)
    return Traced(program, {"x": x}, lambda *inputs: (copy.deepcopy(module).eval()(*inputs),))


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


def test_training_behaviour_of_calls_is_off_too() -> None:
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = F.scaled_dot_product_attention(x, x, x, dropout_p=0.5 if self.training else 0.0)
            return F.rrelu(y, training=self.training) - F.dropout(x, training=self.training)

    module, x = Noisy().train(), torch.randn(4, 2, 3, 8)
    graph, _, _ = lift(traced_program(module, x))
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


@pytest.mark.parametrize(
    ("kind", "named"),
    [(Branches, "Eq(u0, 1)"), (Conditional, "cond"), (Counts, "'calls'"), (Custom, "compress_tests::twice")],
)
def test_what_cannot_be_lifted_is_named_with_its_place(kind: type[nn.Module], named: str) -> None:
    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text().splitlines(), 1)
        if f"# HERE {'branches' if kind is Branches else named}" in text
    )
    with pytest.raises(LiftError) as caught:
        lifted(kind(), np.ones((2, 3), np.float32))
    assert named in caught.value.found
    assert f"{__file__}:{line}" in caught.value.found


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


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (4, 9)),
    "conv3d": (lambda: nn.Conv3d(4, 6, (1, 2, 3), dilation=2), (4, 6, 6, 6)),
    "same": (lambda: nn.Conv2d(4, 6, 3, padding="same", bias=False), (4, 6, 6)),
    "reflect": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (4, 6, 6)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2), (4, 5, 5)),
    "batch_norm_1d": (lambda: nn.BatchNorm1d(4), (4,)),
    "batch_norm_plain": (lambda: nn.BatchNorm2d(4, affine=False, momentum=None), (4, 5, 5)),
    "instance_norm": (lambda: nn.InstanceNorm2d(4, affine=True), (4, 5, 5)),
    "instance_norm_running": (lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True), (4, 5, 5)),
    "group_norm": (lambda: nn.GroupNorm(2, 4), (4, 5, 5)),
    "layer_norm": (lambda: nn.LayerNorm((4, 5), bias=False), (4, 5)),
    "layer_norm_plain": (lambda: nn.LayerNorm(5, elementwise_affine=False), (4, 5)),
    "prelu": (lambda: nn.PReLU(4), (4, 5)),
    "dropout2d": (lambda: nn.Dropout2d(0.3), (4, 5, 5)),
    "alpha_dropout": (lambda: nn.AlphaDropout(0.3), (4,)),
    "rnn": (lambda: nn.RNN(4, 6, nonlinearity="relu", batch_first=True), (5, 4)),
    "gru_no_bias": (lambda: nn.GRU(4, 6, bias=False, batch_first=True, dropout=0.2, num_layers=2), (5, 4)),
    "lstm_projected": (lambda: nn.LSTM(4, 6, proj_size=3, batch_first=True, bidirectional=True), (5, 4)),
}


class Holder(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = self.layer(x * 1)
        return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer_becomes_the_module_it_was(name: str) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    module = Holder(make())
    x = torch.randn(4, *shape)
    module.train()(x)  # statistics, where it keeps any
    graph, _, _ = lifted(module, x.numpy())
    layer = modules(graph)["layer"]
    assert type(layer) is type(module.layer)
    own = dict(module.layer.named_parameters()) | dict(module.layer.named_buffers())
    assert own.keys() == (dict(layer.named_parameters()) | dict(layer.named_buffers())).keys()
    torch.testing.assert_close(graph.eval()(x), module.eval()(x))
    graph.train(), module.train()
    torch.manual_seed(2)
    trained = graph(x)
    torch.manual_seed(2)
    torch.testing.assert_close(trained, module(x))


def test_indexing_the_states_of_an_lstm() -> None:
    graph = network(LSTMNet)
    taken = [node.args[1] for node in graph.graph.nodes if node.target is operator.getitem]
    assert taken == [1, 0, 1, 1]  # states, hidden; states, cell
