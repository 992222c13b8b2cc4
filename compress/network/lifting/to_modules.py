"""Rules that turn aten calls into ``nn.Module``, one for each operator.

A rule sees a call whose weights are constants of the graph and returns the module that computes the same and
holds the very same parameters, so that tied weights stay tied. It returns None where no module fits (a weight
that is computed in the graph, an unusual shape); the call then stays a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import Node

from compress.network.lifting.calls import aten, bind


@dataclass(frozen=True)
class Call:
    """One aten call with its arguments by their schema's names.

    Attributes:
        node: Node of the call in the graph.
        arguments: All arguments of the operator's schema, with defaults where not given.
        constants: Tensors behind ``get_attr`` nodes, by target ("layer1.0.conv1.weight").
    """

    node: Node
    arguments: Mapping[str, Any]
    constants: Mapping[str, torch.Tensor]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def constant(self, name: str) -> torch.Tensor | None:
        """Return the tensor given for an argument; None where it is absent or computed in the graph."""
        return self.tensor(self.arguments[name])

    def tensor(self, argument: Any) -> torch.Tensor | None:
        """Return the tensor behind a ``get_attr`` node, else None."""
        if isinstance(argument, Node) and argument.op == "get_attr":
            return self.constants.get(str(argument.target))
        return None

    def computed(self, *names: str) -> bool:
        """Whether any of these arguments is a tensor that the graph computes."""
        return any(isinstance(self[name], Node) and self.constant(name) is None for name in names)

    def rank(self, name: str) -> int:
        """Return the number of axes of a tensor argument, as recorded when the graph was traced."""
        return int(self.arguments[name].meta["val"].dim())


@dataclass(frozen=True)
class Found:
    """Result of a rule.

    Attributes:
        module: Module that computes the same as the call.
        inputs: Arguments of the module's call.
        weight: Argument whose name gives the module's path; None for a module without weights.
        unpack: Whether the call returned a flat tuple where the module returns ``(output, (h, c))``.
    """

    module: nn.Module
    inputs: tuple[Any, ...]
    weight: Node | None = None
    unpack: bool = False


Rule = Callable[[Call], Found | None]


def lift_call(node: Node, constants: Mapping[str, torch.Tensor]) -> Found | None:
    """Return the module for a call; None where it stays a call."""
    rule = _RULES.get(node.target)
    if rule is None:
        return None
    return rule(Call(node, bind(node), constants))


def _hold(module: nn.Module, **tensors: torch.Tensor | None) -> nn.Module:
    """Give a module, made on the meta device, these tensors as its parameters and buffers."""
    for name, tensor in tensors.items():
        if name in module._buffers and tensor is not None:
            module._buffers[name] = tensor
        else:
            setattr(module, name, _as_parameter(tensor))
    return module


def _as_parameter(tensor: torch.Tensor | None) -> nn.Parameter | None:
    # Frozen networks hold their weights as buffers; a module needs parameters.
    if tensor is None or isinstance(tensor, nn.Parameter):
        return tensor
    return nn.Parameter(tensor, requires_grad=tensor.is_floating_point())


_CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


def _spread(value: Any, axes: int) -> Any:
    """Return a convolution's setting for every spatial axis; one number stands for all of them."""
    if isinstance(value, str):
        return value
    sizes = [value] if isinstance(value, int) else list(value)
    if any(isinstance(size, Node) for size in sizes):
        return None
    return tuple(sizes * axes if len(sizes) == 1 else sizes)


def _convolution(call: Call) -> Found | None:
    weight, bias = call.constant("weight"), call.constant("bias")
    if weight is None or call.computed("bias"):
        return None
    axes = weight.dim() - 2
    settings = {name: _spread(call[name], axes) for name in ("stride", "padding", "dilation")}
    if axes not in _CONVOLUTIONS or None in settings.values():
        return None
    # aten.convolution says whether it is transposed; of the others only the transposed take output_padding.
    if call.arguments.get("transposed", "output_padding" in call.arguments):
        return _transposed_convolution(call, weight, bias, settings)
    module = _CONVOLUTIONS[axes](
        weight.shape[1] * call["groups"],
        weight.shape[0],
        tuple(weight.shape[2:]),  # type: ignore[arg-type]
        groups=call["groups"],
        bias=bias is not None,
        device="meta",
        **settings,
    )
    return Found(_hold(module, weight=weight, bias=bias), (call["input"],), call["weight"])


