"""Costs of each form of each matrix: its bytes, and the loss of a network in which it alone has that form.

A matrix is tried in one form, and the loss measured on the network's answers. Its other forms then follow from how far
they move the matrix's own products on the same samples: for small changes the loss grows with the square of the change.
Tables, which are looked up in as well, are tried in every form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.core.files import written_safely
from compress.errors import NetworkError
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.weights import size_of_model
from compress.quantization.weights.forms import Form
from compress.quantization.weights.layers import Layer, as_stored, find_layers
from compress.quantization.weights.scale_search import PLAIN
from compress.quantization.weights.settings import DATA_DRIVEN, Settings
from compress.quantization.weights.tables import Table, find_tables
from compress.quantization.weights.trials import Trials

Array = NDArray[Any]

#: Rows of a layer's inputs that its forms are compared on.
_ROWS = 128

#: Outputs of a layer that its forms are compared on.
_OUTPUTS = 256


@dataclass(frozen=True)
class MatrixCosts:
    """Costs of the forms of one matrix.

    Attributes:
        matrix: Name of the initializer.
        nodes: Names of the nodes that read it.
        shape: Numbers of outputs and inputs.
        forms: Forms that it can take.
        tried: Form whose loss was measured; None where every one was.
        losses: Loss of the network with the matrix in each form, all others in float.
    """

    matrix: str
    nodes: tuple[str, ...]
    shape: tuple[int, int]
    forms: tuple[Form, ...]
    tried: Form | None
    losses: tuple[float, ...]

    @property
    def bytes(self) -> tuple[int, ...]:
        """Bytes in each form."""
        return tuple(form.bytes_of(*self.shape) for form in self.forms)

    def of(self, forms: Collection[Form]) -> MatrixCosts:
        """Return the costs of these forms alone; of all but float, where no rounded one of these fits the matrix."""
        places = [place for place, form in enumerate(self.forms) if form in forms]
        if all(self.forms[place].is_float for place in places):
            places += [place for place, form in enumerate(self.forms) if not form.is_float]
        some = tuple(self.forms[place] for place in places)
        return replace(self, forms=some, losses=tuple(self.losses[place] for place in places))


class WeightCosts:
    """Costs of the forms of all matrices of a network, measured.

    Args:
        model: Prepared float network.
        feeds: Samples to measure on.
        settings: Settings, of which the nodes that stay float count, and whether the algorithm rounds plainly, as
            ``rtn`` and ``onnxruntime`` do, or on the best grids; for algorithms that look at data, the best for
            the inputs.
        forms: Forms to choose from.
        scores: See :class:`compress.quantization.weights.trials.Trials`.
        cache: Directory where what was measured is kept for the same network, samples and forms; None keeps nothing.

    Attributes:
        matrices: Costs of each matrix, in the order they run; tables come last.
        other_bytes: Bytes of the network without these matrices.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        feeds: Sequence[Mapping[str, Array]],
        settings: Settings,
        forms: Sequence[Form],
        *,
        scores: bool,
        cache: Path | None = None,
    ) -> None:
        graph = Graph(model)
        smallest = min((form for form in forms if not form.is_float), key=lambda form: form.group_size)
        layers, _ = find_layers(graph, smallest.group_size, settings.exclude_nodes)
        tables = find_tables(graph, smallest.settings(settings))
        if not layers and not tables:
            raise NetworkError(
                "matrix products with constant weights",
                "none in the network that is large enough",
                "leave weight_only_mixed out of the recipe",
            )
        self._layers = {layer.initializer: layer for layer in layers}
        self._tables = {table.initializer: table for table in tables}
        self._graph, self._settings = graph, settings
        names = [*self._layers, *self._tables]
        watched = list(dict.fromkeys(layer.input for layer in layers))
        self._trials = Trials(model, names, feeds, watched, scores)
        file = None if cache is None else cache / f"weight-costs-{self._key(feeds, forms, scores)}.json"
        matrix_costs = _read(file)
        if matrix_costs is None:
            matrix_costs = [self._of_layer(layer, forms) for layer in layers]
            matrix_costs += [self._of_table(table, forms) for table in tables]
            _write(file, matrix_costs)
        self.matrices = tuple(matrix_costs)
        in_float = sum(4 * matrix.shape[0] * matrix.shape[1] for matrix in matrix_costs)
        self.other_bytes = size_of_model(model) - in_float

    def measured(self, forms: Mapping[str, Form]) -> float:
        """Return the loss of the network with these forms at once, by the names of the matrices."""
        return self._loss({name: form for name, form in forms.items() if not form.is_float})

    def _of_layer(self, layer: Layer, forms: Sequence[Form]) -> MatrixCosts:
        shape = (layer.weight.shape[0], layer.weight.shape[1])
        fitting = tuple(form for form in forms if form.group_size <= shape[1])
        rows = self._trials.inputs[layer.input]
        rows = rows[:: max(1, len(rows) // _ROWS)]
        some = layer.weight[:: -(-shape[0] // _OUTPUTS)]
        importance = self._importance(layer)
        moved = []
        for form in fitting:
            if form.is_float:
                moved.append(0.0)
                continue
            change = form.rounded(some, self._settings, importance).dequantized() - some
            moved.append(float(np.square(rows @ change.T, dtype=np.float64).sum()))
        worst = int(np.argmax(moved))
        loss = self._loss({layer.initializer: fitting[worst]}) if moved[worst] else 0.0
        losses = tuple(loss * movement / (moved[worst] or 1.0) for movement in moved)
        return MatrixCosts(layer.initializer, layer.nodes, shape, fitting, fitting[worst], losses)

    def _of_table(self, table: Table, forms: Sequence[Form]) -> MatrixCosts:
        shape = (table.weight.shape[0], table.weight.shape[1])
        fitting = tuple(form for form in forms if shape[1] % form.group_size == 0)
        losses = tuple(0.0 if form.is_float else self._loss({table.initializer: form}) for form in fitting)
        return MatrixCosts(table.initializer, (*table.lookups, *table.products), shape, fitting, None, losses)

    def _key(self, feeds: Sequence[Mapping[str, Array]], forms: Sequence[Form], scores: bool) -> str:
        """Return a hash of all that losses depend on."""
        algorithm = self._settings.algorithm
        rounding = [algorithm in PLAIN, algorithm in DATA_DRIVEN]
        digest = hashlib.blake2b(
            json.dumps([list(map(asdict, forms)), scores, rounding]).encode(), digest_size=8
        )
        for node in self._graph.nodes:
            digest.update(node.SerializeToString(deterministic=True))
        for name in self._graph.initializers:
            digest.update(np.ascontiguousarray(self._graph.constant(name)).data)
        for feed in feeds:
            for name, values in sorted(feed.items()):
                digest.update(f"{name} {values.dtype} {values.shape}".encode())
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def _loss(self, forms: Mapping[str, Form]) -> float:
        return self._trials.loss({name: self._values(name, form) for name, form in forms.items()})

    def _importance(self, layer: Layer) -> NDArray[np.float32] | None:
        """Return the mean square of each input, for algorithms that look at inputs; None for others."""
        if self._settings.algorithm not in DATA_DRIVEN:
            return None
        squares: NDArray[np.float32] = np.square(self._trials.inputs[layer.input]).mean(axis=0)
        return squares

    def _values(self, name: str, form: Form) -> NDArray[np.float32]:
        if name in self._tables:
            return form.rounded(self._tables[name].weight, self._settings).dequantized()
        layer = self._layers[name]
        return as_stored(
            layer,
            form.rounded(layer.weight, self._settings, self._importance(layer)).dequantized(),
            self._graph,
        )


def _write(path: Path | None, costs: Sequence[MatrixCosts]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_safely(path):
            path.write_text(json.dumps([asdict(matrix) for matrix in costs]), encoding="utf-8")


def _read(path: Path | None) -> list[MatrixCosts] | None:
    """Return what was kept; None where there is nothing, or it is damaged."""
    if path is None or not path.is_file():
        return None
    try:
        return [
            MatrixCosts(
                entry["matrix"],
                tuple(entry["nodes"]),
                (entry["shape"][0], entry["shape"][1]),
                tuple(Form(**form) for form in entry["forms"]),
                None if entry["tried"] is None else Form(**entry["tried"]),
                tuple(entry["losses"]),
            )
            for entry in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (ValueError, KeyError, TypeError, IndexError):
        return None
