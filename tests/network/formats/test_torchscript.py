"""TorchScript, traced or scripted, becomes a network that trains, or is refused with its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import LiftError
from compress.network.network import load_network
from tests.loading import refusal
from tests.networks import (
    NETWORKS,
    GRUNet,
    ResidualCNN,
    TiedWeights,
    TwoInputs,
    TwoOutputs,
    VisionTransformer,
    build,
    load_example,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Converting a tensor")


@pytest.mark.parametrize("kind", ["traced", "scripted"])
@pytest.mark.parametrize(
    "network", [VisionTransformer, GRUNet, TwoInputs, TwoOutputs, TiedWeights], ids=lambda each: each.__name__
)
def test_torchscript_keeps_its_parameters_and_its_batch(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], network: type[nn.Module], kind: str
) -> None:
    module, example = build(network), load_example(network)
    script = (
        torch.jit.script(module)
        if kind == "scripted"
        else torch.jit.trace(module, tuple(example), strict=False, check_trace=False)
    )
    torch.jit.save(script, tmp_path / "network")
    capfd.readouterr()
    loaded = load_network(tmp_path / "network", example=NETWORKS[network])
    assert capfd.readouterr() == ("", "")
    assert loaded.graph is not None
    assert [spec.name for spec in loaded.inputs] == list(NETWORKS[network])
    live = load_network(module, example=NETWORKS[network])
    assert live.graph is not None
    assert loaded.outputs == live.outputs
    assert dict(loaded.graph.named_parameters()).keys() == dict(live.graph.named_parameters()).keys()
    assert len(list(loaded.graph.parameters())) == len(list(live.graph.parameters()))
    assert all(spec.dynamic_batch for spec in loaded.inputs)


class Encoder(nn.Module):
    def __init__(self, *, norm_first: bool, activation: str) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            16, 4, 32, batch_first=True, norm_first=norm_first, activation=activation
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).mean(1)


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (build(VisionTransformer), load_example(VisionTransformer)[0]),
        (Encoder(norm_first=False, activation="relu").eval(), torch.ones(4, 6, 16)),
        (Encoder(norm_first=True, activation="gelu").eval(), torch.ones(4, 6, 16)),
    ],
    ids=["attention", "norm last", "norm first"],
)
def test_attention_that_was_fused_while_tracing_is_trainable_again(
    tmp_path: Path, module: nn.Module, x: torch.Tensor
) -> None:
    with torch.no_grad():
        script = torch.jit.trace(module, x, check_trace=False)
    assert "_native_multi_head_attention" in str(script.inlined_graph) or "_encoder_layer_fwd" in str(
        script.inlined_graph
    )
    torch.jit.save(script, tmp_path / "traced")
    graph = load_network(tmp_path / "traced", example=[x.numpy()]).graph
    assert graph is not None
    found, wanted = dict(graph.named_parameters()), dict(module.named_parameters())
    assert sum(each.numel() for each in found.values()) == sum(each.numel() for each in wanted.values())
    torch.testing.assert_close(graph(x), module(x), rtol=1e-4, atol=1e-5)
    graph(x).square().sum().backward()
    assert all(each.grad is not None for each in found.values())


def test_scripted_loops_over_the_batch_keep_it_fixed(tmp_path: Path) -> None:
    class OverRows(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([2 * x[row] for row in range(x.size(0))])

    torch.jit.save(torch.jit.script(OverRows()), tmp_path / "script")
    assert load_network(tmp_path / "script", example=[np.ones((4, 3), np.float32)]).inputs[0].shape == (4, 3)


def test_scripted_inputs_that_are_no_tensors(tmp_path: Path) -> None:
    class Repeats(nn.Module):
        def forward(self, x: torch.Tensor, times: int, scale: float = 2.0) -> torch.Tensor:
            return x * times * scale

    torch.jit.save(torch.jit.script(Repeats()), tmp_path / "script")
    error = refusal(LiftError, tmp_path / "script", example=[np.ones((2, 3), np.float32)])
    assert error.found == "'times: int' of forward()"


def test_scripted_branches_on_data_are_refused_with_their_place(tmp_path: Path) -> None:
    class OnData(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if bool(x.sum() > 0):
                return x
            return -x

    torch.jit.save(torch.jit.script(OnData()), tmp_path / "script")
    assert f"{__file__}:" in refusal(LiftError, tmp_path / "script", example=[np.ones((4, 3))]).found


def test_frozen_torchscript_is_trainable_again(tmp_path: Path) -> None:
    module, (x,) = build(ResidualCNN), load_example(ResidualCNN)
    torch.jit.save(torch.jit.freeze(torch.jit.script(module)), tmp_path / "frozen")
    graph = load_network(tmp_path / "frozen", example=NETWORKS[ResidualCNN]).graph
    assert graph is not None
    torch.testing.assert_close(graph(x), module(x), rtol=1e-4, atol=1e-4)
    graph(x).sum().backward()
    gradients = [each.grad for each in graph.parameters()]
    assert len(gradients) == 12  # seven weights, five biases; batch norms are folded
    assert all(each is not None for each in gradients)


def _doubled(module: nn.Module, given: tuple[torch.Tensor], result: torch.Tensor) -> torch.Tensor:
    return result * 2


def _halved(module: nn.Module, given: tuple[torch.Tensor]) -> torch.Tensor:
    return given[0] * 0.5


@pytest.mark.parametrize("traced", [False, True])
def test_hooks_of_the_whole_network_are_run(tmp_path: Path, traced: bool) -> None:
    module, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).eval(), torch.randn(5, 4)
    module.register_forward_hook(_doubled)
    module.register_forward_pre_hook(_halved)
    script = torch.jit.trace(module, x) if traced else torch.jit.script(module)
    torch.jit.save(script, tmp_path / "network")
    loaded = load_network(tmp_path / "network", example=[x.numpy()])
    assert loaded.graph is not None
    torch.testing.assert_close(loaded.graph(x[:3]), module(x[:3]))


@pytest.mark.parametrize("saved", [True, False])
def test_what_was_optimized_for_one_processor_is_refused(tmp_path: Path, saved: bool) -> None:
    module = torch.jit.optimize_for_inference(torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3)).eval()))
    torch.jit.save(module, tmp_path / "network")
    with pytest.raises(LiftError) as caught:
        load_network(tmp_path / "network" if saved else module, example=[np.ones((2, 3, 8, 8), np.float32)])
    assert "mkldnn" in caught.value.found.lower()
    assert "save it before that call" in caught.value.todo


def test_a_list_of_tensors_is_refused_with_a_way_out() -> None:
    class Listed(nn.Module):
        def forward(self, xs: list[torch.Tensor]) -> torch.Tensor:
            return xs[0] + xs[1]

    with pytest.raises(LiftError, match="takes the tensors one by one"):
        load_network(torch.jit.script(Listed()), example=[np.ones((2, 3), np.float32)] * 2)
