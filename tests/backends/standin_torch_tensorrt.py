"""A stand-in for Torch-TensorRT, which needs a GPU: it takes the arguments of the release that it plays, swallows all
others as the real one does, and runs the program in PyTorch on the processor instead of building an engine.

What it shows is our side alone: export, arguments, batches, the cache. Nothing of TensorRT is shown by it.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from compress.backends import torch_tensorrt_program

#: Names of arguments and settings, from the real wheel's sources.
SIGNATURES: dict[str, Any] = json.loads((Path(__file__).parent / "torch_tensorrt_2.13.0.json").read_text())


class StandIn(ModuleType):
    """The module; it keeps the arguments of each compilation, and counts what was loaded."""

    def __init__(self) -> None:
        super().__init__("torch_tensorrt")
        self.__version__ = SIGNATURES["release"]
        self.compilations: list[dict[str, Any]] = []
        self.loads = 0
        self.dynamo = ModuleType("torch_tensorrt.dynamo")
        self.dynamo.compile = _signed("compile", self._compile)
        fields = [(name, Any, None) for name in SIGNATURES["CompilationSettings"]]
        self.dynamo.CompilationSettings = dataclasses.make_dataclass("CompilationSettings", fields)
        self.save = _signed("save", self._save)
        self.load = _signed("load", self._load)

    def _compile(self, exported_program: Any, **arguments: Any) -> Any:
        self.compilations.append(arguments)
        if isinstance(arguments.get("dryrun"), str):
            Path(arguments["dryrun"]).write_text(REPORT)
        return exported_program.module()

    def _save(self, module: Any, file_path: str, *, arg_inputs: Any, **_: Any) -> None:
        torch.export.save(torch.export.export(module, tuple(arg_inputs), strict=False), file_path)

    def _load(self, file_path: str) -> Any:
        self.loads += 1
        return torch.export.load(file_path)


def _signed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*given: Any, **arguments: Any) -> Any:
        return function(*given, **arguments)

    called.__name__ = name
    called.__signature__ = inspect.Signature(
        [
            inspect.Parameter(each, getattr(inspect.Parameter, kind), default=5)
            if kind != "VAR_KEYWORD"
            else inspect.Parameter(each, inspect.Parameter.VAR_KEYWORD)
            for each, kind in SIGNATURES[name].items()
        ]
    )
    return called


def install(monkeypatch: pytest.MonkeyPatch, cache: Path) -> StandIn:
    """Put it in the place of the package, say that there is a GPU, and run on the processor."""
    standin = StandIn()
    monkeypatch.setitem(sys.modules, "torch_tensorrt", standin)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch_tensorrt_program, "DEVICE", "cpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return standin


#: What Torch-TensorRT 2.13.0's partitioner wrote of a small graph with ``min_block_size=3``, shortened where it lists
#: its settings and recommendations.
REPORT = """
++++++++++++++++++++++++++++++++++++++++++++++++++ Dry-Run Results for Graph +++++++++++++++++++++++++++++++++++++++++++

The graph consists of 12 Total Operators, of which 9 operators are supported, 75.0% coverage

The following ops are currently unsupported or excluded from conversion, and are listed with their \
op-count in the graph:
 torch.ops.aten.unsafe_split.Tensor: 1
torch.ops.aten.relu.default: 1
_operator.getitem: 1

The following nodes are currently set to run in Torch:
Node: torch.ops.aten.unsafe_split.Tensor, with layer location: /unsafe_split
Node: torch.ops.aten.relu.default, with layer location: /relu
Node: torch.ops.aten.add.Tensor, with layer location: /add_2
Note: Some of the above nodes may be supported, but were not included in a TRT graph by the partitioner

Compiled with: CompilationSettings(workspace_size=0, min_block_size=3)

  Graph Structure:

   Inputs: List[Tensor: (4, 1, 28, 28)@float32]
    ...
    TRT Engine #1 - Submodule name: _run_on_acc_0
     Engine Inputs: List[Tensor: (4, 1, 28, 28)@float32]
     Number of Operators in Engine: 5
     Engine Outputs: List[Tensor: (4, 10)@float32]
    ...
    TRT Engine #2 - Submodule name: _run_on_acc_2
     Engine Inputs: List[Tensor: (4, 10)@float32]
     Number of Operators in Engine: 3
     Engine Outputs: List[Tensor: (4, 10)@float32]
    ...
   Outputs: List[Tensor: (4, 10)@float32]
"""
