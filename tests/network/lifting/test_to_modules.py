"""Which calls become modules, under which paths and with which parameters."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable

import pytest
import torch
from torch import nn

from compress.network.lifting.calls import aten
from tests.lifting import lifted, modules, network
from tests.networks import Functional, GRUNet, LSTMNet, ResidualCNN, TiedWeights, VisionTransformer


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


def test_a_bias_that_is_added_outside_of_its_layer_is_added_once() -> None:
    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(nn.functional.linear(x, self.layer.weight)) + self.layer.bias

    module, x = Apart(), torch.randn(5, 4)
    graph, _, _ = lifted(module, x.numpy())
    assert [type(each) for each in modules(graph).values()] == [nn.Linear]
    torch.testing.assert_close(graph(x), module(x))


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


def test_indexing_the_states_of_an_lstm() -> None:
    graph = network(LSTMNet)
    taken = [node.args[1] for node in graph.graph.nodes if node.target is operator.getitem]
    assert taken == [1, 0, 1, 1]  # states, hidden; states, cell


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
