"""Export of recurrent layers that torch's exporter lacks: plain ones, and LSTMs with projections.

The exporter writes what it does not know as the operators it is made of, here those of every single step, for one
length of the sequence. ONNX has plain recurrent layers. A projected LSTM is a plain one: with the outputs
``h = P m`` of its cells ``m``, what a step reads of the step before, ``R h``, is ``(R P) m``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript.function_libs.torch_lib.tensor_typing import TFloat
from onnxscript.onnx_opset import opset18 as op
from torch import fx, nn

from compress.network.lifting.calls import aten

States = tuple[torch.Tensor, torch.Tensor]


def _plain(activation: str) -> Callable[..., Any]:
    """Write ``aten::rnn_tanh.input`` or ``aten::rnn_relu.input`` as ONNX's RNN, one for each layer."""

    def rnn(
        input: TFloat,
        hx: TFloat,
        params: Sequence[TFloat],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[TFloat, TFloat]:
        directions, per_direction = (2 if bidirectional else 1), (4 if has_biases else 2)
        values: Any = op.Transpose(input, perm=[1, 0, 2]) if batch_first else input
        last = []
        for first in range(0, num_layers * directions, directions):
            by_direction = [
                params[per_direction * at : per_direction * (at + 1)]
                for at in range(first, first + directions)
            ]
            biases = [op.Concat(held[2], held[3], axis=0) for held in by_direction] if has_biases else None
            steps, state = op.RNN(
                values,
                _stacked([held[0] for held in by_direction]),
                _stacked([held[1] for held in by_direction]),
                None if biases is None else _stacked(biases),
                None,
                op.Slice(hx, [first], [first + directions], axes=[0]),
                activations=[activation] * directions,
                direction="bidirectional" if bidirectional else "forward",
                hidden_size=hx.shape[2],
            )
            # [time, directions, batch, hidden] → [time, batch, directions · hidden]
            values = op.Reshape(op.Transpose(steps, perm=[0, 2, 1, 3]), op.Constant(value_ints=[0, 0, -1]))
            last.append(state)
        final = last[0] if len(last) == 1 else op.Concat(*last, axis=0)
        return (op.Transpose(values, perm=[1, 0, 2]) if batch_first else values), final

    return rnn


def _stacked(tensors: Sequence[Any]) -> Any:
    """Stack the tensors of every direction along a new first axis."""
    apart = [op.Unsqueeze(one, op.Constant(value_ints=[0])) for one in tensors]
    return apart[0] if len(apart) == 1 else op.Concat(*apart, axis=0)


#: Operator → what writes it, for ``torch.onnx.export``.
TRANSLATIONS: dict[Any, Callable[..., Any]] = {
    aten.rnn_tanh.input: _plain("Tanh"),
    aten.rnn_relu.input: _plain("Relu"),
}


class _Unprojected(nn.Module):
    """An LSTM with projections as plain ones, one for each layer, each followed by its projection."""

    projections: torch.Tensor
    inverses: torch.Tensor

    def __init__(self, projected: nn.LSTM) -> None:
        super().__init__()
        self.batch_first = projected.batch_first
        self.directions = 2 if projected.bidirectional else 1
        self.layers = nn.ModuleList(_layer(projected, number) for number in range(projected.num_layers))
        # [layers · directions, outputs, cells]
        projections = torch.stack(
            [
                getattr(projected, f"weight_hr_l{number}{suffix}").detach()
                for number in range(projected.num_layers)
                for suffix in ("", "_reverse")[: self.directions]
            ]
        )
        self.register_buffer("projections", projections)
        self.register_buffer("inverses", torch.linalg.pinv(projections.double()).to(projections.dtype))

    def forward(self, x: torch.Tensor, states: States | None = None) -> tuple[torch.Tensor, States]:
        """Run the layers on a batch, as :class:`torch.nn.LSTM` does."""
        lasts: list[torch.Tensor] = []
        cells: list[torch.Tensor] = []
        values = x.transpose(0, 1) if self.batch_first else x
        for number, layer in enumerate(self.layers):
            layer_rows = slice(number * self.directions, (number + 1) * self.directions)
            projection: torch.Tensor = self.projections[layer_rows]
            layer_states = None
            if states is not None:
                hidden = torch.matmul(states[0][layer_rows], self.inverses[layer_rows].transpose(1, 2))
                layer_states = (hidden, states[1][layer_rows])
            steps, (last, cell) = layer(values, layer_states)
            parts = steps.chunk(self.directions, -1)
            values = torch.cat(
                [torch.matmul(part, projection[at].T) for at, part in enumerate(parts)], dim=-1
            )
            lasts.append(torch.matmul(last, projection.transpose(1, 2)))
            cells.append(cell)
        values = values.transpose(0, 1) if self.batch_first else values
        return values, (torch.cat(lasts), torch.cat(cells))


def _layer(projected: nn.LSTM, number: int) -> nn.LSTM:
    """Return a layer as a plain LSTM that reads the values before its own projection."""
    width = projected.input_size
    if number:
        width = projected.proj_size * (2 if projected.bidirectional else 1)
    layer = nn.LSTM(
        width,
        projected.hidden_size,
        bias=projected.bias,
        bidirectional=projected.bidirectional,
        device="meta",
    )
    for name in list(layer._parameters):
        kind, _, suffix = name.partition("_l0")
        values = getattr(projected, f"{kind}_l{number}{suffix}").detach()
        if kind == "weight_hh":
            projection = getattr(projected, f"weight_hr_l{number}{suffix}").detach()
            values = (values.double() @ projection.double()).to(values.dtype)
        setattr(layer, name, nn.Parameter(values, requires_grad=False))
    return layer.eval()


def without_projections(graph: fx.GraphModule) -> fx.GraphModule:
    """Return the graph with plain LSTMs in place of projected ones: a copy, where there are any."""
    if not any(_is_projected(module) for module in graph.modules()):
        return graph
    plain = copy.deepcopy(graph)
    for path, module in list(plain.named_modules()):
        if isinstance(module, nn.LSTM) and _is_projected(module):
            plain.set_submodule(path, _Unprojected(module).eval())
    return plain


def _is_projected(module: nn.Module) -> bool:
    return isinstance(module, nn.LSTM) and module.proj_size > 0
