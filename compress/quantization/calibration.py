"""Calibration: run the float network over samples and find each activation's range, in one pass.

Memory does not grow with the number of samples: of each batch only the observers' counts remain. Batches
whose activations would not fit are run in parts, so memory does not grow with the batch either.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from compress.errors import DataError, NetworkError
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.sessions import open_session, part
from compress.quantization.batches import (
    Batch,
    bounded,
    sample_axes,
    samples_in,
    thinned,
    with_states,
)
from compress.quantization.grid import Range
from compress.quantization.observers import Observer
from compress.quantization.states import state_inputs

#: Values of one sample's tensor that an observer counts at most; smallest and largest are of all of them.
_COUNTED = 1 << 15


@dataclass(frozen=True)
class Calibration:
    """Result of calibration.

    Attributes:
        ranges: Range of each tensor, by its name.
        samples: Number of samples seen.
    """

    ranges: Mapping[str, Range]
    samples: int


def calibrate(
    model: onnx.ModelProto,
    tensors: Iterable[str],
    batches: Iterable[Batch],
    new_observer: Callable[[], Observer],
) -> Calibration:
    """Find the range of each tensor.

    Args:
        model: The float network.
        tensors: Names of float32 tensors, graph inputs among them.
        batches: Batches, as :func:`watch` takes them.
        new_observer: Function that makes an observer; called once for each tensor.

    Raises:
        DataError: See :func:`watch`; or a batch or an activation has NaN or infinity.
        NetworkError: See :func:`watch`.
    """
    calibrator = Calibrator(model, tensors, new_observer)
    calibrator.see(batches)
    return calibrator.calibration()


class Calibrator:
    """Observers of a network's tensors, which may be shown samples more than once.

    Args:
        model: The float network.
        tensors: Names of float32 tensors, graph inputs among them.
        new_observer: Function that makes an observer; called once for each tensor.

    Attributes:
        samples: Number of samples seen.
    """

    def __init__(
        self, model: onnx.ModelProto, tensors: Iterable[str], new_observer: Callable[[], Observer]
    ) -> None:
        self.samples = 0
        self._model = model
        self._observers = {name: new_observer() for name in tensors}

    def see(
        self,
        batches: Iterable[Batch],
        tapped: Iterable[str] = (),
        tap: Callable[[Mapping[str, NDArray[Any]]], None] | None = None,
    ) -> None:
        """Run the network over samples; no session is kept afterwards, to free the memory of its weights.

        Args:
            batches: Batches of calibration samples, in the form that :func:`watch` takes.
            tapped: Names of further tensors.
            tap: Function that is called with the values of all tensors after each run; it must not keep the arrays.

        Raises:
            DataError: See :func:`calibrate`.
            NetworkError: See :func:`calibrate`.
        """
        watched = Watched(self._model, [*dict.fromkeys((*self._observers, *tapped))])
        for count, seen in watched.over(batches):
            for name, observer in self._observers.items():
                _observe(observer, name, seen[name])
            if tap is not None:
                tap(seen)
            self.samples += count
            del seen  # or the next run's activations would be made while these are still held
        if not self.samples:
            raise no_samples()

    def carried_over(
        self,
        model: onnx.ModelProto,
        tensors: Iterable[str],
        changed: Mapping[str, NDArray[np.float32] | None],
        new_observer: Callable[[], Observer],
    ) -> Calibrator | None:
        """Return a calibrator with the observations of this one, for a model that changes only some tensors.

        Args:
            model: The other model.
            tensors: Names of its tensors to observe.
            changed: Values of each changed tensor for the same samples, by its name; None where there are none.
            new_observer: Function that makes an observer; called once for each of these.

        Returns:
            The calibrator; None where a tensor has no values, and was not observed here either.
        """
        other = Calibrator(model, (), new_observer)
        other.samples = self.samples
        for name in tensors:
            values = changed.get(name)
            if values is not None:
                other._observers[name] = new_observer()
                _observe(other._observers[name], name, values)
            elif name in self._observers and name not in changed:
                other._observers[name] = copy.deepcopy(self._observers[name])
            else:
                return None
        return other

    def calibration(self) -> Calibration:
        """Return the ranges found in the samples seen so far, at least one."""
        ranges = {name: observer.range() for name, observer in self._observers.items()}
        return Calibration(ranges, self.samples)


def watch(
    model: onnx.ModelProto, tensors: Iterable[str], batches: Iterable[Batch]
) -> Iterator[tuple[int, Mapping[str, NDArray[Any]]]]:
    """Run a network batch by batch and yield the values of its tensors.

    Args:
        model: The float network.
        tensors: Names of float32 tensors, graph inputs among them.
        batches: Batches, an array for each input as the network takes it. Batches may differ in shape: sequences of
            another length form another batch. A network with a static batch size needs every batch in that size. They
            are read once, one at a time, and run in parts where the tensors would take too much memory. The first state
            of a recurrent operator may be left out; it is zeros then.

    Yields:
        The number of samples that were run, and the values of each tensor, by its name.

    Raises:
        DataError: There is no batch, or one does not fit the network.
        NetworkError: ONNX Runtime cannot run the network.
    """
    none = True
    for count, seen in Watched(model, list(tensors)).over(batches):
        none = False
        yield count, seen
        del seen
    if none:
        raise no_samples()


class Watched:
    """A network that returns its inner tensors; see :func:`watch`."""

    def __init__(self, model: onnx.ModelProto, tensors: list[str]) -> None:
        self._graph = Graph(model)
        self._tensors = tensors
        self._computed = [name for name in tensors if name not in self._graph.inputs]
        self._states, self._axes = state_inputs(self._graph), sample_axes(self._graph)

    def over(self, batches: Iterable[Batch]) -> Iterator[tuple[int, Mapping[str, NDArray[Any]]]]:
        """Run over samples; see :func:`watch`."""
        inputs = list(self._graph.inputs)
        session = None  # opened for the first batch, where there is one
        for batch in bounded(_checked(batches, inputs, set(self._states)), self._graph, self._tensors):
            session = session or _session(self._graph, self._computed)
            count = samples_in(batch, self._states, self._axes)
            feeds = with_states(batch, self._states, count)
            yield count, {**feeds, **_run(session, self._computed, feeds)}


def no_samples() -> DataError:
    """Return the error for missing calibration samples."""
    return DataError("calibration samples", "none", "give at least one batch, better 100 samples or more")


def _session(graph: Graph, computed: list[str]) -> onnxruntime.InferenceSession:
    # Where nothing but inputs is watched, the network still runs: it checks that the samples fit.
    observed = part(graph, computed or [name for name in graph.outputs if name not in graph.inputs])
    del observed.graph.input[:]
    observed.graph.input.extend(graph.typed(name) for name in graph.inputs)
    try:
        # Of a graph with Q/DQ the values are wanted as it says: fused as int8's are, float8's make no valid kernels.
        return open_session(observed, as_written=True)
    except Exception as error:  # ONNX Runtime's own classes have no common root but this
        raise NetworkError(
            "a network that ONNX Runtime can run",
            str(error).strip().splitlines()[0],
            "replace the operator it names, or export the network again",
        ) from error


def _checked(batches: Iterable[Batch], inputs: list[str], optional: set[str]) -> Iterator[Batch]:
    for batch in batches:
        _check_names(batch, inputs, optional)
        yield batch


def _check_names(batch: Mapping[str, NDArray[Any]], inputs: list[str], optional: set[str]) -> None:
    if not set(inputs) - optional <= set(batch) <= set(inputs):
        raise DataError(
            f"calibration batches with the inputs {', '.join(inputs)}",
            f"a batch with {', '.join(batch) or 'nothing'}",
            "name the arrays like the network's inputs",
        )


def _run(
    session: onnxruntime.InferenceSession, computed: list[str], batch: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    # An empty list means every output to ONNX Runtime, so the two need not have one length.
    try:
        return dict(zip(computed, session.run(computed, dict(batch)), strict=False))
    except Exception as error:  # ONNX Runtime's own classes have no common root but this
        batch_text = ", ".join(f"{name} {values.dtype}{list(values.shape)}" for name, values in batch.items())
        input_text = ", ".join(f"{value.name} {value.type}{value.shape}" for value in session.get_inputs())
        raise DataError(
            f"calibration batches that the network takes ({input_text})",
            f"{batch_text}, which it refuses ({str(error).strip().splitlines()[0]})",
            "give arrays of these types and shapes",
        ) from error


def _observe(observer: Observer, name: str, values: NDArray[Any]) -> None:
    if not values.size:
        return
    # The smallest and the largest are NaN where any value is.
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise DataError(
            "finite activations during calibration",
            f"NaN or infinity in tensor {name!r}",
            "look for it in the samples and in the network's weights",
        )
    observer.observe(thinned(values, _COUNTED), (low, high))
