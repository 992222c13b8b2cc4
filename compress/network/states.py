"""Networks that carry a state from call to call, seen as networks that carry none.

A streaming network takes a frame and a state, and gives its answer and the next state. Over a whole stream, which
begins with the state at zero and feeds back what comes of it, it is a network without one: frames in, answers out.
Builds are judged so, each with the states that it makes itself: an error that accumulates from frame to frame becomes
visible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from compress.core.tensor_spec import BATCH, TensorSpec, fixed_batch, take_samples
from compress.data.binding import is_held, matched_names
from compress.errors import DataError, NetworkError, UsageError
from compress.network.sample_axis import samples_first
from compress.network.state_pairs import check_pairs

if TYPE_CHECKING:
    from compress.data.split import Split
    from compress.data.task import Task

Array = np.ndarray[Any, np.dtype[Any]]

#: The name of the axis that counts the frames of a stream, behind that of the streams.
FRAMES = "frames"


class Runs(Protocol):
    """Runner of one call: a session, or an original network."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, feeds: Mapping[str, Array], /) -> list[Array]:
        """Run one batch; see :meth:`compress.backends.base.Session.run`."""


class Carried:
    """Consecutive calls, each of which takes the state that the one before returned.

    Args:
        network: Runner of a call.
        states: The output that is the next value of each input that is a state, by the input's name.
        first: First value, by the state's name, of states that do not begin at zero.
    """

    def __init__(self, network: Runs, states: Mapping[str, str], first: Mapping[str, Array] | None = None):
        names = [spec.name for spec in network.outputs]
        self._network = network
        self._specs = {spec.name: spec for spec in network.inputs}
        self._positions = {state: names.index(output) for state, output in states.items()}
        self.state: dict[str, Array] = dict(first or {})

    def __call__(self, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], list[Array]]:
        """Run a call.

        Args:
            feeds: Array for each input that is no state.

        Returns:
            The inputs of the call, and all its outputs.

        Raises:
            DataError: A state has no value yet, and its size is unknown.
            NetworkError: A state changes its shape from call to call.
        """
        for name in self._positions.keys() - self.state.keys():
            self.state[name] = _zeros(self._specs[name], self._rows(feeds))
        fed = {**feeds, **self.state}
        outputs = self._network.run(fed)
        for name, position in self._positions.items():
            following = np.asarray(outputs[position], self.state[name].dtype)
            if following.shape != self.state[name].shape:
                raise NetworkError(
                    f"a state '{name}' of one shape from call to call",
                    f"{list(self.state[name].shape)}, then {list(following.shape)}",
                    "export the network with a state of a fixed length",
                )
            self.state[name] = following
        return fed, outputs

    def _rows(self, feeds: Mapping[str, Array]) -> int:
        """Return the number of streams that run side by side."""
        counted = (spec for name, spec in self._specs.items() if name in feeds and spec.dynamic_batch)
        return next((feeds[spec.name].shape[spec.batch_axis] for spec in counted), 1)


