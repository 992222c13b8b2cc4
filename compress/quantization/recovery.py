"""Recovery of accuracy lost by rounding, layer by layer, from calibration samples: biases and, if asked, weights.

The layers are gone through in the order in which they run. Each is measured with the inputs that the quantized
network, as corrected so far, really gives it, against the outputs of the float network:

* **Bias correction**: the bias takes up the mean error of every output channel (Nagel et al. 2019, arXiv 1906.04721,
  section 4.2, in its empirical form).
* **Reconstruction**: the weights are rounded anew for those inputs; see :mod:`compress.quantization.rounding`.

Every fourth batch is kept out of the fit. A layer is changed only where its own error on those becomes smaller. A
block of layers stays changed only where the network's error on those does not grow: a bias that is right on average can
be wrong behind a ReLU. A block that makes it grow is tried again in halves.

Both networks go along with the layers, so that each layer runs once: see :mod:`compress.quantization.walk`. There are
never more than so many blocks, so the whole takes time in proportion to the number of layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.core.progress import Reporter
from compress.quantization.batches import Batch
from compress.quantization.moments import ROWS, rows_of
from compress.quantization.probe import OutputError, compared
from compress.quantization.quantized_layer import QuantizedLayer, wanted_output
from compress.quantization.rounding import reconstruct
from compress.quantization.rows import Rows, best_bias, energy, error, moments_of
from compress.quantization.shelf import Shelf
from compress.quantization.walk import Walk

#: Samples that recovery is measured on; they are held in memory.
SAMPLES = 256

#: Inputs of one output above which weights are not rounded anew: the matrix of their products grows with the square.
_MOST_INPUTS = 4608

#: Weights of a layer above which it is left as it is: what is wanted of it would fill the memory.
_MOST_WEIGHTS = 1 << 24

_KEPT_OUT = 4  # every fourth batch

#: Rows of a layer, from all batches: so many for each of its inputs, and at the least and at the most so many.
_ROWS_PER_INPUT, _LEAST_ROWS, _MOST_ROWS = 4, 2 * ROWS, 8 * ROWS

_BLOCKS = 8  # that the layers are divided into, at the most
_SPLITS = 2  # times that a block is halved


@dataclass(frozen=True)
class Recovered:
    """Outcome of recovery for one layer.

    Attributes:
        layer: Name of the node.
        before: Mean squared error of its outputs on samples kept out of the fit, over their mean square.
        after: Mean squared error with the correction that was kept, likewise.
        kept: Correction that was kept: ``rounding``, ``bias``, or ``nothing`` where neither made the errors smaller.
    """

    layer: str
    before: float
    after: float
    kept: str


def recover(
    original: onnx.ModelProto,
    quantized: onnx.ModelProto,
    layers: Sequence[str],
    batches: Sequence[Batch],
    largest: int | None = None,
    reporter: Reporter | None = None,
) -> tuple[onnx.ModelProto, tuple[Recovered, ...]]:
    """Correct biases, and round weights anew.

    Args:
        original: Float model that was quantized; nodes have the same names in both.
        quantized: Quantized model with int8 weights behind DequantizeLinear; it is not modified.
        layers: Names of the nodes to correct, in topological order; those that cannot be corrected are skipped.
        batches: Batches of samples.
        largest: Largest magnitude of a weight's integer, for rounding weights anew; None corrects only biases.
        reporter: Receives the progress.

    Returns:
        The corrected model, and the outcome for each layer.
    """
    corrected = onnx.ModelProto()
    corrected.CopyFrom(quantized)
    with Shelf() as shelf:
        walks = _Recovery(original, corrected, batches, shelf, largest, reporter or Reporter())
        return corrected, tuple(walks.of(layers))


@dataclass(frozen=True)
class _Correction:
    """Correction of a layer: its weight and bias, and its errors without and with them; see :class:`Recovered`."""

    name: str
    integers: NDArray[Any]
    bias: NDArray[np.float64]
    before: float
    after: float


class _Recovery:
    """Recovery of all layers in turn, in both networks; :func:`recover` is its only user."""

    def __init__(
        self,
        original: onnx.ModelProto,
        corrected: onnx.ModelProto,
        batches: Sequence[Batch],
        shelf: Shelf,
        largest: int | None,
        reporter: Reporter,
    ) -> None:
        self.largest, self.reporter = largest, reporter
        self.checking = range(_KEPT_OUT - 1, len(batches), _KEPT_OUT) or range(len(batches))
        self.fitting = [number for number in range(len(batches)) if number % _KEPT_OUT != _KEPT_OUT - 1]
        self.floats, self.ours = Walk(original, batches, shelf), Walk(corrected, batches, shelf)
        self.nodes = {node.name: node for node in self.ours.graph.nodes}
        self.float_nodes = {node.name: node for node in self.floats.graph.nodes}
        self.outputs = OutputError(original, [batches[number] for number in self.checking])
        self.smallest = self.network_error()
        self.done = 0

    def of(self, names: Sequence[str]) -> list[Recovered]:
        """Correct the layers of these names, block by block."""
        names = [name for name in names if name in self.float_nodes and self._layer(name) is not None]
        self.reporter.step("recovering accuracy", len(names))
        size = -(-len(names) // _BLOCKS) or 1
        recovered: list[Recovered] = []
        for start in range(0, len(names), size):
            recovered += self.block(names[start : start + size], {}, _SPLITS)
            self.reporter.tick(len(recovered))
        return recovered

    def block(self, names: Sequence[str], earlier: Mapping[str, _Correction], splits: int) -> list[Recovered]:
        """Correct some layers, and undo it where the network's error grows.

        Args:
            names: Names of the layers; all layers before them are done.
            earlier: Corrections found earlier, with everything before the first of these layers unchanged; empty for
                none.
            splits: Number of times that the block may be halved.
        """
        before = self.floats.copy(), self.ours.copy()
        layers = [layer for name in names if (layer := self._layer(name)) is not None]
        corrections: dict[str, _Correction] = {}
        for layer in layers:
            name = layer.node.name
            corrections[name] = choice = earlier.get(name) or self.best_correction(layer)
            layer.write(choice.integers, choice.bias)
        if all(choice.name == "nothing" for choice in corrections.values()):
            return _told(corrections)
        now = self.network_error()
        if now <= self.smallest:
            self.smallest = now
            return _told(corrections)
        self.floats, self.ours = before
        for layer in layers:
            layer.write(layer.integers, layer.bias)
        if len(names) == 1 or not splits:
            return _told(
                {
                    name: replace(correction, name="nothing", after=correction.before)
                    for name, correction in corrections.items()
                }
            )
        half = len(names) // 2
        first = self.block(names[:half], corrections, splits - 1)
        # What was found for the rest holds as long as what lies before it is as it was then.
        as_it_was = all(recovered.kept == corrections[recovered.layer].name for recovered in first)
        return [*first, *self.block(names[half:], corrections if as_it_was else {}, splits - 1)]

    def network_error(self) -> float:
        """Return the present error of the quantized network's outputs, on the samples kept out."""
        parts = self.ours.rest(self.outputs.names, self.checking)
        return self.outputs.of_parts(compared(values) for values in parts)

    def best_correction(self, layer: QuantizedLayer) -> _Correction:
        """Return the correction with the smallest error among those allowed."""
        fitted, checked = self._rows(layer)
        choices: dict[str, tuple[NDArray[Any], NDArray[np.float64]]] = {
            "nothing": (layer.integers, layer.bias)
        }
        if layer.stored_bias is not None:
            bias = best_bias(fitted, layer.weight(layer.integers))
            choices["bias"] = (layer.integers, layer.stored_as(bias))
        if self.largest is not None and layer.integers.shape[2] <= _MOST_INPUTS:
            integers = self._reconstructed(layer, fitted)
            bias = best_bias(fitted, layer.weight(integers))
            choices["rounding"] = (integers, layer.stored_as(bias))
        scale = max(energy(checked), float(np.finfo(np.float32).tiny))
        errors = {
            name: error(checked, layer.weight(integers), bias) / scale
            for name, (integers, bias) in choices.items()
        }
        best = min(errors, key=lambda name: errors[name])
        return _Correction(best, *choices[best], errors["nothing"], errors[best])

    def _reconstructed(self, layer: QuantizedLayer, fitted: Sequence[Rows]) -> NDArray[np.int8]:
        weight = self.floats.graph.constant(self.float_nodes[layer.node.name].input[1])
        exact = layer.float_weight(np.asarray(weight))
        has_bias = layer.stored_bias is not None
        assert self.largest is not None
        return reconstruct(exact, layer.steps, self.largest, moments_of(fitted), has_bias).astype(np.int8)

    def _rows(self, layer: QuantizedLayer) -> tuple[list[Rows], list[Rows]]:
        """Return the layer's inputs in the quantized network and its wanted outputs: to fit, and to check."""
        read = layer.node.input[0]
        output_name = wanted_output(self.float_nodes[layer.node.name], self.floats.graph)
        self.ours.to(read)
        self.floats.to(output_name)
        scale, zero_point = self.ours.grid(read)
        random = np.random.default_rng(0)
        rows = min(max(_ROWS_PER_INPUT * layer.integers.shape[2], _LEAST_ROWS), _MOST_ROWS)
        most = -(-rows // (len(self.fitting) + len(self.checking)))

        def rows_at(number: int) -> Rows:
            x, y = self.ours.values(read, number), self.floats.values(output_name, number)
            x, y = rows_of(layer.node, layer.kernel, x, y, random, most, zero_point)
            return Rows(x, scale, zero_point, y)

        return [rows_at(number) for number in self.fitting], [rows_at(number) for number in self.checking]

    def _layer(self, name: str) -> QuantizedLayer | None:
        node = self.nodes.get(name)
        layer = None if node is None else QuantizedLayer.of(node, self.ours.graph)
        return None if layer is None or layer.integers.size > _MOST_WEIGHTS else layer


def _told(corrections: Mapping[str, _Correction]) -> list[Recovered]:
    return [
        Recovered(name, correction.before, correction.after, correction.name)
        for name, correction in corrections.items()
    ]
