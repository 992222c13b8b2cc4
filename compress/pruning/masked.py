"""The original network run as if some units were missing, to compare a sliced network with.

Nothing is cut out. Where an operator sums over an axis, removed indices are zeros; where it takes statistics, they
are left out. Everything else runs as it did, on tensors of their original shapes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import fx, nn
from torch._ops import OpOverload

from compress.network.lifting.calls import aten, bind
from compress.pruning.axes import Reading
from compress.pruning.groups import Channels


def run_masked(
    channels: Channels, removed: NDArray[np.bool_], batch: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Return the outputs of the original graph without the removed units.

    Args:
        channels: Units found in the graph, which is in inference mode.
        removed: Atoms that are removed, ``bool[atoms]``.
        batch: One batch of every input.
    """
    with torch.no_grad():
        result = _Masked(channels, removed).run(*(tensor.clone() for tensor in batch))
    return tuple(result) if isinstance(result, list | tuple) else (result,)


class _Masked(fx.Interpreter):
    def __init__(self, channels: Channels, removed: NDArray[np.bool_]) -> None:
        super().__init__(channels.propagation.graph)
        self.channels = channels
        self.removed = removed

    def run_node(self, n: fx.Node) -> Any:
        readings = [
            (reading, kept)
            for reading in self.channels.propagation.readings.get(n, ())
            if not (kept := self._kept(reading)).all()
        ]
        skipped = {reading.axis: kept for reading, kept in readings if reading.skips}
        if skipped and (norm := _normalization(self.channels, n)) is not None:
            return norm(self, n, skipped)
        originals = {reading.operand: self.env[reading.operand] for reading, _ in readings}
        for reading, kept in readings:
            cut = _skipping if reading.skips else _zeroed
            self.env[reading.operand] = cut(self.env[reading.operand], reading.axis, kept)
        try:
            return super().run_node(n)
        finally:
            self.env.update(originals)

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.fetch_attr(target)
        if isinstance(module, nn.RNNBase):
            return self._without_hidden_units(str(target), module)(*args, **kwargs)
        return super().call_module(target, args, kwargs)

    def _kept(self, reading: Reading) -> NDArray[np.bool_]:
        return self.channels.kept(self.channels.propagation.axes(reading.operand)[reading.axis], self.removed)

    def _without_hidden_units(self, target: str, module: nn.RNNBase) -> nn.RNNBase:
        """Return a layer in which no unit depends on a removed one."""
        masked = copy.deepcopy(module)
        for name, weight in masked.named_parameters():
            if weight.dim() == 2:
                labels = self.channels.propagation.tensors[f"{target}.{name}"][1]
                weight.data = _zeroed(weight.data, 1, self.channels.kept(labels, self.removed))
        return masked


def _positions(kept: NDArray[np.bool_]) -> torch.Tensor:
    return torch.from_numpy(np.flatnonzero(kept))


def _zeroed(tensor: torch.Tensor, axis: int, kept: NDArray[np.bool_]) -> torch.Tensor:
    return tensor.index_fill(axis, _positions(~kept), 0)


def _skipping(tensor: torch.Tensor, axis: int, kept: NDArray[np.bool_]) -> torch.Tensor:
    return tensor.index_select(axis, _positions(kept))


def _normalization(channels: Channels, node: fx.Node) -> Any:
    """Return how to compute a norm over the remaining units, or None for a plain statistic."""
    kinds = {nn.LayerNorm: _layer_norm, nn.GroupNorm: _group_norm}
    if node.op == "call_module":
        return kinds.get(type(channels.propagation.graph.get_submodule(str(node.target))))
    if not isinstance(node.target, OpOverload):
        return None
    packets = {aten.layer_norm: _layer_norm, aten.rms_norm: _layer_norm, aten.group_norm: _group_norm}
    return packets.get(node.target.overloadpacket)


def _settings(masked: _Masked, node: fx.Node) -> dict[str, Any]:
    """Return a norm's operand, weights and settings, for a layer or a call."""
    if node.op == "call_module":
        return {
            "input": masked.env[node.all_input_nodes[0]],
            **_settings_of(masked.fetch_attr(str(node.target))),
        }
    return {
        name: masked.env[value] if isinstance(value, fx.Node) else value for name, value in bind(node).items()
    }


def _settings_of(module: nn.Module) -> dict[str, Any]:
    names = ("weight", "bias", "eps", "num_groups", "normalized_shape")
    return {name: getattr(module, name, None) for name in names}


def _layer_norm(masked: _Masked, node: fx.Node, kept: dict[int, NDArray[np.bool_]]) -> torch.Tensor:
    settings = _settings(masked, node)
    operand: torch.Tensor = settings["input"]
    rank, count = operand.dim(), len(settings["normalized_shape"])
    inside, weights = operand, {name: settings.get(name) for name in ("weight", "bias")}
    for axis, mask in kept.items():
        inside = _skipping(inside, axis, mask)
        weights = {
            name: None if weight is None else _skipping(weight, axis - (rank - count), mask)
            for name, weight in weights.items()
        }
    if getattr(node.target, "overloadpacket", None) is aten.rms_norm:
        result = F.rms_norm(inside, inside.shape[-count:], weights["weight"], settings["eps"])
    else:
        result = F.layer_norm(
            inside, inside.shape[-count:], weights["weight"], weights["bias"], settings["eps"]
        )
    for axis, mask in kept.items():
        shape = [*result.shape[:axis], len(mask), *result.shape[axis + 1 :]]
        result = result.new_zeros(shape).index_copy(axis, _positions(mask), result)
    return result


def _group_norm(masked: _Masked, node: fx.Node, kept: dict[int, NDArray[np.bool_]]) -> torch.Tensor:
    settings, mask = _settings(masked, node), kept[1]
    weight, bias = (
        None if settings[name] is None else _skipping(settings[name], 0, mask) for name in ("weight", "bias")
    )
    groups = int(masked.channels.kept(masked.channels.propagation.grids[node], masked.removed).sum())
    result = F.group_norm(_skipping(settings["input"], 1, mask), groups, weight, bias, settings["eps"])
    return torch.zeros_like(settings["input"]).index_copy(1, _positions(mask), result)
