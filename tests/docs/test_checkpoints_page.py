"""Every file of the page on checkpoints is made, refused with the words of its row, and loaded by the row's command."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import onnx
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from compress.cli import main
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "howto" / "checkpoints.md"
SOURCE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(144, classes)

    def forward(self, x):
        return self.head(self.norm(self.stem(x)).relu().flatten(1))

def network(classes=5):
    return Net(classes)
"""


class Row(NamedTuple):
    """A row of the page: what is had, what is said without a flag, and the arguments that load it."""

    kind: str
    said: str
    arguments: list[str]

    @property
    def file(self) -> str:
        return self.arguments[1]


def rows() -> list[Row]:
    found = re.findall(r"^\| (.+?) \| (.*?) ?\| `compress (.+?)` \|$", PAGE.read_text(encoding="utf-8"), re.M)
    return [Row(kind, said, shlex.split(command)) for kind, said, command in found]


ROWS = rows()
NEEDS = {"my-vit": "transformers"}


def parallel(net: nn.Module) -> dict[str, Any]:
    return {f"module._orig_mod.{name}": each for name, each in net.state_dict().items()}


def exported(net: nn.Module, path: Path, **more: Any) -> None:
    torch.onnx.export(net, (torch.zeros(2, 3, 8, 8),), path, dynamo=True, verbose=False, **more)


def with_second_file(net: nn.Module, path: Path) -> None:
    exported(net, path, external_data=False)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="large.data", size_threshold=0)


def sharded(net: nn.Module, path: Path) -> None:
    import json

    tensors = net.state_dict()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[:3], names[3:]), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        safetensors.torch.save_file({name: tensors[name] for name in part}, path.parent / file)
        weight_map |= dict.fromkeys(part, file)
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def ema_of(net: nn.Module) -> dict[str, Any]:
    return {"model": net.state_dict(), "ema": AveragedModel(net).module.state_dict(), "updates": 7}


def optimizer_of(net: nn.Module) -> dict[str, Any]:
    return torch.optim.Adam(net.parameters()).state_dict()


def vit(_: nn.Module, path: Path) -> None:
    import transformers

    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=8,
    )
    transformers.ViTForImageClassification(config).save_pretrained(path)


#: Makes each file of the page.
MAKE: dict[str, Callable[[nn.Module, Path], object]] = {
    "model.pt2": lambda net, path: torch.export.save(
        torch.export.export(net, (torch.zeros(2, 3, 8, 8),)), path
    ),
    "model.onnx": exported,
    "large.onnx": with_second_file,
    "script.pt": lambda net, path: torch.jit.save(torch.jit.script(net), path),
    "weights.pt": lambda net, path: torch.save(net.state_dict(), path),
    "weights.safetensors": lambda net, path: safetensors.torch.save_file(net.state_dict(), path),
    "model.safetensors.index.json": sharded,
    "last.ckpt": lambda net, path: torch.save(
        {
            "pytorch-lightning_version": "2.5.0",
            "state_dict": {f"model.{name}": each for name, each in net.state_dict().items()},
            "optimizer_states": [optimizer_of(net)],
            "hyper_parameters": {"lr": 0.1},
            "epoch": 3,
        },
        path,
    ),
    "model_best.pth.tar": lambda net, path: torch.save(
        {"arch": "resnet18", "state_dict": net.state_dict(), "version": 2, "epoch": 3}, path
    ),
    "ema.pt": lambda net, path: torch.save(ema_of(net), path),
    "epoch3.pt": lambda net, path: torch.save(
        {"epoch": 3, "model_state_dict": net.state_dict(), "optimizer_state_dict": optimizer_of(net)}, path
    ),
    "parallel.pt": lambda net, path: torch.save(parallel(net), path),
    "whole.pt": torch.save,
    "best.pt": lambda net, path: torch.save(
        {"epoch": -1, "best_fitness": None, "model": net.half(), "ema": None, "train_args": {"imgsz": 640}},
        path,
    ),
    "my-vit": vit,
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The directory of a user, with the source of the network; timm has it under the name resnet18."""
    (tmp_path / "make.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "make", raising=False)
    import make  # type: ignore[import-not-found]

    monkeypatch.setitem(sys.modules, "make", make)
    timm = SimpleNamespace(
        __version__="1.0",
        is_model=lambda name: name == "resnet18",
        create_model=lambda *_, **__: make.network(),
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    torch.manual_seed(0)
    return make.network().eval()


def test_the_page_has_every_kind() -> None:
    assert [row.file for row in ROWS] == list(MAKE)
    assert len(ROWS) >= 10


@pytest.mark.parametrize("row", ROWS, ids=[row.file for row in ROWS])
def test_the_command_of_the_page_loads_it(
    row: Row, place: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    if row.file in NEEDS:
        pytest.importorskip(NEEDS[row.file], reason=f"{NEEDS[row.file]} is not installed")
    MAKE[row.file](place, Path(row.file))
    capsys.readouterr()
    if row.said:
        flags = row.arguments[2:]
        shape = flags[flags.index("--shape") :]
        alone = flags == shape  # nothing but the shape is missing
        assert main(["inspect", row.file, *([] if alone else shape)]) == 2
        told = capsys.readouterr().err
        assert row.said in told
        missing = [flag for flag in flags if flag.startswith("--") and (alone or flag != "--shape")]
        assert [flag for flag in missing if flag not in told] == []  # the message names what the row has
        assert len(told.strip().splitlines()) == 1
    assert main([*row.arguments, "--json"]) == 0, capsys.readouterr().err
    assert '"parameters"' in capsys.readouterr().out
