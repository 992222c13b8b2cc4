"""Parts of a network of OpenVINO while the nodes of a decoder's ONNX graph are added to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx


class Translation:
    """The tensors so far.

    Args:
        model: Graph of the decoder.

    Attributes:
        ov: OpenVINO's operators.
        values: Tensors by their name in the ONNX graph; constants are made when they are asked for.
        parameters: Inputs of the network.
        sinks: Nodes that write states.
        tables: Constants of other shape, by the name of the tensor that has the new one.
        shared: Tensors that several nodes need and that are made once, by a name of their own.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        from openvino import opset13 as ov

        self.ov = ov
        self.initializers = {entry.name: entry for entry in model.graph.initializer}
        self.parameters = [
            self._input("input_ids", np.int64, 2),
            self._input("attention_mask", np.int64, 2),
            self._input("position_ids", np.int64, 2),
            self._input("beam_idx", np.int32, 1),
        ]
        self.values = Values(self, {entry.friendly_name: entry.output(0) for entry in self.parameters})
        self.sinks: list[Any] = []
        self.shared: dict[str, Any] = {}
        self.tables: dict[str, str] = {}

    def _input(self, name: str, kind: type[np.integer[Any]], axes: int) -> Any:
        parameter = self.ov.parameter([-1] * axes, kind, name=name)
        parameter.output(0).get_tensor().set_names({name})
        return parameter

    def once(self, name: str, made: Any) -> Any:
        """Return what ``made`` gives, which is called the first time alone."""
        if name not in self.shared:
            self.shared[name] = made()
        return self.shared[name]

    def array(self, name: str) -> NDArray[Any]:
        """Return the values of a constant."""
        from onnx import numpy_helper

        values: NDArray[Any] = numpy_helper.to_array(self.initializers[name])
        return values

    def integers(self, values: Any) -> Any:
        """Return a constant of int64."""
        return self.ov.constant(np.array(values, np.int64))

    def floats(self, values: Any) -> Any:
        """Return a constant of float32."""
        return self.ov.constant(np.array(values, np.float32))

    def attribute(self, node: onnx.NodeProto, name: str, default: Any = None) -> Any:
        """Return an attribute of a node."""
        import onnx

        for entry in node.attribute:
            if entry.name == name:
                return onnx.helper.get_attribute_value(entry)
        return default

    def give(self, node: onnx.NodeProto, first: Any, last: Any = None) -> None:
        """Say what a node's first output is, and its last one where that is asked for."""
        first.set_friendly_name(node.name or node.output[0])
        self.values[node.output[0]] = first.output(0)
        if last is not None and len(node.output) > 1:
            self.values[node.output[-1]] = last.output(0)


class Values(dict[str, Any]):
    """Tensors by their name."""

    def __init__(self, at: Translation, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        self._at = at

    def __missing__(self, name: str) -> Any:
        """Make a constant."""
        constant = self._at.ov.constant(self._at.array(name), name=name)
        self[name] = constant.output(0)
        return self[name]
