"""Rules for layers that hold their weights: convolutions, linear layers, norms, embeddings, PReLU, dropout."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from compress.pruning.axes import Axes, LayerRule, Propagation
from compress.pruning.rules.contraction import convolution, linear
from compress.pruning.rules.reduction import hold_groups

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def _operand(node: fx.Node) -> fx.Node:
    operand = node.args[0]
    assert isinstance(operand, fx.Node)
    return operand


def _tensor(propagation: Propagation, node: fx.Node, module: nn.Module, name: str) -> Axes | None:
    return propagation.tensor(f"{node.target}.{name}") if getattr(module, name, None) is not None else None


def _convolution(propagation: Propagation, node: fx.Node, module: Any) -> Axes:
    return convolution(
        propagation,
        node,
        _operand(node),
        propagation.tensor(f"{node.target}.weight"),
        _tensor(propagation, node, module, "bias"),
        groups=module.groups,
        transposed=isinstance(module, TRANSPOSED),
    )


def _linear(propagation: Propagation, node: fx.Node, module: nn.Module) -> Axes:
    weight = propagation.tensor(f"{node.target}.weight")
    return linear(propagation, node, _operand(node), weight, _tensor(propagation, node, module, "bias"))


def _channel_norm(propagation: Propagation, node: fx.Node, module: nn.Module) -> Axes:
    """Rule of batch and instance norm: every channel by itself."""
    axes = propagation.axes(_operand(node))
    for name in ("weight", "bias", "running_mean", "running_var"):
        if (tensor := _tensor(propagation, node, module, name)) is not None:
            propagation.atoms.unify(axes[1], tensor[0])
    if isinstance(module, INSTANCE_NORMS):
        propagation.fix_all(axes[2:])
    return axes


def _layer_norm(propagation: Propagation, node: fx.Node, module: Any) -> Axes:
    axes, count = propagation.axes(_operand(node)), len(module.normalized_shape)
    for name in ("weight", "bias"):
        if (tensor := _tensor(propagation, node, module, name)) is not None:
            propagation.unify_all(tensor, axes[-count:])
    for axis in range(-count, 0):
        propagation.reads(node, _operand(node), axis, skips=True)
    return axes


def _group_norm(propagation: Propagation, node: fx.Node, module: Any) -> Axes:
    axes = propagation.axes(_operand(node))
    for name in ("weight", "bias"):
        if (tensor := _tensor(propagation, node, module, name)) is not None:
            propagation.atoms.unify(axes[1], tensor[0])
    hold_groups(propagation, node, axes[1], module.num_groups)
    propagation.fix_all(axes[2:])
    propagation.reads(node, _operand(node), 1, skips=True)
    return axes


def _embedding(propagation: Propagation, node: fx.Node, module: nn.Module) -> Axes:
    rows, width = propagation.tensor(f"{node.target}.weight")
    propagation.atoms.fix(rows)
    return [*propagation.axes(_operand(node)), width]


def _prelu(propagation: Propagation, node: fx.Node, module: nn.Module) -> Axes:
    axes = propagation.axes(_operand(node))
    (slopes,) = propagation.tensor(f"{node.target}.weight")
    if len(slopes) > 1:
        propagation.atoms.unify(axes[1], slopes)
    return axes


def _same(propagation: Propagation, node: fx.Node, module: nn.Module) -> Axes:
    return propagation.axes(_operand(node))


LAYERS: dict[type, LayerRule] = {
    **dict.fromkeys((*CONVOLUTIONS, *TRANSPOSED), _convolution),
    nn.Linear: _linear,
    **dict.fromkeys((*BATCH_NORMS, *INSTANCE_NORMS), _channel_norm),
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.Embedding: _embedding,
    nn.PReLU: _prelu,
    **dict.fromkeys(_DROPOUTS, _same),
}

#: Axis of the weight along which a layer gives its outputs, where that is not 0.
OUTPUT_AXIS: dict[type, int] = {**dict.fromkeys(TRANSPOSED, 1), nn.Embedding: 1}