def _transposed_convolution(
    call: Call, weight: torch.Tensor, bias: torch.Tensor | None, settings: dict[str, Any]
) -> Found | None:
    axes = weight.dim() - 2
    output_padding = _spread(call["output_padding"], axes)
    if output_padding is None:
        return None
    module = _TRANSPOSED[axes](
        weight.shape[0],
        weight.shape[1] * call["groups"],
        tuple(weight.shape[2:]),  # type: ignore[arg-type]
        output_padding=output_padding,
        groups=call["groups"],
        bias=bias is not None,
        device="meta",
        **settings,
    )
    return Found(_hold(module, weight=weight, bias=bias), (call["input"],), call["weight"])


def _linear(call: Call) -> Found | None:
    weight, bias = call.constant("weight"), call.constant("bias")
    if weight is None or weight.dim() != 2 or call.computed("bias"):
        return None
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    return Found(_hold(module, weight=weight, bias=bias), (call["input"],), call["weight"])


_BATCH_NORMS: dict[int, Callable[..., nn.Module]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}
_INSTANCE_NORMS: dict[int, Callable[..., nn.Module]] = {
    3: nn.InstanceNorm1d,
    4: nn.InstanceNorm2d,
    5: nn.InstanceNorm3d,
}


def _running_norm(call: Call, kinds: Mapping[int, Callable[..., nn.Module]]) -> Found | None:
    weight, bias = call.constant("weight"), call.constant("bias")
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    kind = kinds.get(call.rank("input"))
    if kind is None or call.computed("weight", "bias", "running_mean", "running_var"):
        return None
    if (weight is None) != (bias is None) or (mean is None) != (variance is None):
        return None
    channels = int(call["input"].meta["val"].shape[1])
    module = kind(
        channels,
        eps=call["eps"],
        # In eval mode a cumulative average (momentum=None) is recorded as 0.
        momentum=call["momentum"] or None,
        affine=weight is not None,
        track_running_stats=mean is not None,
        device="meta",
    )
    if weight is not None:
        _hold(module, weight=weight, bias=bias)
    if mean is not None:
        counter = str(call["running_mean"].target).removesuffix("running_mean") + "num_batches_tracked"
        counted = call.constants.get(counter)
        module._buffers["running_mean"], module._buffers["running_var"] = mean, variance
        module._buffers["num_batches_tracked"] = torch.tensor(0) if counted is None else counted
    named = call["weight"] if weight is not None else call["running_mean"]
    return Found(module, (call["input"],), named)


def _batch_norm(call: Call) -> Found | None:
    return _running_norm(call, _BATCH_NORMS)


def _instance_norm(call: Call) -> Found | None:
    return _running_norm(call, _INSTANCE_NORMS)


def _layer_norm(call: Call) -> Found | None:
    weight, bias = call.constant("weight"), call.constant("bias")
    shape = call["normalized_shape"]
    if call.computed("weight", "bias") or any(isinstance(size, Node) for size in shape):
        return None
    if weight is None and bias is not None:
        return None
    module = nn.LayerNorm(
        list(shape),
        eps=call["eps"],
        elementwise_affine=weight is not None,
        bias=bias is not None,
        device="meta",
    )
    if weight is not None:
        _hold(module, weight=weight, bias=bias)
    return Found(module, (call["input"],), call["weight"])


def _group_norm(call: Call) -> Found | None:
    weight, bias = call.constant("weight"), call.constant("bias")
    if call.computed("weight", "bias") or (weight is None) != (bias is None):
        return None
    module = nn.GroupNorm(
        call["num_groups"],
        int(call["input"].meta["val"].shape[1]),
        eps=call["eps"],
        affine=weight is not None,
        device="meta",
    )
    if weight is not None:
        _hold(module, weight=weight, bias=bias)
    return Found(module, (call["input"],), call["weight"])


def _embedding(call: Call) -> Found | None:
    weight = call.constant("weight")
    if weight is None:
        return None
    padding = call["padding_idx"]
    module = nn.Embedding(
        weight.shape[0],
        weight.shape[1],
        padding_idx=None if padding < 0 else padding,
        scale_grad_by_freq=call["scale_grad_by_freq"],
        sparse=call["sparse"],
        device="meta",
    )
    return Found(_hold(module, weight=weight), (call["indices"],), call["weight"])


def _prelu(call: Call) -> Found | None:
    weight = call.constant("weight")
    if weight is None or weight.dim() != 1:
        return None
    module = nn.PReLU(weight.numel(), device="meta")
    return Found(_hold(module, weight=weight), (call["self"],), call["weight"])


