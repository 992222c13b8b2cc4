"""Networks that take gradients of their own, or map over an axis, in inference: energies that return their forces.

torch.export does not take most of them. torch's tracer of single operators does, for one number of samples; two such
traces tell what follows that number. Values are not known while it traces, so that what depends on them is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from compress.errors import LiftError
from compress.network.equivalence import close
from compress.network.example import Axes, with_rows
from compress.network.lifting.dynamic_batch import merge_batches, with_names

#: Samples to compare with; another number than any trace is made with.
_OTHER_ROWS = 5


def traced_by_operator(module: nn.Module, example: Mapping[str, torch.Tensor], axes: Axes) -> fx.GraphModule:
    """Trace a module's operators, with sizes computed from the batch where they follow it, else fixed.

    Args:
        module: Module in eval mode, on the CPU.
        example: One batch of every input by name, which it ran on.
        axes: Axis that counts samples, for inputs where it is not axis 0.

    Raises:
        LiftError: The module cannot be traced so, or computes other results than its trace.
    """
    try:
        two, three = (_traced(module, with_rows(example, rows, axes)) for rows in (2, 3))
        merged = merge_batches(two, three, sizes=(2, 3), axis=axes.get(next(iter(example)), 0))
        if merged is not None and _same(merged, module, with_rows(example, _OTHER_ROWS, axes)):
            return with_names(merged, module)
        fixed = _traced(module, example)
        if _same(fixed, module, example):
            return with_names(fixed, module)
    except Exception as error:
        raise LiftError("a network that can be traced", str(error), "give an ONNX file") from error
    raise LiftError("a network that can be traced", "another one than was traced", "give an ONNX file")


def _same(graph: fx.GraphModule, module: nn.Module, example: Mapping[str, torch.Tensor]) -> bool:
    """Whether a graph computes what the module does."""
    with torch.no_grad():
        ours, theirs = graph(*example.values()), module(**example)
    leaves = (
        [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
        for outputs in (ours, theirs)
    )
    return close(*leaves)


def _traced(module: nn.Module, example: Mapping[str, torch.Tensor]) -> fx.GraphModule:
    """Trace the operators for one batch; every size is fixed."""

    def run(*tensors: torch.Tensor) -> object:
        return module(**dict(zip(example, tensors, strict=True)))

    trace = make_fx(run, tracing_mode="fake", _allow_non_fake_inputs=True)
    with torch.no_grad():
        traced: fx.GraphModule = trace(*example.values())
    for name, placeholder in zip(example, traced.graph.find_nodes(op="placeholder"), strict=True):
        placeholder.target = name
        placeholder._rename(name)
    traced.graph.set_codegen(fx.graph.CodeGen())
    traced.recompile()
    return traced
