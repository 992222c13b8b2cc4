"""Lifted networks, and what is looked at in them."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import torch
from torch import nn

from compress.network.example import Axes
from compress.network.lifting.graph import Lifted, lift
from compress.network.tracing import Traced, trace_module
from tests.networks import NETWORKS, build


def lifted(module: nn.Module, *arrays: np.ndarray, axes: Axes | None = None) -> Lifted:
    return lift(trace_module(copy.deepcopy(module), list(arrays), axes))


@cache
def once(kind: type[nn.Module]) -> Lifted:
    return lifted(build(kind), *NETWORKS[kind].values())


def network(kind: type[nn.Module]) -> torch.fx.GraphModule:
    return copy.deepcopy(once(kind).graph)


def traced_program(module: nn.Module, x: torch.Tensor, **options: object) -> Traced:
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("n")},), **options)
    return Traced(program, {"x": x}, lambda *inputs: (copy.deepcopy(module).eval()(*inputs),))


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
