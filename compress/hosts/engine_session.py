"""An engine on another machine as a session: each batch is sent there, run by ``trtexec``, and its outputs read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.backends.base import Session
from compress.backends.feeds import check_feeds
from compress.backends.tensorrt import release_of
from compress.backends.trtexec import output_arguments
from compress.backends.trtexec_output import outputs_of
from compress.tensors import take_samples

if TYPE_CHECKING:
    from compress.hosts.engines import Engine, Engines
    from compress.tensors import TensorSpec


class EngineSession(Session):
    """The first build of a graph.

    Args:
        engines: Where it is.
        engine: The build.
        inputs: What the graph takes.
        outputs: What it gives.
        batches: Smallest and largest batch of the engine's optimization profile.
    """

    def __init__(
        self,
        engines: Engines,
        engine: Engine,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        batches: tuple[int, int],
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.engine = engine
        self._engines = engines
        self._batches = batches

    def run(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """See :meth:`Session.run`; a batch larger than the engine takes is run in parts."""
        check_feeds(self.inputs, feeds)
        if not any(spec.dynamic_batch for spec in self.inputs):
            return self._answer(feeds, 1)
        least, most = self._batches
        size = next(feeds[spec.name].shape[spec.batch_axis] for spec in self.inputs if spec.dynamic_batch)
        parts = []
        for start in range(0, size, most):
            count = min(most, size - start)
            rows = np.minimum(np.arange(start, start + max(count, least)), size - 1)
            part = {
                spec.name: take_samples(feeds[spec.name], rows, spec.batch_axis)
                if spec.dynamic_batch
                else feeds[spec.name]
                for spec in self.inputs
            }
            answers = self._answer(part, len(rows))
            parts.append(
                [
                    take_samples(answer, slice(count), spec.batch_axis) if spec.dynamic_batch else answer
                    for spec, answer in zip(self.outputs, answers, strict=True)
                ]
            )
        return [
            np.concatenate([part[index] for part in parts], spec.batch_axis)
            if spec.dynamic_batch
            else parts[0][index]
            for index, spec in enumerate(self.outputs)
        ]

    def plan(self) -> tuple[bytes, dict[str, Any]]:
        """The engine as TensorRT serialised it, and what it belongs to: it runs nowhere else.

        Raises:
            UnavailableError: It is not there any more.
        """
        board = self._engines.board
        return self._engines.content(self.engine), {
            "board": board.model,
            "compute_capability": board.compute_capability,
            "tensorrt": board.tensorrt,
            "jetpack": board.jetpack,
            "driver": board.driver,
            "arguments": list(self.engine.arguments),
        }

    def close(self) -> None:
        """See :meth:`Session.close`; engines stay until the host is closed."""

    def _answer(self, feeds: Mapping[str, np.ndarray[Any, Any]], batch: int) -> list[np.ndarray[Any, Any]]:
        loaded = load(self._engines, self.engine, self.inputs, feeds)
        release = self._engines.board.tensorrt
        arguments = output_arguments(release, self.inputs, batch, loaded=loaded, outputs="outputs.json")
        self._engines.run(self.engine, arguments, "run an engine", writes=["outputs.json"])
        return outputs_of(self._engines.take(self.engine, "outputs.json"), self.outputs)


def load(
    engines: Engines,
    engine: Engine,
    inputs: tuple[TensorSpec, ...],
    feeds: Mapping[str, np.ndarray[Any, Any]],
) -> dict[str, str]:
    """Write a batch beside an engine, raw and in C order.

    Returns:
        Input name → file.
    """
    files = {}
    for index, spec in enumerate(inputs):
        array = np.ascontiguousarray(feeds[spec.name])
        if array.dtype == np.int64 and release_of(engines.board.tensorrt) < (10,):
            array = array.astype(np.int32)  # Releases before 10 have no int64, and the parser narrows it.
        files[spec.name] = f"input-{index}.bin"
        engines.put(engine, files[spec.name], array.tobytes())
    return files
