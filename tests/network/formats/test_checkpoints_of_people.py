"""Checkpoints as people have them: what loads each, which of its weights are taken, and what is said without."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from compress.api.inputs import load_bound
from compress.core.progress import Reporter
from compress.data.task import load_task
from compress.errors import CompressError, NetworkError, UntrustedFileError
from compress.network.formats.checkpoint import _load
from compress.network.formats.detection import sniff
from compress.network.network import load_network

FACTORY = "tests.network.formats.test_checkpoints_of_people:make"
X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def make() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5))


def trained(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return make()


MODEL, EMA = trained(1), trained(2)
#: Parameters are averaged, statistics of the norm are not.
MIXED = trained(1)
MIXED.load_state_dict(dict(EMA.named_parameters()), strict=False)


def under(prefix: str, module: nn.Module) -> dict[str, Any]:
    return {prefix + name: each for name, each in module.state_dict().items()}


def optimizer() -> dict[str, Any]:
    made = torch.optim.Adam(MODEL.parameters())
    made.step()
    return made.state_dict()


def averaged() -> dict[str, Any]:
    wrapped = AveragedModel(trained(1))
    wrapped.module.load_state_dict(EMA.state_dict())
    return wrapped.state_dict()


@dataclass(frozen=True)
class Kind:
    """A kind of checkpoint.

    Attributes:
        checkpoint: Makes what is saved.
        said: Words of the error without any argument.
        todo: Words of its advice.
        loads: Arguments that load it.
        taken: The network whose weights are taken.
        chosen: For each value of ``weights``, the network whose weights are then taken.
        note: Words of the note where there are several sets.
    """

    checkpoint: Callable[[], Any]
    said: str
    todo: str
    loads: dict[str, Any] = field(default_factory=lambda: {"factory": FACTORY})
    taken: nn.Module = MODEL
    chosen: dict[str, nn.Module] = field(default_factory=dict)
    note: str = ""


KINDS: dict[str, Kind] = {
    "state dict": Kind(MODEL.state_dict, "state dict of 9 tensors alone", "--factory"),
    "module saved whole": Kind(
        lambda: MODEL,
        "a module saved whole: a pickle that calls",
        "--trust-pickle loads it",
        {"trust_pickle": True},
    ),
    "Lightning": Kind(
        lambda: {
            "epoch": 3,
            "global_step": 40,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": under("model.", MODEL),
            "optimizer_states": [optimizer()],
            "lr_schedulers": [],
            "hyper_parameters": {"lr": 0.1, "folder": pathlib.PurePosixPath("runs/1")},
        },
        "a Lightning checkpoint: a state dict of",
        "--factory",
    ),
    "timm": Kind(
        lambda: {
            "epoch": 3,
            "arch": "resnet18",
            "state_dict": MODEL.state_dict(),
            "optimizer": optimizer(),
            "version": 2,
            "args": argparse.Namespace(model="resnet18", lr=0.1),
            "state_dict_ema": EMA.state_dict(),
            "metric": np.float64(71.3),
        },
        "a timm checkpoint: a state dict of",
        "--factory timm:resnet18; --weights model or --weights ema chooses the weights",
        chosen={"model": MODEL, "ema": EMA, "state_dict_ema": EMA},
        note="taken: 'state_dict'; --weights ema takes the other",
    ),
    "Ultralytics": Kind(
        lambda: {
            "epoch": 3,
            "best_fitness": 0.7,
            "model": MODEL,
            "ema": EMA,
            "updates": 12,
            "optimizer": None,
            "train_args": {"imgsz": 640},
        },
        "an Ultralytics checkpoint: a pickle that calls torch.nn.modules",
        "--trust-pickle loads it",
        {"trust_pickle": True},
        chosen={"model": MODEL, "ema": EMA},
        note="taken: 'model'; --weights ema takes the other",
    ),
    "Ultralytics, stripped": Kind(
        lambda: {"epoch": -1, "best_fitness": None, "model": EMA, "ema": None, "train_args": {}},
        "an Ultralytics checkpoint",
        "--trust-pickle",
        {"trust_pickle": True},
        taken=EMA,
    ),
    "torchvision's references": Kind(
        lambda: {
            "model": MODEL.state_dict(),
            "optimizer": optimizer(),
            "epoch": 3,
            "args": argparse.Namespace(lr=0.1),
            "model_ema": averaged(),
        },
        "averaged weights (EMA): a state dict of",
        "--weights model or --weights ema",
        chosen={"model": MODEL, "ema": EMA, "model_ema": EMA, "model_ema.module": EMA},
        note="taken: 'model'; --weights ema takes the other",
    ),
    "PyTorch's ImageNet example": Kind(
        lambda: {
            "epoch": 3,
            "arch": "resnet18",
            "state_dict": under("module.", MODEL),
            "best_acc1": torch.tensor(71.3),
            "optimizer": optimizer(),
        },
        "a training checkpoint: a state dict of",
        "--factory torchvision.models:resnet18",
    ),
    "BasicSR": Kind(
        lambda: {"params": MODEL.state_dict(), "params_ema": EMA.state_dict()},
        "averaged weights (EMA)",
        "--factory",
        chosen={"model": MODEL, "ema": EMA, "params_ema": EMA},
        note="taken: 'params'",
    ),
    "torch_ema": Kind(
        lambda: {
            "model": MODEL.state_dict(),
            "ema": {
                "decay": 0.99,
                "num_updates": 7,
                "shadow_params": [each.detach() for each in EMA.parameters()],
                "collected_params": None,
            },
        },
        "averaged weights (EMA)",
        "--weights model or --weights ema",
        chosen={"model": MODEL, "ema": MIXED, "ema.shadow_params": MIXED},
        note="taken: 'model'; --weights ema takes the other",
    ),
    "a class with a shadow": Kind(
        lambda: {
            "net": MODEL.state_dict(),
            "shadow": {name: each.detach() for name, each in EMA.named_parameters()},
        },
        "averaged weights (EMA)",
        "--weights",
        chosen={"model": MODEL, "ema": MIXED, "shadow": MIXED},
        note="taken: 'net'; --weights ema takes the other",
    ),
    "averaged weights alone": Kind(
        lambda: {"ema_state_dict": EMA.state_dict()},
        "averaged weights (EMA)",
        "--factory",
        taken=EMA,
        chosen={"ema": EMA},
    ),
    "compiled and parallel": Kind(
        lambda: {
            "epoch": 3,
            "best": np.float32(0.7),
            "model_state_dict": under("_orig_mod.module.", MODEL),
            "optimizer_state_dict": optimizer(),
        },
        "a training checkpoint",
        "--factory",
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Kind]:
    made = KINDS[request.param]
    torch.save(made.checkpoint(), tmp_path / "checkpoint.pt")
    return tmp_path / "checkpoint.pt", made


def check(network: Any, module: nn.Module) -> None:
    with torch.no_grad():
        torch.testing.assert_close(network.graph(X), module.eval()(X), rtol=1e-4, atol=1e-5)


def test_each_loads_with_its_arguments(kind: tuple[Path, Kind]) -> None:
    path, each = kind
    network = load_network(path, example=[X.numpy()], **each.loads)
    check(network, each.taken)
    assert bool(each.note) == bool(network.origin.weights)


def test_each_is_told_for_what_it_is(kind: tuple[Path, Kind]) -> None:
    path, each = kind
    with pytest.raises(CompressError) as caught:
        load_network(path, example=[X.numpy()])
    assert type(caught.value) is (UntrustedFileError if "trust_pickle" in each.loads else NetworkError)
    assert each.said in caught.value.found
    assert each.todo in caught.value.todo
    assert "\n" not in str(caught.value)


def test_the_set_of_weights_is_chosen(kind: tuple[Path, Kind]) -> None:
    path, each = kind
    identities = {}
    for weights, module in each.chosen.items():
        network = load_network(path, example=[X.numpy()], weights=weights, **each.loads)
        check(network, module)
        identities[weights] = network.identity
    if {"model", "ema"} <= set(identities):  # a run is recognised by it
        assert identities["model"] != identities["ema"]


def test_a_set_that_is_not_there_is_refused(kind: tuple[Path, Kind]) -> None:
    path, each = kind
    with pytest.raises(NetworkError) as caught:
        load_network(path, example=[X.numpy()], weights="nothing", **each.loads)
    assert caught.value.wanted == "weights for --weights nothing"


def test_the_choice_is_told_in_a_note(tmp_path: Path) -> None:
    class Notes(Reporter):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    labels = np.arange(40) % 5
    task = load_task((np.random.default_rng(0).normal(size=(40, 3, 8, 8)).astype(np.float32), labels))
    for name, each in KINDS.items():
        if each.note:
            torch.save(each.checkpoint(), tmp_path / f"{name}.pt")
            reporter = Notes()
            network, _ = load_bound(task, tmp_path / f"{name}.pt", reporter=reporter, **each.loads)
            assert any(each.note in note for note in reporter.notes), name
            assert network.to_onnx() is not None


def test_names_that_look_like_the_one_that_was_meant(tmp_path: Path) -> None:
    torch.save({"student": MODEL.state_dict(), "teacher": EMA.state_dict()}, tmp_path / "both.pt")
    with pytest.raises(NetworkError) as caught:
        load_network(tmp_path / "both.pt", example=[X.numpy()], factory=FACTORY)
    assert caught.value.todo == "name it: --weights student or --weights teacher"
    check(load_network(tmp_path / "both.pt", example=[X.numpy()], factory=FACTORY, weights="teacher"), EMA)
    with pytest.raises(NetworkError, match="did you mean teacher"):
        load_network(tmp_path / "both.pt", example=[X.numpy()], factory=FACTORY, weights="techer")


def test_files_with_one_set_refuse_a_choice(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(MODEL.eval(), (X,)), str(tmp_path / "model.pt2"))
    for source in (tmp_path / "model.pt2", MODEL):
        with pytest.raises(NetworkError, match="leave --weights out"):
            load_network(source, example=[X.numpy()], weights="ema")
    safetensors.torch.save_file(MODEL.state_dict(), tmp_path / "model.safetensors")
    options = {"example": [X.numpy()], "factory": FACTORY}
    check(load_network(tmp_path / "model.safetensors", weights="model", **options), MODEL)
    with pytest.raises(NetworkError, match="leave --weights out"):
        load_network(tmp_path / "model.safetensors", weights="ema", **options)


class RunsCode:
    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> Any:
        return (Path.touch, (Path(self.name),))


def test_settings_are_passed_over_and_never_called(tmp_path: Path) -> None:
    fired = tmp_path / "fired"
    checkpoint = {"state_dict": MODEL.state_dict(), "args": argparse.Namespace(lr=RunsCode(str(fired)))}
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    with pytest.raises(UntrustedFileError):
        load_network(tmp_path / "checkpoint.pt", example=[X.numpy()], factory=FACTORY)
    assert not fired.exists()
    checkpoint["args"] = argparse.Namespace(folder=tmp_path, nested=argparse.Namespace(lr=0.1))
    torch.save(checkpoint, tmp_path / "settings.pt")
    check(load_network(tmp_path / "settings.pt", example=[X.numpy()], factory=FACTORY), MODEL)


def attribute_dict(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of Lightning's hyperparameters, under the name that files have it by."""
    place = "lightning.fabric.utilities.data"
    made = type("AttributeDict", (dict,), {"__module__": place})
    parts = place.split(".")
    for length in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:length]), ModuleType(".".join(parts[:length])))
    sys.modules[place].AttributeDict = made  # type: ignore[attr-defined]
    return made


