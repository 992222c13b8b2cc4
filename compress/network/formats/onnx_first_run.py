"""The first runs of an ONNX file on samples, which may loop for ever, or take all memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress.core.child_process import lacks_memory
from compress.core.tensor_spec import fixed_batch
from compress.data.binding import matched
from compress.network.formats.onnx_file import read_specs
from compress.network.onnx_interface import as_it_runs
from compress.onnx_graph.reading import read_model
from compress.onnx_graph.sessions import open_session


def run_first(
    path: Path, samples: Mapping[str, np.ndarray[Any, Any]], given_axes: Mapping[str, int] | None = None
) -> None:
    """Try the later loading of a file, to find out whether it ends.

    Where it does not run on these samples, nothing is reported: binding the data later says what does not fit.

    Args:
        path: File that was read before.
        samples: Samples of each input, ``(n, …)``, at least one.
        given_axes: Axis that the user names; see :func:`compress.network.onnx_interface.as_it_runs`.

    Raises:
        CompressError: Loading will fail with this error.
        MemoryError: There is not enough memory for a run.
    """
    model = read_model(path)
    inputs, _ = read_specs(model)
    arrays = matched(samples, inputs)
    size = fixed_batch(inputs) or 1
    batch = {name: array[np.arange(size) % len(array)] for name, array in arrays.items()}
    try:
        open_session(model, optimized=False).run(None, batch)
    except Exception as error:
        if lacks_memory(error):
            raise MemoryError from error
    as_it_runs(model, inputs, arrays, given_axes)
