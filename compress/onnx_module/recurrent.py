"""GRU, LSTM and RNN: ONNX's layout and order of gates turned into torch's.

ONNX stacks the gates of a GRU as update, reset, hidden and of an LSTM as input, output, forget, cell; torch as
reset, update, new and as input, forget, cell, output. Time comes first in both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from compress.onnx_module.elementwise import Attributes, Operator
from compress.onnx_module.refusal import untrainable

_ORDER = {"GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1), "RNN": (0,)}  # torch's gates among ONNX's
_USUAL = {"GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "RNN": ["Tanh"]}


def _recurrent(kind: str) -> Operator:
    def run(
        attributes: Attributes,
        x: Tensor,
        weight: Tensor,
        recurrence: Tensor,
        bias: Tensor | None = None,
        lengths: Tensor | None = None,
        hidden: Tensor | None = None,
        cell: Tensor | None = None,
        peephole: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        _check(kind, attributes, lengths, peephole)
        directions, size = weight.shape[0], recurrence.shape[-1]
        if bias is None:
            bias = weight.new_zeros(directions, 2 * weight.shape[1])
        flat = [
            _torch_order(kind, part[direction], size)
            for direction in range(directions)
            for part in (weight, recurrence, *bias.chunk(2, 1))
        ]
        initial = x.new_zeros(directions, x.shape[1], size)
        hidden = initial if hidden is None else hidden
        backwards = attributes.get("direction", b"forward") == b"reverse"
        x = x.flip(0) if backwards else x
        states: Any = (hidden, initial if cell is None else cell) if kind == "LSTM" else hidden
        function: Any = {"GRU": torch.gru, "LSTM": torch.lstm, "RNN": torch.rnn_tanh}[kind]
        y, *last = function(x, states, flat, True, 1, 0.0, False, directions == 2, False)
        y = y.flip(0) if backwards else y
        # [time, batch, directions · hidden] → [time, directions, batch, hidden]
        return (y.reshape(*y.shape[:2], directions, size).transpose(1, 2), *last)

    return run


def _torch_order(kind: str, stacked: Tensor, size: int) -> Tensor:
    gates = torch.split(stacked, size)
    return torch.cat([gates[gate] for gate in _ORDER[kind]])


def _check(kind: str, attributes: Attributes, lengths: Tensor | None, peephole: Tensor | None) -> None:
    activations = [name.decode() for name in attributes.get("activations", ())]
    usual = _USUAL[kind]
    unusual = {
        "sequence lengths": lengths is not None,
        "peepholes": peephole is not None,
        "layout 1": attributes.get("layout", 0) == 1,
        "a clip": "clip" in attributes,
        "coupled gates": attributes.get("input_forget", 0) == 1,
        "linear_before_reset 0": kind == "GRU" and not attributes.get("linear_before_reset", 0),
        f"activations {activations}": activations not in ([], usual, usual * 2),
    }
    for what, present in unusual.items():
        if present:
            raise untrainable(f"{kind} with {what}")


#: ONNX's name → ``operator(attributes, *inputs)``; an input that is left out is None.
RECURRENT: dict[str, Operator] = {kind: _recurrent(kind) for kind in _ORDER}