def test_a_dictionary_of_settings_keeps_its_items_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = attribute_dict(monkeypatch)(lr=0.1, keys=[1])
    settings.keys = "no method"  # an attribute, which pickle hands to __setstate__
    torch.save({"state_dict": MODEL.state_dict(), "hyper_parameters": settings}, tmp_path / "checkpoint.ckpt")
    loaded = _load(sniff(tmp_path / "checkpoint.ckpt"), trust_pickle=False)
    assert loaded["hyper_parameters"] == {"lr": 0.1, "keys": [1]}
    assert vars(loaded["hyper_parameters"]) == {}
    check(load_network(tmp_path / "checkpoint.ckpt", example=[X.numpy()], factory=FACTORY), MODEL)


def test_an_attribute_that_is_called_as_a_method_harms_nothing(tmp_path: Path) -> None:
    checkpoint = OrderedDict(state_dict=MODEL.state_dict(), arch="resnet18")
    checkpoint.get = checkpoint.keys = "no method"  # type: ignore[method-assign, assignment]
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    with pytest.raises(NetworkError, match="the network these weights belong to"):
        load_network(tmp_path / "checkpoint.pt", example=[X.numpy()])
    check(load_network(tmp_path / "checkpoint.pt", example=[X.numpy()], factory=FACTORY), MODEL)


