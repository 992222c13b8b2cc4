"""An index of the makers and readers of tensors in an ONNX graph: a view over a ModelProto."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import onnx
from numpy.typing import NDArray

from compress.onnx_graph.weights import folder_of, is_outside, size_of_tensor, stored, values_of

#: Bytes that do not matter to the size of a file: shapes, and small tables.
SMALL = 1 << 10

_STANDARD = ("", "ai.onnx")


class Graph:
    """An index of a model's main graph.

    It is made once and goes stale when nodes change; make another one then.

    Args:
        model: Model that is referred to, not copied.

    Attributes:
        nodes: Nodes in the order of the file, which ONNX guarantees to be topological.
        initializers: Constant tensors by name.
        inputs: Names of the inputs the caller feeds (without initialisers that old exporters list there too).
        outputs: Names of the outputs, in order.
        producers: Node that makes each tensor, by the tensor's name.
        positions: Position of that node in ``nodes``, by the tensor's name.
        consumers: Nodes that read each tensor, by the tensor's name, one entry for each node. A node whose subgraph
            captures a tensor reads it too.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.model = model
        self.nodes: list[onnx.NodeProto] = list(graph.node)
        self.initializers: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = tuple(value.name for value in graph.input if value.name not in self.initializers)
        self.outputs = tuple(value.name for value in graph.output)
        self.producers: dict[str, onnx.NodeProto] = {}
        self.positions: dict[str, int] = {}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for position, node in enumerate(self.nodes):
            for name in node.output:
                if name:
                    self.producers[name], self.positions[name] = node, position
            for name in dict.fromkeys(tensors_read(node)):
                self.consumers.setdefault(name, []).append(node)
        self._values = {value.name: value for value in _typed_values(graph)}
        self._types = {name: value.type.tensor_type for name, value in self._values.items()}
        self._arrays: dict[str, NDArray[Any]] = {}
        self._folder = folder_of(model)
        self._names = {*self.initializers, *self.producers, *(value.name for value in graph.input)}

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return next((int(entry.version) for entry in self.model.opset_import if entry.domain in _STANDARD), 0)

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the value of an initialiser; None where the tensor is computed or fed."""
        if name not in self.initializers:
            return None
        if name in self._arrays:
            return self._arrays[name]
        values = values_of(self.initializers[name])
        if not is_outside(
            self.initializers[name]
        ):  # a mapped file costs nothing to map again, and memory to keep
            self._arrays[name] = values
        return values

    def shape(self, name: str) -> tuple[int | str | None, ...] | None:
        """Return sizes and names of the axes (None for an unknown one); None where even the rank is unknown."""
        if name in self.initializers:
            return tuple(self.initializers[name].dims)
        tensor_type = self._types.get(name)
        if tensor_type is None or not tensor_type.HasField("shape"):
            return None
        return tuple(_axis(dimension) for dimension in tensor_type.shape.dim)

    def rank(self, name: str) -> int | None:
        """Return the number of axes; None where it is unknown."""
        shape = self.shape(name)
        return None if shape is None else len(shape)

    def element_type(self, name: str) -> int:
        """Return the tensor's type number of ``onnx.TensorProto``; UNDEFINED (0) where it is unknown."""
        if name in self.initializers:
            return int(self.initializers[name].data_type)
        return int(self._types[name].elem_type) if name in self._types else int(onnx.TensorProto.UNDEFINED)

    def typed(self, name: str) -> onnx.ValueInfoProto:
        """Return the tensor's name with its type and shape, as far as known."""
        return self._values.get(name, onnx.ValueInfoProto(name=name))

    def is_float32(self, name: str) -> bool:
        """Whether the tensor is known to be float32, the only type that is quantized."""
        return self.element_type(name) == int(onnx.TensorProto.FLOAT)

    def free_name(self, name: str) -> str:
        """Return this name, or a similar unused one; it counts as used from now on."""
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def store(self, name: str, values: NDArray[Any], inside: bool = False) -> str:
        """Add an initialiser to the model and return its name, which is like the one given.

        Args:
            name: Name to begin with.
            values: Values of the initialiser.
            inside: Whether to keep it in the model, even where large ones lie in files.
        """
        name = self.free_name(name)
        self.model.graph.initializer.append(stored(name, values, None if inside else self._folder))
        self.initializers[name] = self.model.graph.initializer[-1]
        return name

    def is_shared(self, name: str) -> bool:
        """Whether a constant is large and read by several nodes, so that a changed copy of it makes the file larger."""
        readers = self.consumers.get(name, [])
        return len(readers) > 1 and size_of_tensor(self.initializers[name]) > SMALL

    def only_consumer(self, name: str) -> onnx.NodeProto | None:
        """Return the only node that reads the tensor; None where others, or the graph's caller, read it too."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Return an attribute's value as a Python object, or the default."""
    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Return the bodies of If, Loop and Scan."""
    for entry in node.attribute:
        if entry.type == onnx.AttributeProto.GRAPH:
            yield entry.g
        elif entry.type == onnx.AttributeProto.GRAPHS:
            yield from entry.graphs


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the graph, and the bodies of branches and loops in it at any depth."""
    yield graph
    for node in graph.node:
        for body in subgraphs(node):
            yield from graphs(body)


def tensors_read(node: onnx.NodeProto) -> Iterator[str]:
    """Return the node's inputs, and the tensors that its subgraphs capture."""
    yield from (name for name in node.input if name)
    for body in subgraphs(node):
        inner_names = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        for inner in body.node:
            yield from (name for name in tensors_read(inner) if name not in inner_names)
            inner_names.update(inner.output)
        yield from (value.name for value in body.output if value.name not in inner_names)


def replace_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Make these the model's nodes, in this order."""
    copies = []
    for node in nodes:  # they may live in the very list that is emptied below
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _typed_values(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    yield from graph.value_info
    yield from graph.input
    yield from graph.output


def _axis(dimension: Any) -> int | str | None:
    if dimension.HasField("dim_value"):
        return int(dimension.dim_value)
    return str(dimension.dim_param) or None
