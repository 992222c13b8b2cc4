"""A graph that is written node by node, its weights appended to a file as they come, or kept inside of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from compress.language.weight_file import WeightFile
from compress.onnx_graph.weights import lasting_folder, stored
from compress.quantization.weights.packing import DOMAIN

OPSET = 20  # Gelu
_IR_VERSION = 10


class GraphWriter:
    """A graph in the making.

    Args:
        beside: File that takes the large weights; None keeps them inside the graph.
        lasting: Whether they lie in files that last as long as the process, in place of inside the graph.
    """

    def __init__(self, beside: WeightFile | None = None, *, lasting: bool = False) -> None:
        self._beside = beside
        self._folder = lasting_folder() if lasting else None
        self._graph = onnx.GraphProto(name="decoder")
        self._constants: set[str] = set()

    def feed(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        """Add an input of the graph and return its name."""
        self._graph.input.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def give(self, name: str, kind: int, shape: Sequence[int | str]) -> None:
        """Add an output of the graph, made by a node that is there or comes later."""
        self._graph.output.append(helper.make_tensor_value_info(name, kind, shape))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant, unless there is one of this name, and return its name."""
        if name in self._constants:
            return name
        self._constants.add(name)
        values = np.asarray(values, order="C")
        if self._beside is not None:
            self._beside.store(name, values).fill(
                self._graph.initializer.add(name=name), self._beside.location
            )
            return name
        if self._folder is not None:
            self._graph.initializer.append(stored(name, values, self._folder))
            return name
        self._graph.initializer.add(
            name=name,
            dims=np.shape(values),
            data_type=helper.np_dtype_to_tensor_dtype(values.dtype),
            raw_data=values.tobytes(),
        )
        return name

    def take_up(self, matrix: str) -> Mapping[str, Any] | None:
        """Return the description of a matrix that an earlier run has written; None where it is to be made."""
        return None if self._beside is None else self._beside.matrices.get(matrix)

    def take_up_constant(self, name: str) -> str:
        """Add a constant that an earlier run has written, unless it is there, and return its name."""
        if name not in self._constants:
            assert self._beside is not None
            self._constants.add(name)
            self._beside.constants[name].fill(self._graph.initializer.add(name=name), self._beside.location)
        return name

    def finish(self, matrix: str, description: Mapping[str, Any]) -> None:
        """Remember that a matrix is written whole; see :meth:`WeightFile.finish`."""
        if self._beside is not None:
            self._beside.finish(matrix, description)

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        result: str,
        *,
        domain: str = "",
        more: Sequence[str] = (),
        **attributes: Any,
    ) -> str:
        """Add a node, which has its first result's name, and return that name.

        Args:
            kind: Name of the operator.
            inputs: Names of what it reads; empty ones are left out.
            result: Name of what it makes.
            domain: Domain of the operator; empty for the standard.
            more: Names of its other results; empty ones are left out.
            **attributes: Attributes of the node.
        """
        self.add(helper.make_node(kind, inputs, [result, *more], name=result, domain=domain, **attributes))
        return result

    def add(self, node: onnx.NodeProto) -> None:
        """Add a node."""
        self._graph.node.append(node)

    def model(self, metadata: dict[str, str]) -> onnx.ModelProto:
        """Return the model with the graph, and with texts for whoever runs it."""
        model = onnx.ModelProto(ir_version=_IR_VERSION, producer_name="compress", graph=self._graph)
        model.opset_import.extend([helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)])
        helper.set_model_props(model, metadata)
        return model
