"""Rules for LSTM, GRU and plain recurrent layers.

A hidden unit is a row in each gate of the input weights, a row in each gate and a column of the recurrent ones. One
module has one hidden size, so unit *i* of every layer and direction goes with unit *i* of the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx, nn

from compress.pruning.atoms import Labels, fixed, join
from compress.pruning.axes import Axes, LayerRule, Propagation

#: Rows of a weight for one hidden unit.
GATES: dict[type, int] = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}


def _recurrent(propagation: Propagation, node: fx.Node, module: Any) -> Any:
    operand: Any = node.args[0]
    axes = propagation.axes(operand)
    directions = 2 if module.bidirectional else 1
    cells = propagation.atoms.fresh(module.hidden_size)
    hidden = propagation.atoms.fresh(module.proj_size) if module.proj_size else cells
    rows = np.tile(cells, (GATES[type(module)], 1))
    inputs = axes[-1]
    propagation.reads(node, operand, -1)
    points = list(axes[:-1])
    for layer in range(module.num_layers):
        for suffix in ("", "_reverse")[:directions]:
            name = f"{node.target}.{{}}_l{layer}{suffix}".format
            propagation.unify_all(propagation.tensor(name("weight_ih")), [rows, inputs])
            propagation.unify_all(propagation.tensor(name("weight_hh")), [rows, hidden])
            if module.bias:
                propagation.atoms.unify(propagation.tensor(name("bias_ih"))[0], rows)
                propagation.atoms.unify(propagation.tensor(name("bias_hh"))[0], rows)
            if module.proj_size:
                propagation.unify_all(propagation.tensor(name("weight_hr")), [hidden, cells])
            propagation.computes(node, *points, rows, inputs)
            propagation.computes(node, *points, rows, hidden)
        inputs = join([hidden] * directions)
    states = _states(propagation, node, module, hidden, cells)
    return [[*axes[:-1], inputs], states]


def _states(propagation: Propagation, node: fx.Node, module: Any, hidden: Labels, cells: Labels) -> Any:
    """Return the last states, [layers · directions, batch, units]; the first ones, where given, lose the same."""
    shapes = propagation.shapes[node][1]
    expected_labels = [hidden, cells] if isinstance(module, nn.LSTM) else [hidden]
    if len(node.args) > 1 and node.args[1] is not None:
        state_arguments: Any = node.args[1]
        for state, labels in zip(
            state_arguments if isinstance(state_arguments, list | tuple) else [state_arguments],
            expected_labels,
            strict=True,
        ):
            propagation.fix_all(propagation.axes(state)[:-1])
            propagation.atoms.unify(propagation.axes(state)[-1], labels)
    if isinstance(module, nn.LSTM):
        return [_state(shape, labels) for shape, labels in zip(shapes, expected_labels, strict=True)]
    return _state(shapes, hidden)


def _state(shape: Any, labels: Labels) -> Axes:
    return [*(fixed(size) for size in shape[:-1]), labels]


RECURRENT: dict[type, LayerRule] = dict.fromkeys(GATES, _recurrent)
