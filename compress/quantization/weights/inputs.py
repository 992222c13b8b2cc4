"""Inputs of a layer on calibration data, as rows for an algorithm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.errors import DataError, NetworkError
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.sessions import open_session
from compress.onnx_graph.weights import folder_of, stored
from compress.quantization.batches import sample_axes, samples_in
from compress.quantization.shelf import Shelf
from compress.quantization.walk import Walk
from compress.quantization.weights.layers import Layer, as_stored

#: Rows kept of a layer's inputs, spread over all samples: memory does not grow with the samples or their length.
MOST_ROWS = 8192

Feed = Mapping[str, NDArray[Any]]


class CalibrationInputs:
    """Inputs of layers in a network whose earlier layers already have their new weights.

    Weights are written as floats, so that the graph stays the same and every layer runs once; the integer kernel's
    rounding of its input is left out.

    Args:
        model: Prepared float network; it is not modified.
        batches: Batches, an array for each input of the network, whose axis 0 counts samples.
        samples: Largest number of samples used; of texts no more than :data:`MOST_ROWS` tokens need.
        shelf: Shelf that keeps the activations.

    Raises:
        DataError: There is no sample.
        NetworkError: ONNX Runtime cannot run the network.
    """

    def __init__(self, model: onnx.ModelProto, batches: Iterable[Feed], samples: int, shelf: Shelf) -> None:
        self.feeds: list[Feed] = []
        self.samples = 0
        axes, tokens = sample_axes(Graph(model)), 0
        for batch in batches:
            if self.samples >= samples or tokens >= MOST_ROWS:
                break
            self.feeds.append(batch)
            tokens += _tokens(batch)
            self.samples += samples_in(batch, {}, axes)
        if not self.feeds:
            raise DataError(
                "calibration samples", "none", "give at least one batch, better 100 samples or more"
            )
        _check_runs(model)
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._walk = Walk(self._model, self.feeds, shelf)
        self._last: tuple[str, NDArray[np.float32]] | None = None

    def put(self, layer: Layer, weight: NDArray[np.float32]) -> None:
        """Give a layer these weights, [outputs, inputs], for all layers behind it."""
        graph = self._walk.graph
        tensor = stored(layer.initializer, as_stored(layer, weight, graph), folder_of(self._model))
        graph.initializers[layer.initializer].CopyFrom(tensor)

    def rows(self, tensor: str) -> NDArray[np.float32]:
        """Return a tensor's values as float32 [rows, its last axis], at most :data:`MOST_ROWS` rows.

        Tensors are asked for in the order in which they are computed.

        Raises:
            DataError: The samples do not fit the network, or make NaN or infinity.
        """
        if self._last is None or self._last[0] != tensor:  # query, key and value read the same tensor
            self._last = (tensor, self._run(tensor))
        return self._last[1]

    def _run(self, tensor: str) -> NDArray[np.float32]:
        try:
            self._walk.to(tensor)
        except Exception as error:  # ONNX Runtime's own classes have no common root but this
            batch_text = ", ".join(
                f"{name} {values.dtype}{list(values.shape)}" for name, values in self.feeds[0].items()
            )
            raise DataError(
                "calibration batches that the network takes",
                f"{batch_text}, which it refuses ({str(error).strip().splitlines()[0]})",
                "give arrays of its types and shapes",
            ) from error
        row_parts = []
        most = -(-MOST_ROWS // len(self.feeds))
        for number in range(len(self.feeds)):
            values = self._walk.values(tensor, number)
            rows = values.reshape(-1, values.shape[-1])
            row_parts.append(np.asarray(rows[:: -(-len(rows) // most)], np.float32))
        gathered = np.concatenate(row_parts)
        if not np.isfinite(gathered).all():
            raise DataError(
                "finite activations during calibration",
                f"NaN or infinity in tensor {tensor!r}",
                "look for it in the samples and in the network's weights",
            )
        return gathered


def _tokens(batch: Feed) -> int:
    """Return the number of tokens in a batch, each of which is a row of a layer's inputs; 0 where there are none."""
    ids = [values.size for values in batch.values() if values.ndim == 2 and values.dtype.kind in "iu"]
    return max(ids, default=0)


def _check_runs(model: onnx.ModelProto) -> None:
    try:
        open_session(model)
    except Exception as error:  # ONNX Runtime's own classes have no common root but this
        raise NetworkError(
            "a network that ONNX Runtime can run",
            str(error).strip().splitlines()[0],
            "replace the operator it names, or export the network again",
        ) from error
