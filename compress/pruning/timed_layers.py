"""The layers of a network whose latency is looked up, and how wide each is once units are removed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import fx, nn

from compress.pruning.atoms import Labels
from compress.pruning.groups import Channels
from compress.pruning.probes import Shape
from compress.pruning.rules.layers import CONVOLUTIONS, TRANSPOSED

#: Share of its units that each group keeps, in (0, 1], by its name; groups that are left out keep all.
Kept = Mapping[str, float]


@dataclass(frozen=True)
class Axis:
    """An axis and the groups that own its indices.

    Attributes:
        size: Number of its indices.
        owned: Number of indices, by the groups whose units they vanish with.
    """

    size: int
    owned: tuple[tuple[tuple[str, ...], int], ...]

    @property
    def groups(self) -> frozenset[str]:
        """Groups that shorten the axis."""
        return frozenset(name for names, _ in self.owned for name in names)

    def left(self, kept: Kept) -> float:
        """Return the number of indices left; every unit of a group appears equally often, so a share suffices."""
        left = 0.0
        for names, count in self.owned:
            share = float(count)
            for name in names:
                share *= kept.get(name, 1.0)
            left += share
        return left


@dataclass(frozen=True)
class CountedOperator:
    """An operator by its multiply-accumulates.

    Attributes:
        spaces: Axes of every space that they fill.
        rows: Number of samples in that space.
    """

    spaces: tuple[tuple[Axis, ...], ...]
    rows: int

    @cached_property
    def groups(self) -> frozenset[str]:
        """Groups that it shrinks with."""
        return frozenset().union(*(axis.groups for axes in self.spaces for axis in axes))

    def macs(self, kept: Kept) -> float:
        """Return the multiply-accumulates per sample that are left."""
        return sum(math.prod(axis.left(kept) for axis in axes) for axes in self.spaces) / self.rows


@dataclass(frozen=True)
class TimedLayer:
    """A layer whose latency a table holds.

    Attributes:
        name: Name of the module.
        shape: Shape at full width.
        inputs: The axis of channels that it reads.
        outputs: The axis of channels that it writes; for a recurrent layer, one direction's hidden units.
        work: Multiply-accumulates of the layer.
    """

    name: str
    shape: Shape
    inputs: Axis
    outputs: Axis
    work: CountedOperator

    @property
    def groups(self) -> frozenset[str]:
        """Groups that it shrinks with."""
        return self.work.groups

    def macs(self, kept: Kept) -> float:
        """Return the multiply-accumulates per sample that are left."""
        return self.work.macs(kept)

    def widths(self, kept: Kept) -> tuple[int, int]:
        """Return the numbers of inputs and outputs that are left."""
        return max(1, round(self.inputs.left(kept))), max(1, round(self.outputs.left(kept)))


def timed_layers(channels: Channels) -> tuple[TimedLayer | CountedOperator, ...]:
    """Return every operator that multiplies, once, in the order of the graph, as a timed layer where possible.

    Args:
        channels: Units that can be removed, with the labels of every axis.
    """
    owners = _Owners(channels)
    spaces: dict[fx.Node, list[tuple[Axis, ...]]] = {}
    for work in channels.propagation.work:
        spaces.setdefault(work.node, []).append(tuple(owners.axis(labels) for labels in work.axes))
    counted = {node: CountedOperator(tuple(axes), channels.rows) for node, axes in spaces.items()}
    return tuple(_timed(node, work, channels, owners) or work for node, work in counted.items())


class _Owners:
    """Group of each atom."""

    def __init__(self, channels: Channels) -> None:
        self._atoms = channels.propagation.atoms
        self._names = [group.name for group in channels.groups]
        self._group = np.full(len(self._atoms), -1)
        for number, group in enumerate(channels.groups):
            self._group[group.atoms] = number

    def axis(self, labels: Labels) -> Axis:
        atoms = self._atoms.resolve(labels)
        numbers = self._group[atoms]
        rows = Counter(tuple(sorted(self._names[number] for number in row if number >= 0)) for row in numbers)
        return Axis(len(labels), tuple(rows.items()))


def _timed(node: fx.Node, work: CountedOperator, channels: Channels, owners: _Owners) -> TimedLayer | None:
    """Return the layer to time; None for operators without a probe."""
    propagation, name = channels.propagation, str(node.target)
    if node.op != "call_module":
        return None
    module, operand = propagation.graph.get_submodule(name), node.args[0]
    assert isinstance(operand, fx.Node)
    sizes, axes = propagation.shape(operand), propagation.axes(operand)
    if isinstance(module, nn.Linear):
        shape = Shape("MatMul", module.in_features, module.out_features, tuple(sizes[1:-1]))
        return TimedLayer(name, shape, owners.axis(axes[-1]), owners.axis(propagation.axes(node)[-1]), work)
    if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        space = sizes[2:]
        convolution = _convolution(module, space)
        if convolution is None or len(space) != len(module.kernel_size):
            return None
        return TimedLayer(
            name, convolution, owners.axis(axes[1]), owners.axis(propagation.axes(node)[1]), work
        )
    if isinstance(module, nn.LSTM | nn.GRU) and not module.proj_size and len(sizes) == 3:
        steps = sizes[1] if module.batch_first else sizes[0]
        cells = propagation.tensor(f"{name}.weight_hh_l0")[1]
        return TimedLayer(name, _recurrent(module, steps), owners.axis(axes[-1]), owners.axis(cells), work)
    return None


def _convolution(module: Any, space: tuple[int, ...]) -> Shape | None:
    """Return a convolution to time; None where ONNX writes it otherwise, and for groups of several channels."""
    tied = module.groups > 1
    if tied and not module.groups == module.in_channels == module.out_channels:
        return None
    if module.padding_mode != "zeros":
        return None
    attributes: dict[str, Any] = {
        "kernel_shape": tuple(module.kernel_size),
        "strides": tuple(module.stride),
        "dilations": tuple(module.dilation),
    }
    if isinstance(module.padding, str):
        attributes["auto_pad"] = {"same": "SAME_UPPER", "valid": "VALID"}[module.padding]
    else:
        attributes["pads"] = tuple(module.padding) * 2
    transposed = isinstance(module, TRANSPOSED)
    if transposed:
        attributes["output_padding"] = tuple(module.output_padding)
    return Shape(
        "ConvTranspose" if transposed else "Conv",
        module.in_channels,
        module.out_channels,
        tuple(space),
        tuple(sorted(attributes.items())),
        tied,
    )


def _recurrent(module: Any, steps: int) -> Shape:
    attributes: dict[str, Any] = {
        "direction": "bidirectional" if module.bidirectional else "forward",
        "layers": module.num_layers,
    }
    if isinstance(module, nn.GRU):
        attributes["linear_before_reset"] = 1
    return Shape(
        type(module).__name__,
        module.input_size,
        module.hidden_size,
        (int(steps),),
        tuple(sorted(attributes.items())),
    )