@pytest.mark.parametrize("kind", ["object", "in a list"])
def test_a_module_never_gets_a_setting_as_its_own_state(tmp_path: Path, kind: str) -> None:
    state: Any = {
        "object": argparse.Namespace(lr=0.1),
        "in a list": {"lr": [0.1, argparse.Namespace()]},
    }[kind]
    torch.save({**MODEL.state_dict(), "3._extra_state": state}, tmp_path / "checkpoint.pt")
    with pytest.raises(UntrustedFileError, match=r"the module's own state '3\._extra_state'.*--trust-pickle"):
        load_network(tmp_path / "checkpoint.pt", example=[X.numpy()], factory=FACTORY)


@pytest.mark.parametrize(
    ("keys", "weights", "taken"),
    [
        (("model", "state_dict"), "model", "model"),  # the second is what is taken without a choice
        (("state_dict", "model"), "state_dict", "state_dict"),
        (("ema", "model_ema"), "ema", "ema"),
        (("state_dict", "model_ema"), "model", "state_dict"),
        (("state_dict", "model_ema"), "ema", "model_ema"),
    ],
)
def test_a_set_under_the_very_key_is_the_one_that_is_meant(
    tmp_path: Path, keys: tuple[str, str], weights: str, taken: str
) -> None:
    sets = dict(zip(keys, (MODEL, EMA), strict=True))
    torch.save({key: each.state_dict() for key, each in sets.items()}, tmp_path / "sets.pt")
    options = {"example": [X.numpy()], "weights": weights}
    check(load_network(tmp_path / "sets.pt", factory=FACTORY, **options), sets[taken])
    torch.save(sets, tmp_path / "whole.pt")
    check(load_network(tmp_path / "whole.pt", trust_pickle=True, **options), sets[taken])
