"""A copy of a graph without some units: smaller tensors, and layers and calls that know their new sizes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from compress.pruning.groups import Channels
from compress.pruning.rewriting import rewrite_call
from compress.pruning.rules.layers import BATCH_NORMS, CONVOLUTIONS, INSTANCE_NORMS, TRANSPOSED


def slice_graph(channels: Channels, removed: NDArray[np.bool_]) -> fx.GraphModule:
    """Return a copy of the graph without the removed units; the original is only read.

    Args:
        channels: Units found in the graph.
        removed: Atoms that are removed, ``bool[atoms]``.
    """
    propagation = channels.propagation
    sliced = copy.deepcopy(propagation.graph)
    _slice_tensors(channels, removed, sliced)
    for node, copied in zip(propagation.graph.graph.nodes, list(sliced.graph.nodes), strict=True):
        copied.meta.pop("val", None)
        if node.op == "call_module":
            _resize_layer(channels, removed, node, sliced.get_submodule(str(node.target)))
        elif node.op == "call_function":
            rewrite_call(channels, removed, node, copied)
    sliced.graph.lint()
    sliced.recompile()
    return sliced


def kept_part(tensor: torch.Tensor, kept: list[NDArray[np.bool_]]) -> torch.Tensor:
    """Copy the tensor without the indices that are not kept, axis by axis."""
    for axis, mask in enumerate(kept):
        if not mask.all():
            tensor = tensor.index_select(axis, torch.from_numpy(np.flatnonzero(mask)).to(tensor.device))
    return tensor.clone()


def _slice_tensors(channels: Channels, removed: NDArray[np.bool_], sliced: fx.GraphModule) -> None:
    done: dict[int, Any] = {}  # a tied parameter stays tied
    for name, axes in channels.propagation.tensors.items():
        masks = [channels.kept(labels, removed) for labels in axes]
        if all(mask.all() for mask in masks):
            continue
        path, _, attribute = name.rpartition(".")
        owner = sliced.get_submodule(path)
        tensor = getattr(owner, attribute)
        if id(tensor) not in done:
            smaller = kept_part(tensor.detach(), masks)
            is_parameter = isinstance(tensor, nn.Parameter)
            done[id(tensor)] = (
                tensor,  # kept alive, so that no other takes its id
                nn.Parameter(smaller, requires_grad=tensor.requires_grad) if is_parameter else smaller,
            )
        setattr(owner, attribute, done[id(tensor)][1])


def _resize_layer(channels: Channels, removed: NDArray[np.bool_], node: fx.Node, module: Any) -> None:
    """Set a layer's attributes for its own size."""
    propagation = channels.propagation
    original: Any = propagation.graph.get_submodule(str(node.target))
    operand = node.args[0]

    def left(axis: int) -> int:
        return int(channels.kept(propagation.axes(operand)[axis], removed).sum())

    if isinstance(module, CONVOLUTIONS + TRANSPOSED):
        module.groups = int(channels.kept(propagation.grids[node], removed).sum())
        first, second = module.weight.shape[:2]
        if isinstance(module, TRANSPOSED):
            module.in_channels, module.out_channels = first, second * module.groups
        else:
            module.out_channels, module.in_channels = first, second * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, BATCH_NORMS + INSTANCE_NORMS):
        module.num_features = left(1)
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(left(axis) for axis in range(-len(original.normalized_shape), 0))
    elif isinstance(module, nn.GroupNorm):
        module.num_groups = int(channels.kept(propagation.grids[node], removed).sum())
        module.num_channels = left(1)
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = module.weight.shape[1]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.numel()
    elif isinstance(module, nn.RNNBase):
        recurrent: Any = module
        module.input_size = recurrent.weight_ih_l0.shape[1]
        rows = original.weight_hh_l0.shape[0] // original.hidden_size
        module.hidden_size = recurrent.weight_hh_l0.shape[0] // rows
        module.proj_size = recurrent.weight_hh_l0.shape[1] if original.proj_size else 0
