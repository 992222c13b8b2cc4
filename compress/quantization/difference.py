"""The signal-to-noise ratio of each tensor of a float network in a quantized form of it.

    ratio = 10 · log10( Σ float² / Σ (float − quantized)² )      in dB, over all values of all samples

A tensor has two: *in all*, where the quantized network runs as it is and errors of the layers before it add up, and
*own*, where the piece of the quantized network that makes it is fed the float network's tensors. A bad layer has a low
own ratio, while those after it only hand its error on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.core.tensor_spec import TensorSpec
from compress.errors import NetworkError
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.sessions import open_session, part
from compress.onnx_graph.shapes import input_specs
from compress.quantization.batches import Batch, bounded
from compress.quantization.probe import Probe

Shape = Sequence[int | str | None]


@dataclass(frozen=True)
class TensorDifference:
    """The difference of one tensor.

    Attributes:
        tensor: Name of the tensor in both networks.
        node: Name of the node that makes it in the float network.
        operator: Operator of that node.
        own_db: Signal-to-noise ratio where its piece is fed the float network's tensors, in dB; infinite where nothing
            differs.
        all_db: Signal-to-noise ratio in the quantized network as it runs, in dB.
    """

    tensor: str
    node: str
    operator: str
    own_db: float
    all_db: float


class _Noise:
    """Sums of squares of a tensor and of its error, over batches."""

    def __init__(self) -> None:
        self._signal = self._error = 0.0

    def add(self, expected: NDArray[Any], actual: NDArray[Any]) -> None:
        """Add one batch."""
        exact = expected.astype(np.float64)
        self._signal += float(np.square(exact).sum())
        self._error += float(np.square(exact - actual.astype(np.float64)).sum())

    @property
    def db(self) -> float:
        """Signal-to-noise ratio in dB; minus infinity for values that are not finite, and for noise without signal."""
        if not math.isfinite(self._error):
            return -math.inf
        if self._error == 0:
            return math.inf
        return -math.inf if self._signal == 0 else 10 * math.log10(self._signal / self._error)


def shared_tensors(reference: Graph, other: Graph) -> list[str]:
    """Return the float tensors that nodes of both networks make under one name, in the reference's order.

    Args:
        reference: Graph of the float network, with inferred types.
        other: Graph of the quantized network, with inferred types.
    """
    return [
        name
        for node in reference.nodes
        for name in node.output
        if name in other.positions and reference.is_float32(name) and other.is_float32(name)
    ]


def shared_inputs(reference: onnx.ModelProto, other: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """Return the inputs that fit both networks: an axis that one leaves open has the size that the other takes.

    Args:
        reference: Float network.
        other: Quantized network.

    Raises:
        NetworkError: The inputs differ in names, in data types or in a size.
    """
    ours, theirs = input_specs(reference), {spec.name: spec for spec in input_specs(other)}
    if {spec.name for spec in ours} != set(theirs):
        _refuse_inputs(ours, tuple(theirs.values()))
    for spec in ours:
        if spec.dtype != theirs[spec.name].dtype or not _agree(spec.shape, theirs[spec.name].shape):
            _refuse_inputs((spec,), (theirs[spec.name],))
    return tuple(
        TensorSpec(
            spec.name,
            spec.dtype,
            tuple(
                other_size if isinstance(other_size, int) else size
                for size, other_size in zip(spec.shape, theirs[spec.name].shape, strict=True)
            ),
        )
        for spec in ours
    )


def differences(
    reference: onnx.ModelProto, other: onnx.ModelProto, batches: Sequence[Batch]
) -> list[TensorDifference]:
    """Compare the tensors of two networks that have the same names.

    Args:
        reference: Float network, with inferred types.
        other: Quantized form of it, with inferred types.
        batches: Samples, an array for each input as both networks take it.

    Returns:
        A difference for each tensor that both make, in the reference's order; empty where none has the same name.

    Raises:
        NetworkError: The inputs differ, or tensors of one name have different shapes.
    """
    shared_inputs(reference, other)
    graph, quantized = Graph(reference), Graph(other)
    names = shared_tensors(graph, quantized)
    if not names:
        return []
    for name in names:
        _check_shape(name, graph.shape(name), quantized.shape(name))
    exact, whole_probe = Probe(reference, names), Probe(other, names)
    pieces = {name: _Piece(quantized, name, names) for name in names}
    alone, in_all = {name: _Noise() for name in names}, {name: _Noise() for name in names}
    for batch in bounded(batches, graph, names * 2):  # the tensors of both networks are held
        expected = dict(zip(names, exact.run(batch), strict=True))
        actual = dict(zip(names, whole_probe.run(batch), strict=True))
        for name in names:
            _check_shape(name, expected[name].shape, actual[name].shape)
        for name in names:
            in_all[name].add(expected[name], actual[name])
            alone[name].add(expected[name], pieces[name].run({**batch, **expected}))
    nodes_by_output = {name: graph.nodes[graph.positions[name]] for name in names}
    return [
        TensorDifference(
            name, nodes_by_output[name].name, nodes_by_output[name].op_type, alone[name].db, in_all[name].db
        )
        for name in names
    ]


def _agree(ours: Shape | None, theirs: Shape | None) -> bool:
    """Whether two shapes may be one; a name or None stands for any size, and None in place of a shape for any shape."""
    if ours is None or theirs is None:
        return True
    sizes = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(
        size == other_size
        for size, other_size in sizes
        if isinstance(size, int) and isinstance(other_size, int)
    )


def _check_shape(name: str, ours: Shape | None, theirs: Shape | None) -> None:
    if not _agree(ours, theirs):
        written = [f"[{', '.join(map(str, shape or ()))}]" for shape in (ours, theirs)]
        raise NetworkError(
            f"two networks whose tensor {name} has one shape",
            f"{written[0]} in the first and {written[1]} in the second",
            "give two forms of one network: a pruned network is compared with its own quantized form",
        )


def _refuse_inputs(ours: Sequence[TensorSpec], theirs: Sequence[TensorSpec]) -> None:
    first, second = ("; ".join(map(str, specs)) or "none" for specs in (ours, theirs))
    raise NetworkError(
        "two networks with the same inputs",
        f"{first} in the first and {second} in the second",
        "give two forms of one network",
    )


class _Piece:
    """The part of a network that makes one tensor from the nearest tensors that are given.

    Args:
        graph: Graph of the network.
        tensor: Name of the tensor.
        given: Names of the tensors that are given.
    """

    def __init__(self, graph: Graph, tensor: str, names_given: Sequence[str]) -> None:
        self._session = open_session(part(graph, [tensor], set(names_given) - {tensor}))
        self._inputs = [value.name for value in self._session.get_inputs()]

    def run(self, values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the tensor for given values."""
        (output,) = self._session.run(None, {name: values[name] for name in self._inputs})
        return np.asarray(output)
