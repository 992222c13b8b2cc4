"""What a layer is given on calibration data, as rows that an algorithm can look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from compress.errors import DataError, NetworkError

#: Rows kept of a layer's inputs, spread over all samples: memory does not grow with the samples or their length.
MOST_ROWS = 8192

Feed = Mapping[str, NDArray[Any]]


class CalibrationInputs:
    """Runs the network, as far as it is quantized by then, up to one of its tensors.

    Args:
        batches: For each input of the network its array, axis 0 counts samples.
        samples: How many of them are used at most.

    Raises:
        DataError: There is none.
    """

    def __init__(self, batches: Iterable[Feed], samples: int) -> None:
        self.feeds: list[Feed] = []
        self.samples = 0
        for batch in batches:
            if self.samples >= samples:
                break
            self.feeds.append(batch)
            self.samples += len(next(iter(batch.values())))
        if not self.feeds:
            raise DataError(
                "calibration samples", "none", "give at least one batch, better 100 samples or more"
            )
        self._last: tuple[str, NDArray[np.float32]] | None = None

    def rows(self, model: onnx.ModelProto, tensor: str) -> NDArray[np.float32]:
        """A tensor's values as float32 [rows, its last axis], at most :data:`MOST_ROWS` rows.

        Raises:
            DataError: The samples do not fit the network, or make NaN or infinity.
            NetworkError: ONNX Runtime cannot run the network.
        """
        if self._last is None or self._last[0] != tensor:  # query, key and value read the same tensor
            self._last = (tensor, self._run(model, tensor))
        return self._last[1]

    def _run(self, model: onnx.ModelProto, tensor: str) -> NDArray[np.float32]:
        session = None if tensor in self.feeds[0] else _session_up_to(model, tensor)
        kept = []
        most = -(-MOST_ROWS // len(self.feeds))
        for feed in self.feeds:
            values = feed[tensor] if session is None else _value(session, feed)
            rows = values.reshape(-1, values.shape[-1])
            kept.append(np.asarray(rows[:: -(-len(rows) // most)], np.float32))
        gathered = np.concatenate(kept)
        if not np.isfinite(gathered).all():
            raise DataError(
                "finite activations during calibration",
                f"NaN or infinity in tensor {tensor!r}",
                "look for it in the samples and in the network's weights",
            )
        return gathered


def _session_up_to(model: onnx.ModelProto, tensor: str) -> onnxruntime.InferenceSession:
    """A session whose one output is the tensor; ONNX Runtime leaves out what it does not depend on."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.output[:]
    cut.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            cut.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own classes have no common root but this
        raise NetworkError(
            "a network that ONNX Runtime can run",
            str(error).strip().splitlines()[0],
            "replace the operator it names, or export the network again",
        ) from error


def _value(session: onnxruntime.InferenceSession, feed: Feed) -> NDArray[Any]:
    needed = {value.name for value in session.get_inputs()}
    try:
        found: NDArray[Any] = session.run(None, {name: feed[name] for name in needed})[0]
    except Exception as error:  # ONNX Runtime's own classes have no common root but this
        given = ", ".join(f"{name} {values.dtype}{list(values.shape)}" for name, values in feed.items())
        raise DataError(
            "calibration batches that the network takes",
            f"{given}, which it refuses ({str(error).strip().splitlines()[0]})",
            "give arrays of its types and shapes",
        ) from error
    return found
