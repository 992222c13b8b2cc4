"""A prepared ONNX graph run in PyTorch, one step for each node, with gradients."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from compress.onnx_graph.graph import Graph, subgraphs
from compress.onnx_module.elementwise import ELEMENTWISE, Operator
from compress.onnx_module.layers import LAYERS
from compress.onnx_module.recurrent import RECURRENT
from compress.onnx_module.refusal import untrainable
from compress.onnx_module.shaping import SHAPING

OPERATORS: dict[str, Operator] = {**ELEMENTWISE, **LAYERS, **RECURRENT, **SHAPING}


@dataclass(frozen=True)
class Step:
    """One step of the computation.

    Attributes:
        run: Function of the tensors read, None for one left out; it returns one tensor, or a tuple of them.
        reads: Names of its inputs; "" for one that is left out.
        writes: Names of its outputs; "" for one that nobody reads.
    """

    run: Callable[..., Any]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def step_of(node: onnx.NodeProto) -> Step:
    """Return the step that computes a node in float.

    Raises:
        NetworkError: The operator cannot be trained.
    """
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS or any(subgraphs(node)):
        raise untrainable(f"{node.op_type} (node '{node.name}')")
    attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    if node.op_type == "Split" and len(node.input) == 1:
        attributes.setdefault("num_outputs", len(node.output))
    return Step(partial(OPERATORS[node.op_type], attributes), tuple(node.input), tuple(node.output))


class OnnxModule(nn.Module):
    """A module that computes what an ONNX graph computes.

    Args:
        model: Model that :func:`compress.onnx_graph.fold.prepare` returned. Its initialisers become buffers.
        steps: Steps to compute, in order; None makes a step for each node.
        outputs: Names of the tensors to return; None returns the graph's outputs.

    Attributes:
        code: Hash of the graph's nodes, without the weights.

    Raises:
        NetworkError: An operator cannot be trained.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        steps: Sequence[Step] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        graph = Graph(model)
        self.code = hashlib.sha256(b"".join(node.SerializeToString() for node in graph.nodes)).hexdigest()
        self.input_names = graph.inputs
        self._outputs = tuple(outputs or graph.outputs)
        self._steps = tuple(steps or map(step_of, graph.nodes))
        self._modules_of_steps = nn.ModuleList(
            dict.fromkeys(step.run for step in self._steps if isinstance(step.run, nn.Module))
        )
        needed = {name for step in self._steps for name in step.reads} | set(self._outputs)
        needed -= {name for step in self._steps for name in step.writes}
        self._buffer_names: dict[str, str] = {}  # Initialisers' names may have dots, buffers' may not.
        self._on_cpu: dict[str, Tensor] = {}
        for index, (name, tensor) in enumerate(graph.initializers.items()):
            if name not in needed:
                continue
            value = torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
            if value.is_floating_point():
                self._buffer_names[name] = f"constant_{index}"
                self.register_buffer(f"constant_{index}", value)
            else:
                self._on_cpu[name] = value  # Shapes and indices, which Python reads.
        self._freed = _last_reads(self._steps, self._outputs)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs, in order.

        Args:
            inputs: Inputs, in the graph's order.
        """
        values: dict[str, Any] = {"": None, **self._on_cpu}
        values.update((name, getattr(self, buffer)) for name, buffer in self._buffer_names.items())
        values.update(zip(self.input_names, inputs, strict=True))
        for step, freed in zip(self._steps, self._freed, strict=True):
            result = step.run(*(values[name] for name in step.reads))
            results = result if isinstance(result, tuple) else (result,)
            values.update((name, tensor) for name, tensor in zip(step.writes, results, strict=False) if name)
            for name in step.writes[len(results) :]:
                if name and name not in freed:
                    raise untrainable(f"an operator whose further output '{name}' is read")
            for name in freed:
                values.pop(name, None)
        return tuple(values[name] for name in self._outputs)


def _last_reads(steps: Sequence[Step], outputs: Iterable[str]) -> list[tuple[str, ...]]:
    """Return for each step the tensors that nobody reads after it, so that inference holds few activations."""
    lasting = {"", *outputs}
    freed = []
    for step in reversed(steps):
        last = [name for name in dict.fromkeys((*step.reads, *step.writes)) if name not in lasting]
        freed.append(tuple(last))
        lasting.update(last)
    return freed[::-1]