def _dropout(call: Call) -> Found | None:
    return Found(nn.Dropout(call["p"]), (call["input"],))


def _feature_dropout(call: Call) -> Found | None:
    kinds = {3: nn.Dropout1d, 4: nn.Dropout2d, 5: nn.Dropout3d}
    kind = kinds.get(call.rank("input"))
    return Found(kind(call["p"]), (call["input"],)) if kind else None


def _alpha_dropout(call: Call) -> Found | None:
    return Found(nn.AlphaDropout(call["p"]), (call["input"],))


def _feature_alpha_dropout(call: Call) -> Found | None:
    return Found(nn.FeatureAlphaDropout(call["p"]), (call["input"],))


def _recurrent(call: Call, kind: Callable[..., nn.RNNBase], **settings: Any) -> Found | None:
    weights = [call.tensor(argument) for argument in call["params"]]
    if not weights or any(weight is None for weight in weights):
        return None
    first, recurrent = weights[0], weights[1]
    assert first is not None
    assert recurrent is not None
    directions = 2 if call["bidirectional"] else 1
    per_direction, odd = divmod(len(weights), call["num_layers"] * directions)
    projected = kind is nn.LSTM and per_direction == (5 if call["has_biases"] else 3)
    if odd or (not projected and per_direction != (4 if call["has_biases"] else 2)):
        return None
    gates = {nn.LSTM: 4, nn.GRU: 3}.get(kind, 1)  # type: ignore[call-overload]
    if projected:
        settings["proj_size"] = recurrent.shape[1]
    module = kind(
        first.shape[1],
        first.shape[0] // gates,
        num_layers=call["num_layers"],
        bias=call["has_biases"],
        batch_first=call["batch_first"],
        dropout=call["dropout"],
        bidirectional=call["bidirectional"],
        device="meta",
        **settings,
    )
    for name, weight in zip(list(module._flat_weights_names), weights, strict=True):
        _hold(module, **{name: weight})
    states = call["hx"]
    # A module that is given no state starts from zeros of the batch's size, as these do.
    from_zeros = all(_is_zeros(state) for state in (states if isinstance(states, list | tuple) else [states]))
    inputs = (call["input"],) if from_zeros else (call["input"], _state(states))
    return Found(module, inputs, call["params"][0], unpack=kind is nn.LSTM)


def _state(states: Any) -> Any:
    return tuple(states) if isinstance(states, list | tuple) else states


def _is_zeros(argument: Any) -> bool:
    return isinstance(argument, Node) and argument.target in (aten.zeros.default, aten.zeros_like.default)


def _lstm(call: Call) -> Found | None:
    return _recurrent(call, nn.LSTM)


def _gru(call: Call) -> Found | None:
    return _recurrent(call, nn.GRU)


def _rnn_tanh(call: Call) -> Found | None:
    return _recurrent(call, nn.RNN, nonlinearity="tanh")


def _rnn_relu(call: Call) -> Found | None:
    return _recurrent(call, nn.RNN, nonlinearity="relu")


_RULES: dict[Any, Rule] = {
    aten.conv1d.default: _convolution,
    aten.conv1d.padding: _convolution,
    aten.conv2d.default: _convolution,
    aten.conv2d.padding: _convolution,
    aten.conv3d.default: _convolution,
    aten.conv3d.padding: _convolution,
    aten.convolution.default: _convolution,
    aten._convolution.default: _convolution,
    aten.conv_transpose1d.default: _convolution,
    aten.conv_transpose2d.input: _convolution,
    aten.conv_transpose3d.input: _convolution,
    aten.linear.default: _linear,
    aten.batch_norm.default: _batch_norm,
    aten.instance_norm.default: _instance_norm,
    aten.layer_norm.default: _layer_norm,
    aten.group_norm.default: _group_norm,
    aten.embedding.default: _embedding,
    aten.prelu.default: _prelu,
    aten.dropout.default: _dropout,
    aten.feature_dropout.default: _feature_dropout,
    aten.alpha_dropout.default: _alpha_dropout,
    aten.feature_alpha_dropout.default: _feature_alpha_dropout,
    aten.lstm.input: _lstm,
    aten.gru.input: _gru,
    aten.rnn_tanh.input: _rnn_tanh,
    aten.rnn_relu.input: _rnn_relu,
}

#: The operators that become modules which hold weights.
LAYERS = frozenset(_RULES) - {
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.alpha_dropout.default,
    aten.feature_alpha_dropout.default,
}
