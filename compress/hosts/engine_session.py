"""An engine on another machine as a session: each batch is sent there, run by ``trtexec``, and its outputs read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.backends.base import Session
from compress.backends.feeds import check_feeds
from compress.backends.tensorrt import release_of
from compress.backends.trtexec import output_arguments
from compress.backends.trtexec_output import outputs_of
from compress.core.tensor_spec import take_samples
from compress.errors import DataError
from compress.target.shape_ranges import shape_text

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec
    from compress.hosts.engines import Engine, Engines
    from compress.target.shape_ranges import ShapeRange


class EngineSession(Session):
    """Session over the first engine of a graph.

    Args:
        engines: Engines of the machine that holds it.
        engine: The engine.
        inputs: Inputs of the graph.
        outputs: Outputs of the graph.
        profile: The engine's optimization profile: the shapes that it takes of each input with an open axis.
    """

    def __init__(
        self,
        engines: Engines,
        engine: Engine,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        profile: Mapping[str, ShapeRange],
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.engine = engine
        self._engines = engines
        self._profile = profile
        self._samples = {name: each.samples for name, each in profile.items() if each.samples is not None}

    def run(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """See :meth:`Session.run`; a batch larger than the engine takes is run in parts.

        Raises:
            DataError: A feed does not fit, or has a size that the engine was not built for.
        """
        check_feeds(self.inputs, feeds)
        self._check_sizes(feeds)
        if not self._samples:
            return self._answer(feeds)
        first, axis = next(iter(self._samples.items()))
        least, most = self._profile[first].smallest[axis], self._profile[first].largest[axis]
        size = feeds[first].shape[axis]
        parts = []
        for start in range(0, size, most):
            count = min(most, size - start)
            rows = np.minimum(np.arange(start, start + max(count, least)), size - 1)
            part = {
                name: take_samples(array, rows, self._samples[name]) if name in self._samples else array
                for name, array in feeds.items()
            }
            answers = self._answer(part)
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

    def takes_batches(self, sizes: Sequence[int]) -> bool:
        """Whether the engine takes batches of all these sizes."""
        return all(
            each.smallest[each.samples] <= size <= each.largest[each.samples]
            for each in self._profile.values()
            if each.samples is not None
            for size in sizes
        )

    def plan(self) -> tuple[bytes, dict[str, Any]]:
        """Return the serialised engine, and the machine and release it belongs to.

        Raises:
            UnavailableError: The engine is no longer there.
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

    def _check_sizes(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> None:
        for name, each in self._profile.items():
            if not each.takes(feeds[name].shape):
                raise DataError(
                    f"'{name}' of a shape that the engine was built for, {each}",
                    shape_text(feeds[name].shape),
                    "feed such shapes, or build it for others: --shape",
                )

    def _answer(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        loaded = load(self._engines, self.engine, self.inputs, feeds)
        shapes = {name: array.shape for name, array in feeds.items()}
        release = self._engines.board.tensorrt
        arguments = output_arguments(release, self.inputs, shapes, loaded=loaded, outputs="outputs.json")
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
        File of each input, by its name.
    """
    files = {}
    for index, spec in enumerate(inputs):
        array = np.asarray(feeds[spec.name], order="C")
        if array.dtype == np.int64 and release_of(engines.board.tensorrt) < (10,):
            array = array.astype(np.int32)  # Releases before 10 have no int64, and the parser narrows it.
        files[spec.name] = f"input-{index}.bin"
        engines.put(engine, files[spec.name], array.tobytes())
    return files
