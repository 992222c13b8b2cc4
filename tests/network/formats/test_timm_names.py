"""Networks of timm: by name, as a directory, and as the factory of a checkpoint."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from compress.errors import NetworkError, UnavailableError
from compress.network.formats.directory import directory_of
from compress.network.formats.image_settings import image_settings
from compress.network.formats.timm_names import name_in
from compress.network.network import load_network

X = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)


class Stand:
    """The part of timm that is called, with one small network in it."""

    __version__ = "1.0"
    models = SimpleNamespace(
        get_pretrained_cfg=lambda name: SimpleNamespace(
            hf_hub_id=None if name.endswith(".none") else f"timm/{name}"
        )
    )

    @staticmethod
    def is_model(name: str) -> bool:
        return name.partition(".")[0] == "resnet18"

    @staticmethod
    def list_models() -> list[str]:
        return ["resnet18"]

    @staticmethod
    def create_model(name: str, pretrained: bool = False, num_classes: int = 1000, **more: Any) -> nn.Module:
        assert not pretrained
        assert Stand.is_model(name)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
        )


@pytest.fixture(params=["stand-in", "timm"])
def timm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "stand-in":
        monkeypatch.setitem(sys.modules, "timm", Stand)
        return Stand
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision for another torch
        pytest.skip(f"timm cannot be imported: {error}")


def saved(model: nn.Module, path: Path, **told: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(model.state_dict(), path / "model.safetensors")
    config = {
        "architecture": "resnet18",
        "num_classes": 5,
        "pretrained_cfg": {
            "input_size": [3, 32, 32],
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "mean": [0.4, 0.4, 0.4],
            "std": [0.2, 0.2, 0.2],
        },
    }
    (path / "config.json").write_text(json.dumps(config | told))
    return path


def check(network: Any, model: nn.Module) -> None:
    with torch.no_grad():
        torch.testing.assert_close(
            network.graph(torch.from_numpy(X)), model.eval()(torch.from_numpy(X)), rtol=1e-3, atol=1e-4
        )


def test_names() -> None:
    assert name_in("timm:resnet18") == "resnet18"
    assert name_in("timm:vit_base_patch16_224.augreg_in21k") == "vit_base_patch16_224.augreg_in21k"
    for other in ("timm", "timm:", "timm:a/b", "timm:../x", "torchvision.models:resnet18", "timm:a.b.c"):
        assert name_in(other) is None


def test_a_directory(timm: Any, tmp_path: Path) -> None:
    model = timm.create_model("resnet18", num_classes=5)
    path = saved(model, tmp_path)
    check(load_network(path, example=[X]), model)
    assert load_network(path).inputs[0].shape == ("batch", 3, 32, 32)  # the settings tell it
    assert image_settings(directory_of(path)) == {
        "size": [32, 32],
        "interpolation": "bicubic",
        "resize": "center-crop",
        "shorter": 36,
        "mean": [0.4, 0.4, 0.4],
        "std": [0.2, 0.2, 0.2],
    }


@pytest.mark.parametrize(
    "argument",
    [
        {"checkpoint_path": "/tmp/other.pth"},  # timm would unpickle it
        {"pretrained_cfg": {"file": "other.pth"}},
        {"pretrained_cfg_overlay": {"hf_hub_id": "owner/other"}},
        {"cache_dir": "/tmp"},
        {"pretrained": True},
    ],
)
def test_settings_name_no_other_weights(timm: Any, argument: dict[str, Any], tmp_path: Path) -> None:
    path = saved(timm.create_model("resnet18", num_classes=5), tmp_path, model_args=argument)
    with pytest.raises(NetworkError, match=f"found '{next(iter(argument))}' in"):
        load_network(path, example=[X])


def test_a_factory(timm: Any, tmp_path: Path) -> None:
    model = timm.create_model("resnet18", num_classes=7)
    torch.save(
        {"arch": "resnet18", "state_dict": model.state_dict(), "version": 2}, tmp_path / "best.pth.tar"
    )
    check(load_network(tmp_path / "best.pth.tar", example=[X], factory="timm:resnet18(num_classes=7)"), model)
    with pytest.raises(NetworkError, match="factory timm:resnet18"):
        load_network(tmp_path / "best.pth.tar", example=[X])


def test_a_name_takes_what_the_cache_holds(
    timm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = timm.create_model("resnet18", num_classes=5)
    path, asked = saved(model, tmp_path / "snapshot"), []

    def snapshot(address: str, allow_patterns: list[str]) -> str:
        asked.append((address, allow_patterns))
        return str(path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    network = load_network("timm:resnet18", example=[X])
    check(network, model)
    assert network.origin.path == "timm:resnet18"
    address, patterns = asked[0]
    assert address.startswith("timm/resnet18")
    assert patterns == ["config.json", "model.safetensors"]  # never pickles


def test_names_that_timm_does_not_have(timm: Any) -> None:
    with pytest.raises(NetworkError, match="resnet18"):
        load_network("timm:resnet81", example=[X])


def test_a_name_without_weights_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", Stand)
    with pytest.raises(NetworkError, match=r"give a file of its weights, with --factory timm:resnet18\.none"):
        load_network("timm:resnet18.none", example=[X])


def test_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", Stand)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UnavailableError, match="not on this machine"):
        load_network("timm:resnet18", example=[X])


def test_without_timm_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "a.pt")
    for model, options in (("timm:resnet18", {}), (tmp_path / "a.pt", {"factory": "timm:resnet18"})):
        with pytest.raises(UnavailableError, match="not installed") as caught:
            load_network(model, example=[X], **options)
        assert "[timm]" in caught.value.todo
