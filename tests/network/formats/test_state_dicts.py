"""Checkpoints as training scripts and wrappers leave them fill the network they belong to, and no other does."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import parametrizations, weight_norm
from torch.optim.swa_utils import AveragedModel

from compress.errors import NetworkError
from compress.network.formats.detection import sniff
from compress.network.formats.weights import fill, tensors_of
from compress.network.network import load_network

PATH = Path("weights.pt")


def make() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5))


def trained(seed: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    return make()


def under(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: each for name, each in state.items()}


def filled(checkpoint: Any, build: Callable[[], nn.Module] = make) -> nn.Module:
    module = build()
    fill(module, tensors_of(checkpoint, PATH), factory="package:build", path=PATH)
    return module


STATE = trained().state_dict()
LOSS = {"criterion.weight": torch.ones(5)}


@pytest.mark.parametrize(
    "checkpoint",
    [
        under("module.", STATE),
        under("_orig_mod.module.", STATE),
        under("model._orig_mod.", STATE),
        {"state_dict": under("model._orig_mod.", STATE)},
        {"state_dict": under("net.", STATE)},
        {"state_dict": under("backbone.encoder.", STATE)},
        {"state_dict": under("model.", STATE) | LOSS},
        {"epoch": 3, "nested": {"deeper": [{"weights_of_it": STATE}]}},
        {"model": STATE, "optimizer": {"state": {0: {"exp_avg": torch.zeros(4, 3, 3, 3)}}}},
        {"model": STATE, "ema": trained(2).state_dict()},
        {"discriminator": nn.Linear(3, 2).state_dict(), "generator": STATE},
        {"one": STATE, "a copy": dict(STATE)},
        AveragedModel(trained()).state_dict(),
        OrderedDict((name, each) for name, each in STATE.items() if "num_batches" not in name),
        {"model": trained()},
        {"0._orig_mod.weight" if name == "0.weight" else name: each for name, each in STATE.items()},
    ],
    ids=lambda each: ", ".join(map(str, each))[:40],
)
def test_weights_are_found_in_any_wrapper(checkpoint: Any) -> None:
    for name, value in filled(checkpoint).state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(value, STATE[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("checkpoint", "found"),
    [
        (
            {"student": STATE, "teacher": trained(2).state_dict()},
            "2 different ones that fit (student, teacher)",
        ),
        (STATE | {"4.weight": torch.ones(5, 5)}, "1 unexpected (4.weight)"),
        (under("model.", STATE | {"4.weight": torch.ones(5, 5)}), "1 unexpected (4.weight)"),
        ({name: each for name, each in STATE.items() if name != "3.bias"}, "1 missing (3.bias)"),
        ({"model": STATE | {"3.bias": torch.ones(7)}}, "1 of another shape (3.bias (7,) for (5,))"),
        ({"state_dict": nn.GRU(3, 4).state_dict()}, "unexpected (weight_ih_l0, "),
    ],
)
def test_weights_of_another_network_are_refused(checkpoint: Any, found: str) -> None:
    with pytest.raises(NetworkError) as caught:
        filled(checkpoint)
    assert found in caught.value.found


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, AveragedModel, torch.compile], ids=lambda each: each.__name__
)
def test_the_factory_may_build_a_wrapper(wrap: Callable[[nn.Module], nn.Module]) -> None:
    module = filled(STATE, lambda: nn.ModuleDict({"model": make()}))
    torch.testing.assert_close(module["model"][3].weight, STATE["3.weight"])
    if wrap is not AveragedModel:  # which counts what it has averaged
        wrapped = wrap(make())
        fill(wrapped, tensors_of(STATE, PATH), factory="package:build", path=PATH)
        assert any(torch.equal(each, STATE["3.weight"]) for each in wrapped.parameters())


def test_lazy_layers_take_their_shapes_from_the_weights() -> None:
    module = filled(
        STATE,
        lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(5)),
    )
    torch.testing.assert_close(module.state_dict()["3.weight"], STATE["3.weight"])


def test_a_network_without_memory_takes_the_weights_themselves() -> None:
    def build() -> nn.Module:
        with torch.device("meta"):
            return nn.Linear(3, 2)

    weight = torch.ones(2, 3)
    assert torch.equal(filled({"weight": weight, "bias": torch.zeros(2)}, build).weight, weight)


def test_a_parametrization_reads_the_names_of_its_predecessor() -> None:
    before = weight_norm(nn.Linear(3, 2))
    module = filled({"model": before.state_dict()}, lambda: parametrizations.weight_norm(nn.Linear(3, 2)))
    x = torch.ones(1, 3)
    torch.testing.assert_close(module(x), before(x))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("positions", torch.arange(3), persistent=False)


def test_a_tied_weight_is_saved_once(tmp_path: Path) -> None:
    module = Tied()
    safetensors.torch.save_model(module, str(tmp_path / "tied.safetensors"))
    saved = safetensors.torch.load_file(tmp_path / "tied.safetensors")
    assert len(saved) == 1
    assert torch.equal(filled(saved, Tied).head.weight, module.embed.weight)


def test_a_buffer_that_is_no_longer_saved_may_be_there() -> None:
    state = Tied().state_dict() | {"positions": torch.arange(3)}
    assert torch.equal(filled(state, Tied).embed.weight, state["embed.weight"])


def test_two_weights_for_one_are_refused() -> None:
    state = {"embed.weight": torch.ones(6, 4), "head.weight": torch.zeros(6, 4)}
    with pytest.raises(
        NetworkError, match=r"'embed.weight' and 'head.weight' are one|'head.weight' and 'embed.weight'"
    ):
        filled(state, Tied)


# --- pickled whole ------------------------------------------------------------------------------------------


def test_a_module_that_was_pickled_in_a_wrapper_among_other_things(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "ema": None, "model": nn.DataParallel(trained())}, tmp_path / "last.pt")
    x = torch.randn(2, 3, 8, 8)
    network = load_network(tmp_path / "last.pt", example=[x.numpy()], trust_pickle=True)
    torch.testing.assert_close(network.graph(x), trained().eval()(x))
    torch.save({"one": trained(), "other": trained(2)}, tmp_path / "both.pt")
    with pytest.raises(NetworkError, match=r"2 \(one, other\)"):
        load_network(tmp_path / "both.pt", example=[x.numpy()], trust_pickle=True)


# --- several files ------------------------------------------------------------------------------------------


def write_shards(folder: Path, ending: str = "safetensors") -> Path:
    names = [f"model-{number}-of-2.{ending}" for number in (1, 2)]
    for name, layers in zip(names, ("01", "3"), strict=True):
        part = {key: each for key, each in STATE.items() if key[0] in layers}
        if ending == "safetensors":
            safetensors.torch.save_file(part, folder / name)
        else:
            torch.save(part, folder / name)
    weight_map = {key: names[key[0] == "3"] for key in STATE}
    index = folder / f"model.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_shards_are_read_through_their_index(tmp_path: Path, ending: str) -> None:
    index = write_shards(tmp_path, ending)
    x = torch.randn(2, 3, 8, 8)
    options = {"example": [x.numpy()], "factory": "tests.network.formats.test_state_dicts:make"}
    network = load_network(index, **options)
    torch.testing.assert_close(network.graph(x), trained().eval()(x))
    assert network.origin.format == "state_dict"
    torch.save(
        {key: each + 1 for key, each in STATE.items() if key[0] == "3"}, tmp_path / f"model-2-of-2.{ending}"
    )
    assert load_network(index, **options).origin.sha256 != network.origin.sha256


def test_one_shard_alone_is_told_of_the_index(tmp_path: Path) -> None:
    write_shards(tmp_path)
    with pytest.raises(NetworkError) as caught:
        load_network(
            tmp_path / "model-1-of-2.safetensors",
            example=[],
            factory="tests.network.formats.test_state_dicts:make",
        )
    assert "index" in caught.value.todo
    with pytest.raises(NetworkError, match=r"index\.json") as caught:
        sniff(tmp_path)  # of the folder
    assert "index" in caught.value.todo or "name the file" in caught.value.todo


@pytest.mark.parametrize(
    "index",
    [
        {"weight_map": {"a": "../model.safetensors"}},
        {"weight_map": {"a": "gone.safetensors"}},
        {"weight_map": {"a": "index.json"}},
        {"weight_map": {"a": 3}},
        {"weight_map": []},
        {},
    ],
)
def test_an_index_lists_state_dicts_beside_it(tmp_path: Path, index: Any) -> None:
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(NetworkError):
        sniff(tmp_path / "index.json")