@dataclass(frozen=True)
class Streams:
    """Inputs and outputs of a network with a state for whole streams; made by :meth:`of`.

    Attributes:
        pairs: The output that is the next value of each input that is a state, by the input's name.
        calls: Inputs of one call, with the axis of the samples named.
        gives: Outputs of one call.
        framed: Names of the inputs with a value for every frame in the data; others are constant over a stream.
        whole: Names of the inputs that are fed unchanged, since none of their axes counts samples.
        inputs: Inputs of a stream, ``(streams, frames, …)`` for those with a value for every frame. A state is among
            them where its first value is in the data.
        outputs: Outputs of a stream, ``(streams, frames, …)``: those that are no states.
    """

    pairs: Mapping[str, str]
    calls: tuple[TensorSpec, ...]
    gives: tuple[TensorSpec, ...]
    framed: frozenset[str]
    whole: frozenset[str]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(
        cls,
        pairs: Mapping[str, str],
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> Streams:
        """Match states and data with a network.

        Args:
            pairs: The output that is the next value of each input that is a state, by the input's name.
            inputs: Inputs of the network.
            outputs: Outputs of the network.
            shapes: Shape of each of the data's arrays, ``(streams, …)``, by its name.

        Raises:
            UsageError: A state is no input of the network, its next value no output, or they do not fit.
            DataError: The data does not have streams of frames.
            NetworkError: The network takes several streams at once, and no other number.
        """
        calls, gives = tuple(inputs), tuple(outputs)
        if not all(
            spec.shape[:1] == (1,) for spec in inputs
        ):  # else one stream along axis 0, and other axes open
            calls, gives = tuple(map(_with_batch, inputs)), tuple(map(_with_batch, outputs))
        check_pairs(pairs, calls, gives)
        fed_specs = [spec for spec in calls if spec.name not in pairs or spec.name in shapes]
        names = matched_names(list(shapes), fed_specs, "data")
        fed_shapes = {spec.name: shapes[names[spec.name]] for spec in fed_specs}
        held = {
            spec.name
            for spec in fed_specs
            if spec.name not in pairs and not spec.dynamic_batch and is_held(fed_shapes[spec.name], spec)
        }
        plain = [spec for spec in calls if spec.name not in pairs and spec.name not in held]
        framed = {spec.name for spec in plain if len(fed_shapes[spec.name]) == len(spec.sample_shape) + 2}
        _check_framed(plain, framed, fed_shapes, held, calls)
        alone = not any(spec.dynamic_batch for spec in plain)
        _check_batch(calls, [spec for spec in calls if spec.name in pairs], alone)
        _check_first(calls, pairs.keys() - fed_shapes.keys())
        all_held = held | (set(pairs) if alone else set())
        rows = 1 if alone else BATCH
        return cls(
            dict(pairs),
            calls,
            gives,
            frozenset(framed),
            frozenset(all_held),
            tuple(
                replace(
                    spec,
                    shape=spec.shape
                    if spec.name in all_held
                    else (rows, *([FRAMES] if spec.name in framed else []), *spec.sample_shape),
                )
                for spec in sorted(fed_specs, key=lambda spec: spec.name not in framed)
            ),
            tuple(
                replace(spec, shape=(rows, FRAMES, *_answer_shape(spec, alone)))
                for spec in gives
                if spec.name not in pairs.values()
            ),
        )

    @property
    def of_frames(self) -> bool:
        """See :attr:`compress.data.whole.Whole.of_frames`."""
        return True

    @property
    def one_by_one(self) -> bool:
        """See :attr:`compress.data.whole.Whole.one_by_one`."""
        return False

    def calls_in(self, samples: Split) -> int:
        """See :meth:`compress.data.whole.Whole.calls_in`: a call for each frame."""
        return len(samples) * self._frames(samples)

    def _frames(self, samples: Split) -> int:
        """Return the number of frames of the first stream."""
        return int(next(samples.batches(1)).inputs[self.inputs[0].name].shape[1])

    def notes(self, task: Task) -> tuple[str, ...]:
        """See :meth:`compress.data.whole.Whole.notes`."""
        frames = self._frames(task.evaluation)
        pairs = ", ".join(f"'{output}' is the next '{state}'" for state, output in self.pairs.items())
        zero = all(spec.name not in self.pairs for spec in self.inputs)
        return (
            f"{pairs}: a state is carried from call to call, from {'zero' if zero else 'its value in the data'} "
            f"on; accuracy is that of {len(task.evaluation)} whole streams, the first of {frames} frames, each build "
            "with the states that it makes itself; latency is that of one call",
        )

    def over(self, network: Runs) -> StreamRunner:
        """Return a runner of whole streams over a network.

        Args:
            network: Runner of its calls; outputs may have other names, in the same order.
        """
        return StreamRunner(network, self)


class StreamRunner:
    """Runner of whole streams through a network with a state, one frame per call; a batch runs side by side.

    Args:
        network: Runner of a call.
        streams: States of the network, with the streams' inputs and outputs.

    Attributes:
        inputs: Inputs of a stream.
        outputs: Outputs of a stream.
    """

    def __init__(self, network: Runs, streams: Streams) -> None:
        self._network, self._streams = network, streams
        self.inputs, self.outputs = streams.inputs, streams.outputs

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return the outputs of every frame, ``(streams, frames, …)`` each.

        Args:
            feeds: Arrays for the inputs of :attr:`inputs`.

        Raises:
            DataError: The first frame does not fit the network.
            NetworkError: An output changes its shape from frame to frame.
        """
        rows, states = len(feeds[self.inputs[0].name]), self._streams.pairs.values()
        answers = [at for at, spec in enumerate(self._streams.gives) if spec.name not in states]
        frames: list[list[Array]] = [[] for _ in answers]
        for _, outputs in self.calls(feeds):
            for frame_outputs, at in zip(frames, answers, strict=True):
                frame_outputs.append(samples_first(outputs[at], self._streams.gives[at], rows, rows))
        for frame_outputs, at in zip(frames, answers, strict=True):
            if any(array.shape != frame_outputs[0].shape for array in frame_outputs):
                other = next(array.shape for array in frame_outputs if array.shape != frame_outputs[0].shape)
                raise NetworkError(
                    f"an output '{self._streams.gives[at].name}' of one shape from frame to frame",
                    f"{list(frame_outputs[0].shape[1:])}, then {list(other[1:])}",
                    "export the network without it",
                )
        return [np.stack(frame, axis=1) for frame in frames]

    def calls(self, feeds: Mapping[str, Array]) -> Iterator[tuple[dict[str, Array], list[Array]]]:
        """Yield the inputs of each call of a stream, states included, and its outputs.

        Args:
            feeds: Arrays for the inputs of :attr:`inputs`.
        """
        streams = self._streams
        names = [spec.name for spec in self._network.outputs]
        positions = [spec.name for spec in streams.gives]
        pairs = {state: names[positions.index(output)] for state, output in streams.pairs.items()}
        constant = {
            spec.name: self._placed(feeds[spec.name], spec)
            for spec in streams.calls
            if spec.name in feeds and spec.name not in streams.framed
        }
        carried = Carried(
            _Named(self._network, streams.calls),
            pairs,
            {name: array for name, array in constant.items() if name in pairs},
        )
        still = {name: array for name, array in constant.items() if name not in pairs}
        moving = [spec for spec in streams.calls if spec.name in streams.framed]
        for frame in range(self.frames(feeds)):
            yield carried(
                {**still, **{spec.name: self._placed(feeds[spec.name][:, frame], spec) for spec in moving}}
            )

    @property
    def any_number(self) -> bool:
        """Whether several streams may run side by side."""
        return fixed_batch(self.inputs) is None

    def frames(self, feeds: Mapping[str, Array]) -> int:
        """Return the number of frames in a stream."""
        return int(feeds[self.inputs[0].name].shape[1])

    def samples(self, fed: Mapping[str, Array], row: int) -> dict[str, Array]:
        """Return a call's inputs for one of the streams, each without its axis of samples."""
        return {
            spec.name: fed[spec.name]
            if spec.name in self._streams.whole
            else take_samples(fed[spec.name], slice(row, row + 1), spec.batch_axis).squeeze(spec.batch_axis)
            for spec in self._streams.calls
        }

    def _placed(self, samples: Array, spec: TensorSpec) -> Array:
        if spec.name in self._streams.whole:
            return samples
        return np.ascontiguousarray(np.moveaxis(samples, 0, spec.batch_axis))


class _Named:
    """Network whose inputs name the axis that counts samples."""

    def __init__(self, network: Runs, inputs: tuple[TensorSpec, ...]) -> None:
        self.run, self.inputs, self.outputs = network.run, inputs, network.outputs


def zero_row(spec: TensorSpec) -> tuple[int, ...] | None:
    """Return the shape of a state's value for one stream, without the axis of streams; None where unknown.

    Args:
        spec: Specification of the state, as an input or output.
    """
    shape = _with_batch(spec).sample_shape if _with_batch(spec).dynamic_batch else spec.shape
    return None if any(isinstance(size, str) for size in shape) else tuple(int(size) for size in shape)


def _zeros(spec: TensorSpec, rows: int) -> Array:
    shape = spec.with_batch(rows)
    if any(isinstance(size, str) for size in shape):
        raise _without_first(spec)
    return np.zeros([int(size) for size in shape], spec.dtype)


def _with_batch(spec: TensorSpec) -> TensorSpec:
    """Return a spec with an axis called ``batch``: the only open one where none has the name."""
    opened = [axis for axis, size in enumerate(spec.shape) if isinstance(size, str)]
    if BATCH in spec.shape or len(opened) != 1:
        return spec
    return replace(spec, shape=(*spec.shape[: opened[0]], BATCH, *spec.shape[opened[0] + 1 :]))


def _answer_shape(spec: TensorSpec, alone: bool) -> tuple[int | str, ...]:
    """Return the shape of an output for one stream; all of it where no axis counts streams."""
    return spec.shape if alone and spec.shape[:1] != (1,) else spec.sample_shape


def _check_framed(
    plain: Sequence[TensorSpec],
    framed: set[str],
    fed_shapes: Mapping[str, tuple[int, ...]],
    held: set[str],
    calls: Sequence[TensorSpec],
) -> None:
    if framed:
        return
    likely = plain or [spec for spec in calls if spec.name in held]
    if not likely:
        raise UsageError(
            "an input that is no state", ", ".join(spec.name for spec in calls), "leave one of --state out"
        )
    spec, shape = likely[0], fed_shapes[likely[0].name]
    frame_shape = ", ".join(map(str, spec.sample_shape))
    raise DataError(
        f"streams of frames for input {spec}: [streams, frames{f', {frame_shape}' if frame_shape else ''}]",
        f"[{', '.join(map(str, shape))}]",
        "put frames in order into streams: x.reshape(streams, frames, …)",
    )


def _check_batch(calls: Sequence[TensorSpec], states: Sequence[TensorSpec], alone: bool) -> None:
    only = fixed_batch(calls) if alone else 1
    if only != 1:
        raise NetworkError(
            "a network that takes any number of streams, or one",
            f"inputs {'; '.join(map(str, calls))}",
            "export it with its batch axis open, or of size 1 in its first input",
        )
    fixed = next((spec for spec in states if not spec.dynamic_batch), None)
    if fixed is not None and not alone:
        raise NetworkError(
            "the axis of the samples open in every input, or in none",
            f"inputs {'; '.join(map(str, calls))}",
            f"export it with that axis of '{fixed.name}' open, called 'batch'",
        )


def _check_first(calls: Sequence[TensorSpec], missing: set[str]) -> None:
    for spec in calls:
        if spec.name in missing and zero_row(spec) is None:
            raise _without_first(spec)


def _without_first(spec: TensorSpec) -> DataError:
    return DataError(
        f"the first value of the state {spec}, whose size is open",
        "none in the data",
        f"add it as '{spec.name}', an array with a row for each stream",
    )
