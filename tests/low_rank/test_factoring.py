from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import fx, nn

from compress.low_rank import Ranks, factor
from compress.measuring.layer_pair import LayerPair
from compress.network.layer_export import export_layers

FASTER = LayerPair("measured", 1, 1.0, 0.5, (0.4, 0.6))
SLOWER = LayerPair("measured", 1, 1.0, 0.9, (0.8, 1.1))


class Network(nn.Module):
    """A layer of each kind, a shared weight, a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 16, 3, padding=1)
        self.deep = nn.Conv2d(16, 32, 3, 2, 1)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=4)
        self.raised = nn.ConvTranspose2d(32, 16, 2, 2)
        self.twice = nn.Linear(16, 16)
        self.tied = nn.Linear(16, 16)
        self.also_tied = nn.Linear(16, 16)
        self.also_tied.weight = self.tied.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.raised(self.grouped(self.deep(self.wide(x).relu()).relu())).mean((2, 3))
        return self.also_tied(self.tied(self.twice(self.twice(x).relu())))


@pytest.fixture
def graph() -> fx.GraphModule:
    torch.manual_seed(0)
    return fx.symbolic_trace(Network().eval())


def batches(count: int = 2) -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [[torch.randn(8, 3, 8, 8, generator=generator)] for _ in range(count)]


def always(pair: LayerPair) -> Callable[[onnx.ModelProto, onnx.ModelProto], LayerPair]:
    return lambda layer, other: pair


def test_faster_pairs_take_their_layers_places(graph: fx.GraphModule) -> None:
    before = {name: tensor.clone() for name, tensor in graph.state_dict().items()}
    ranks = Ranks(energy=0.9, multiple=1, schemes=("channels",))
    done = factor(graph, batches(), batches(1)[0], ranks, always(FASTER))
    assert done.graph is not None
    kept = {trial.layer: trial.rank for trial in done.trials if trial.kept}
    assert {"deep", "twice"} <= set(kept)
    assert len([node for node in done.graph.graph.nodes if node.target == "twice.1"]) == 2
    assert done.graph.get_submodule("deep.0").out_channels == kept["deep"]
    assert not hasattr(done.graph, "deep.weight")
    for name, tensor in graph.state_dict().items():
        assert torch.equal(tensor, before[name])
    # Nothing is left behind that would be called on every later run.
    assert not any(module._forward_pre_hooks for module in done.graph.modules())
    with torch.no_grad():
        expected, result = graph(*batches()[0]), done.graph(*batches()[0])
    assert float((result - expected).norm() / expected.norm()) < 0.5
    result = done.graph.train()(*batches()[0]).sum()
    result.backward()
    assert done.graph.get_submodule("deep.0").weight.grad is not None


def test_at_full_rank_the_network_is_the_same(graph: fx.GraphModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.low_rank.factoring._Candidate._saves", lambda self, rank: True)
    done = factor(graph, batches(), batches(1)[0], Ranks(energy=1.0), always(FASTER))
    assert done.graph is not None
    assert sum(trial.kept for trial in done.trials) == 3
    with torch.no_grad():
        torch.testing.assert_close(done.graph(*batches()[0]), graph(*batches()[0]), atol=1e-5, rtol=1e-5)


def test_a_pair_that_is_not_faster_leaves_the_network_as_it_is(graph: fx.GraphModule) -> None:
    done = factor(graph, batches(), batches(1)[0], Ranks(energy=0.6, multiple=1), always(SLOWER))
    assert done.graph is None
    assert not any(trial.kept for trial in done.trials)
    timed = [trial for trial in done.trials if trial.timing is not None]
    assert timed
    assert {trial.reason for trial in timed} == {"not faster than the layer"}


def test_what_would_not_save_arithmetic_is_not_timed(graph: fx.GraphModule) -> None:
    def never(layer: onnx.ModelProto, other: onnx.ModelProto) -> LayerPair:
        raise AssertionError

    done = factor(graph, batches(), batches(1)[0], Ranks(energy=1.0, schemes=("channels",)), never)
    assert done.graph is None
    assert all("no less arithmetic" in trial.reason for trial in done.trials)


def test_the_fastest_scheme_of_a_layer_wins(graph: fx.GraphModule) -> None:
    def timer(layer: onnx.ModelProto, other: onnx.ModelProto) -> LayerPair:
        spatial = list(onnx.numpy_helper.to_array(other.graph.initializer[0]).shape[2:]) == [3, 1]
        return LayerPair("measured", 1, 1.0, 0.4 if spatial else 0.5, (0.3, 0.6))

    done = factor(graph, batches(), batches(1)[0], Ranks(energy=0.6, multiple=1), timer)
    of_deep = {trial.scheme: trial for trial in done.trials if trial.layer == "deep"}
    assert of_deep["spatial"].kept
    assert of_deep["channels"].reason == "spatial is faster"
    assert done.graph is not None
    assert done.graph.get_submodule("deep.0").kernel_size == (3, 1)
    assert done.graph.get_submodule("deep.1").kernel_size == (1, 3)


def test_by_latency_the_largest_rank_inside_the_time_is_taken(graph: fx.GraphModule) -> None:
    def timer(layer: onnx.ModelProto, other: onnx.ModelProto) -> LayerPair:
        rank = other.graph.initializer[0].dims[0]
        return LayerPair("measured", 1, 1.0, rank / 40, (0.0, rank / 39))

    ranks = Ranks(latency=0.5, multiple=2, schemes=("channels",))
    done = factor(graph, batches(), batches(1)[0], ranks, timer)
    chosen = {trial.layer: trial.rank for trial in done.trials}
    assert chosen["deep"] == 20
    none = factor(graph, batches(), batches(1)[0], Ranks(latency=0.01, schemes=("channels",)), timer)
    assert none.graph is None
    assert none.trials[0].reason == "no rank takes at most 0.01 of the layer's time"


def test_equal_layers_are_timed_once() -> None:
    torch.manual_seed(0)
    network = fx.symbolic_trace(nn.Sequential(*(nn.Linear(64, 64) for _ in range(4))).eval())
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(torch.diag(torch.cat([torch.ones(8), torch.zeros(56)])))
    counted = []

    def timer(layer: onnx.ModelProto, other: onnx.ModelProto) -> LayerPair:
        counted.append(layer)
        return FASTER

    done = factor(network, [], [torch.randn(1, 64)], Ranks(energy=0.99), timer)
    assert len(done.trials) == 4
    assert len(counted) == 1


def test_what_is_left_whole_is_noted(graph: fx.GraphModule) -> None:
    done = factor(graph, [], batches(1)[0], Ranks(), always(SLOWER), keep=("deep",))
    assert done.notes == (
        "grouped is left whole: 4 groups",
        "raised is left whole: a transposed convolution",
        "tied is left whole: its weight is used elsewhere too",
        "also_tied is left whole: its weight is used elsewhere too",
    )
    assert "deep" not in {trial.layer for trial in done.trials}


def test_a_weight_that_the_graph_reads_elsewhere_is_left_alone() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) @ self.layer.weight

    network = fx.symbolic_trace(Reads().eval())
    done = factor(network, [], [torch.randn(2, 8)], Ranks(), always(FASTER))
    assert done.notes == ("layer is left whole: its weight is used elsewhere too",)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Linear(6, 3, bias=False), nn.Linear(3, 5)], (2, 6)),
        ([nn.Linear(6, 3), nn.Linear(3, 5, bias=False)], (2, 4, 6)),
        ([nn.Conv1d(4, 3, 3, 2, 1), nn.Conv1d(3, 2, 1)], (2, 4, 9)),
        (
            [nn.Conv2d(4, 3, (4, 1), padding="same"), nn.Conv2d(3, 2, (1, 3), (1, 2), "valid", (1, 2))],
            (2, 4, 9, 9),
        ),
        ([nn.Conv3d(4, 6, 3, padding=1, groups=2)], (1, 4, 5, 5, 5)),
    ],
)
def test_a_few_layers_in_onnx_compute_the_same(layers: list[nn.Module], shape: tuple[int, ...]) -> None:
    model = export_layers(layers, shape)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with torch.no_grad():
        expected = nn.Sequential(*layers)(torch.from_numpy(x)).numpy()
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert session.get_outputs()[0].shape == list(expected.shape)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-5)
