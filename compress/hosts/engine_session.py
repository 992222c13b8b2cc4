"""An engine on another machine as a session: each batch is sent there, run by ``trtexec``, and its outputs read.

Each call is a process of its own, which takes seconds to load an engine on a small board. Where batches are larger than
the deployed engine takes, a second engine of the same graph, tuned for the same batch size, takes them whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.backends.base import Session
from compress.backends.feeds import check_feeds
from compress.backends.tensorrt import release_of
from compress.backends.trtexec import output_arguments
from compress.backends.trtexec_output import outputs_of
from compress.backends.trtexec_raw import RAW_FILES, RawOutput, raw_outputs, writes_raw
from compress.core.tensor_spec import take_samples
from compress.errors import CompressError, ConnectionLostError, DataError, MachineChangedError
from compress.target.shape_ranges import shape_text

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec
    from compress.hosts.engines import Engine, Engines
    from compress.target.shape_ranges import ShapeRange

#: Samples in a call, and size of their inputs and outputs in bytes, that outweigh starting the tool.
_AT_ONCE, _AT_ONCE_BYTES = 128, 64 << 20
#: Calls in parts after which an engine for larger batches is built: its build costs about as much, since its kernels
#: are those of the first engine, which are timed already.
_PARTS_OF_A_BUILD = 16
#: Errors that no other batch size mends.
_ENDS = (ConnectionLostError, MachineChangedError)


class EngineSession(Session):
    """Session over the first engine of a graph.

    Args:
        engines: Engines of the machine that holds it.
        engine: The engine.
        inputs: Inputs of the graph.
        outputs: Outputs of the graph.
        profile: The engine's optimization profile: the shapes that it takes of each input with an open axis.
        widened: Function that returns an engine of the same graph, tuned for the same batch size, that takes as many
            samples as its argument says; None where there can be none.
    """

    def __init__(
        self,
        engines: Engines,
        engine: Engine,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        profile: Mapping[str, ShapeRange],
        widened: Callable[[int], Engine] | None = None,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.engine = engine
        self._engines = engines
        self._profile = profile
        self._raw = writes_raw(engines.board.tensorrt)
        self._widened, self._parts = widened, 0
        self._wide: tuple[Engine, int] | None = None
        self._samples = {
            name: shape_range.samples
            for name, shape_range in profile.items()
            if shape_range.samples is not None
        }

    def run(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """See :meth:`Session.run`; a batch larger than the engine takes is run in parts.

        Raises:
            DataError: A feed does not fit, or has a size that the engine was not built for.
        """
        check_feeds(self.inputs, feeds)
        self._check_sizes(feeds)
        if not self._samples:
            return self._answer(self.engine, feeds)
        first, axis = next(iter(self._samples.items()))
        size, most = feeds[first].shape[axis], self._profile[first].largest[axis]
        if size > most and self._wide is None and self._widened is not None:
            self._parts += math.ceil(size / most)
            if self._parts > _PARTS_OF_A_BUILD:
                self._widen(size, most)
        while size > most and self._wide is not None:
            try:
                return self._in_parts(*self._wide, feeds)
            except _ENDS:
                raise
            except CompressError:  # It needs more memory than it was built with, say.
                self._widen(self._wide[1] // 4, most)
        return self._in_parts(self.engine, most, feeds)

    def at_once(self, sample_bytes: int) -> int | None:
        """See :meth:`Session.at_once`: each call is a process there, which loads the engine."""
        if not self._samples:
            return None
        return max(1, min(_AT_ONCE, _AT_ONCE_BYTES // max(1, sample_bytes)))

    def _widen(self, size: int, most: int) -> None:
        """Have an engine built for calls of a size, or of a quarter of it where that cannot be, and so on."""
        build, self._wide = self._widened, None
        while build is not None and self._wide is None and size > most:
            try:
                self._wide = build(size), size
            except _ENDS:
                raise
            except CompressError:
                size //= 4
        if self._wide is None:
            self._widened = None

    def _in_parts(
        self, engine: Engine, most: int, feeds: Mapping[str, np.ndarray[Any, Any]]
    ) -> list[np.ndarray[Any, Any]]:
        """Run a batch in parts of at most ``most`` samples."""
        first, axis = next(iter(self._samples.items()))
        least, size = self._profile[first].smallest[axis], feeds[first].shape[axis]
        parts = []
        for start in range(0, size, most):
            count = min(most, size - start)
            rows = np.minimum(np.arange(start, start + max(count, least)), size - 1)
            part = {
                name: take_samples(array, rows, self._samples[name]) if name in self._samples else array
                for name, array in feeds.items()
            }
            answers = self._answer(engine, part)
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
            shape_range.smallest[shape_range.samples] <= size <= shape_range.largest[shape_range.samples]
            for shape_range in self._profile.values()
            if shape_range.samples is not None
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
        for name, shape_range in self._profile.items():
            if not shape_range.takes(feeds[name].shape):
                raise DataError(
                    f"'{name}' of a shape that the engine was built for, {shape_range}",
                    shape_text(feeds[name].shape),
                    "feed such shapes, or build it for others: --shape",
                )

    def _answer(
        self, engine: Engine, feeds: Mapping[str, np.ndarray[Any, Any]]
    ) -> list[np.ndarray[Any, Any]]:
        loaded = load(self._engines, engine, self.inputs, feeds)
        shapes = {name: array.shape for name, array in feeds.items()}
        release = self._engines.board.tensorrt
        if self._raw:
            arguments = output_arguments(release, self.inputs, shapes, loaded=loaded, outputs=None)
            ended = self._engines.run(engine, arguments, "run an engine", writes=[])
            try:
                written = raw_outputs(ended.output)
                if all(spec.name in written for spec in self.outputs):
                    return [self._read(engine, written[spec.name], spec) for spec in self.outputs]
            finally:
                self._engines.discard(engine, RAW_FILES)
            self._raw = (
                False  # A type that NumPy lacks, or two names that are one file: text has neither fault.
            )
        arguments = output_arguments(release, self.inputs, shapes, loaded=loaded, outputs="outputs.json")
        self._engines.run(engine, arguments, "run an engine", writes=["outputs.json"])
        return outputs_of(self._engines.take(engine, "outputs.json"), self.outputs)

    def _read(self, engine: Engine, output: RawOutput, spec: TensorSpec) -> np.ndarray[Any, Any]:
        return output.values(self._engines.content(engine, output.file)).astype(spec.dtype)


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
