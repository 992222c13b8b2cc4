"""The axes of inputs and outputs that count samples, found by running samples alone and together.

Nothing in a file says it. Convolutions take [batch, channels, …], recurrent layers and transformers of torch take
[time, batch, features] unless they are told otherwise, and recognisers of text give [time, batch, classes]. Along the
right axis the samples do not know of each other: what a network gives for two of them together is what it gives for
each alone, along one axis of each output.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.core.suggestions import did_you_mean
from compress.core.tensor_spec import TensorSpec, fixed_batch
from compress.errors import NetworkError, UsageError

if TYPE_CHECKING:
    from compress.data import Batch
    from compress.data.task import Task

Array = np.ndarray[Any, np.dtype[Any]]

#: A network as a function of its inputs by name; it may fail on shapes that it does not take.
Run = Callable[[Mapping[str, Array]], Sequence[Array]]

#: Samples whose outputs are looked at, to tell what each output holds.
_LOOKED_AT = 8

#: Samples that are run alone, to see whether an output holds one for each.
ALONE = 2

#: Axes that are tried, in this order: samples first, then after the time.
_TRIED = (0, 1)

#: Networks of more inputs are tried with one axis for all of them.
_MOST_MIXED = 4

# Two results are the same within this share of the difference that another sample makes, or of the largest number.
_SHARE_OF_DIFFERENCE, _ROUNDING, _HALF_ROUNDING = 1e-2, 1e-5, 1e-2

#: Integers computed by rounding, such as the largest of near ties, may differ in so many places.
_MOST_OTHER_INTEGERS = 0.01

#: Where nothing is exact, as with ranges measured over the whole batch, the axis that mixes samples least is taken, if
#: it mixes no more than this share of the difference that another sample makes.
_MOST_MIXING = 0.3


@dataclass(frozen=True)
class SampleAxes:
    """The axes that count samples.

    Attributes:
        inputs: Axis of each input, by its name.
        outputs: Axis of each output, in order; None for one without it, such as a list of detections.
    """

    inputs: dict[str, int]
    outputs: tuple[int | None, ...]


@dataclass(frozen=True)
class _Tried:
    """Outcome of one choice of axes.

    Attributes:
        axes: Chosen axes of inputs, and the axes of outputs found with them.
        mixing: Amount by which samples change each other's results; 0 means not at all.
        listed: Whether an output's length depends on the sample's content, as for a list of detections.
    """

    axes: SampleAxes
    mixing: float
    listed: bool

    @property
    def found(self) -> int:
        return sum(axis is not None for axis in self.axes.outputs)


def find_axes(
    run: Run,
    samples: Mapping[str, Array],
    possible: Mapping[str, Sequence[int]] | None = None,
    *,
    given_axes: Mapping[str, int] | None = None,
) -> SampleAxes | None:
    """Find the axes that count samples.

    Args:
        run: Network as a function.
        samples: Samples of each input, ``(n, …)``, counted by axis 0. Two of them are run; where there is one, or
            all are equal, the second has the values of the first in another order, or with noise where all are one.
        possible: Axes that the file's declaration allows for an input; None for every axis.
        given_axes: Axes that the user names, by input; ``""`` stands for all others. Other axes are not tried. None
            where none is named.

    Returns:
        The axes; None where they cannot be found: the network is random, takes another number of samples than one and
        two, or there is but one sample of integers that are all the same. Where all outputs are lists as long as what
        is in a sample, the first axis that the network takes.

    Raises:
        NetworkError: Samples depend on each other along every axis.
    """
    pair = _two_that_differ(samples)
    if all(np.array_equal(pair[0][name], pair[1][name]) for name in samples):
        return None
    names = list(samples)
    tried: list[_Tried] = []
    for axes in _choices(samples, possible, given_axes or {}):
        attempt = _tried(run, pair, dict(zip(names, axes, strict=True)))
        if attempt is None:
            continue
        if attempt.found == len(attempt.axes.outputs) and attempt.mixing == 0:
            return attempt.axes
        tried.append(attempt)
    if not tried or _is_random(run, pair, tried[0].axes.inputs):
        return None
    exact = [attempt for attempt in tried if attempt.found and attempt.mixing == 0]
    if exact:
        return max(exact, key=lambda attempt: attempt.found).axes
    lists = [attempt.axes for attempt in tried if attempt.listed]
    if lists and not any(attempt.found for attempt in tried):
        return lists[0]  # lists of detections alone: each is that of one sample, whatever axis counts these
    least = min(tried, key=lambda attempt: (attempt.found == 0, attempt.mixing))
    if given_axes or (least.found and least.mixing <= _MOST_MIXING):
        return least.axes
    inputs = ", ".join(names)
    raise NetworkError(
        "an axis of the inputs along which samples do not depend on each other",
        f"results for two samples together that differ from those for each alone, along axis 0 and 1 of {inputs}",
        f"name the axis that counts samples: --batch-axis {names[0]}=0 takes axis 0 as it is",
    )


def told_axis(given_axes: Mapping[str, int] | None, name: str, otherwise: int) -> int:
    """Return the axis that the user names for an input, ``""`` standing for all others; else ``otherwise``."""
    return (given_axes or {}).get(name, (given_axes or {}).get("", otherwise))


def check_told(given_axes: Mapping[str, int] | None, ranks: Mapping[str, int]) -> None:
    """Check that the axes that the user names exist.

    Args:
        given_axes: Axis of each input that the user names, by the input's name; ``""`` stands for all others. None
            for none.
        ranks: Number of axes of each input, by its name.

    Raises:
        UsageError: The network lacks a named input or axis.
    """
    for name, axis in (given_axes or {}).items():
        if name and name not in ranks:
            todo = did_you_mean(name, list(ranks)) or f"name one of: {', '.join(ranks)}"
            raise UsageError("the name of an input, for --batch-axis", f"'{name}'", todo)
        for input_name, rank in ranks.items():
            meant = input_name == name or (not name and input_name not in (given_axes or {}))
            if meant and not 0 <= axis < rank:
                raise UsageError(
                    f"--batch-axis of '{input_name}' from 0 to {rank - 1}", str(axis), "count the axes from 0"
                )


def possible_axes(spec: TensorSpec, sample: Sequence[int]) -> list[int]:
    """Return the possible axes of samples in an input, open axes before fixed ones.

    Args:
        spec: Declaration of the input in the file.
        sample: Shape of one sample of the data.
    """
    if len(spec.shape) != len(sample) + 1:
        return [0]
    fitting = [
        axis
        for axis in range(len(spec.shape))
        if all(
            isinstance(size, str) or size == length
            for size, length in zip(spec.shape[:axis] + spec.shape[axis + 1 :], sample, strict=True)
        )
    ]
    opened = [axis for axis in fitting if isinstance(spec.shape[axis], str)]
    # A fixed axis behind axis 0 is that of one sample after the time, [time, 1, features], and of nothing else.
    fixed = [axis for axis in fitting if not axis or (spec.shape[axis] == 1 and len(spec.shape) > 2)]
    return opened or fixed or [0]


class LoneOutputError(NetworkError):
    """An output does not count samples along the axis that it was assumed to.

    Attributes:
        output: Name of the output.
    """

    output: str = ""


def samples_first(
    output: Array, spec: TensorSpec, samples: int, fed: int, lone: Collection[str] | None = None
) -> Array:
    """Return an output with its samples along axis 0.

    Args:
        output: Output as the network returned it.
        spec: Specification with its name and the axis of its samples.
        samples: Number of fed samples that count; the others filled up a fixed batch.
        fed: Number of samples that were fed.
        lone: Names of the outputs that belong to the only sample as a whole; None decides by this output alone.

    Raises:
        LoneOutputError: The output does not hold as many samples along that axis.
    """
    if fed == 1 and lone is not None and spec.name in lone:
        return output[None]
    if follows(output.shape, spec, fed):
        return np.moveaxis(output, spec.batch_axis, 0)[:samples]
    if fed == 1 and lone is None:
        return output[None]
    error = LoneOutputError(
        f"{fed} samples along axis {spec.batch_axis} of output '{spec.name}'",
        f"the shape {list(output.shape)}",
        "export the network with its batch axis named 'batch', or name it: --batch-axis",
    )
    error.output = spec.name
    raise error


def judged_examples(
    run: Run, task: Task, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> list[Array]:
    """Return a network's outputs for a few calibration samples, as they are judged: samples along axis 0.

    Args:
        run: Network as a function.
        task: Task with its data, bound to its inputs.
        inputs: Inputs of the network.
        outputs: Outputs of the network.
    """
    only = fixed_batch(inputs)
    rows = np.arange(only or _LOOKED_AT) % len(task.calibration)
    batch = next(task.calibration.take(rows).batches(len(rows)))
    if only in (None, 1):
        looked = task.calibration.take(np.arange(min(_LOOKED_AT, len(task.calibration))))
        singles = list(looked.batches(1))
        lone = lone_outputs(run, singles[:ALONE], outputs, twice=only is None)
        if lone:
            return _fullest(run, singles, outputs, lone)
    outputs_and_specs = zip(run(batch.inputs), outputs, strict=True)
    return [samples_first(output, spec, len(batch), len(batch)) for output, spec in outputs_and_specs]


def _fullest(
    run: Run, singles: Sequence[Batch], outputs: Sequence[TensorSpec], lone: Collection[str]
) -> list[Array]:
    """Return the outputs for the sample with the most content, as a detector finds nothing in some."""
    outputs_by_sample = [
        [samples_first(output, spec, 1, 1, lone) for spec, output in zip(outputs, results, strict=True)]
        for results in (run(single.inputs) for single in singles)
    ]
    return max(outputs_by_sample, key=lambda results: sum(output.size for output in results))


def lone_outputs(
    run: Run, singles: Sequence[Batch], outputs: Sequence[TensorSpec], *, twice: bool
) -> frozenset[str]:
    """Return the names of outputs without an axis for samples, such as a list of detections of one sample.

    Args:
        run: Network as a function.
        singles: Samples, each run alone.
        outputs: Outputs of the network.
        twice: Whether to run the first sample twice together too, since the network takes any number.
    """
    batches = [*singles, *([singles[0].rows(np.zeros(2, np.int64))] if twice else [])]
    return frozenset(
        spec.name
        for batch in batches
        for spec, output in zip(outputs, run(batch.inputs), strict=True)
        if not follows(output.shape, spec, len(batch))
    )


def follows(shape: Sequence[int], spec: TensorSpec, fed: int) -> bool:
    """Whether an output of this shape holds so many samples along its axis."""
    return len(shape) > spec.batch_axis and shape[spec.batch_axis] == fed


def _choices(
    samples: Mapping[str, Array], possible: Mapping[str, Sequence[int]] | None, given_axes: Mapping[str, int]
) -> Iterator[tuple[int, ...]]:
    """Yield the choices of axes for all inputs, the most usual first."""
    choices_by_input: list[list[int]] = []
    for name, array in samples.items():
        named = told_axis(given_axes, name, -1)
        allowed = range(array.ndim) if possible is None or name not in possible else possible[name]
        if named >= 0:
            choices_by_input.append([named])
        else:
            choices_by_input.append(
                [axis for axis in _TRIED if axis in allowed and axis < array.ndim] or list(allowed)[:1]
            )
    if len(choices_by_input) > _MOST_MIXED:
        for axis in _TRIED:
            yield tuple(axis if axis in choices else choices[0] for choices in choices_by_input)
        return
    yield from sorted(product(*choices_by_input), key=lambda axes: (len(set(axes)) > 1, axes))


def _tried(
    run: Run, pair: tuple[Mapping[str, Array], Mapping[str, Array]], axes: dict[str, int]
) -> _Tried | None:
    """Run two samples alone and together; None where the network does not take them so."""

    def fed(*rows: Mapping[str, Array]) -> Sequence[Array]:
        return run({name: np.stack([row[name] for row in rows], axis) for name, axis in axes.items()})

    try:
        first, second = fed(pair[0]), fed(pair[1])
        both = fed(*pair)
    except Exception:  # noqa: BLE001 - whatever a network raises on shapes that it does not take
        return None
    outputs: list[int | None] = []
    mixing, listed = 0.0, False
    for alone, other, together in zip(first, second, both, strict=True):
        axis, mixed = _axis_of(alone, other, together)
        outputs.append(axis)
        mixing = max(mixing, mixed)
        listed |= axis is None and len({alone.shape, other.shape, together.shape}) > 1
    return _Tried(SampleAxes(axes, tuple(outputs)), mixing, listed)


def _axis_of(first: Array, second: Array, both: Array) -> tuple[int | None, float]:
    """Return the axis along which two results were joined, and how much they changed; None where there is none."""
    best: tuple[int | None, float] = None, 0.0
    for axis in range(both.ndim):
        shape_of_one = (*both.shape[:axis], 1, *both.shape[axis + 1 :])
        if both.shape[axis] != 2 or not all(
            _without_ones(single.shape) == _without_ones(shape_of_one) for single in (first, second)
        ):
            continue
        one, other = first.reshape(shape_of_one), second.reshape(shape_of_one)
        parts = np.take(both, [0], axis), np.take(both, [1], axis)
        mixing = max(_mixing(parts[0], one, other), _mixing(parts[1], other, one))
        if best[0] is None or mixing < best[1]:
            best = axis, mixing
    return best


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape without axes of size 1, which ``squeeze()`` drops with the axis of a single sample."""
    return tuple(size for size in shape if size != 1)


def _mixing(result: Array, expected: Array, other: Array) -> float:
    """Return a result's distance from its sample's alone, as a share of another sample's effect; 0 for equal."""
    if result.dtype.kind != "f":
        if result.size == 0 or float((result != expected).mean()) <= _MOST_OTHER_INTEGERS:
            return 0.0
        return float((result != expected).mean() / max((other != expected).mean(), _MOST_OTHER_INTEGERS))
    if not np.array_equal(np.isfinite(result), np.isfinite(expected)):
        return 1.0
    both_finite = np.isfinite(expected) & np.isfinite(other)
    if not both_finite.any():
        return 0.0
    ours, right, theirs = (array[both_finite].astype(np.float64) for array in (result, expected, other))
    error, difference = float(np.abs(ours - right).max()), float(np.abs(theirs - right).max())
    rounding = _HALF_ROUNDING if result.dtype.itemsize < 4 else _ROUNDING
    if error <= max(_SHARE_OF_DIFFERENCE * difference, rounding * float(np.abs(right).max())):
        return 0.0
    return error / max(difference, error)


def _two_that_differ(samples: Mapping[str, Array]) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
    first = {name: array[0] for name, array in samples.items()}
    for row in range(1, min(len(array) for array in samples.values())):
        other = {name: array[row] for name, array in samples.items()}
        if any(not np.array_equal(first[name], other[name]) for name in samples):
            return first, other
    moved = {name: np.roll(array, 1) for name, array in first.items()}
    if any(not np.array_equal(first[name], moved[name]) for name in samples):
        return first, moved
    random = np.random.default_rng(0)
    return first, {
        name: (array + random.standard_normal(array.shape)).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in first.items()
    }


def _is_random(
    run: Run, pair: tuple[Mapping[str, Array], Mapping[str, Array]], axes: Mapping[str, int]
) -> bool:
    feeds = {name: np.stack([pair[0][name]], axis) for name, axis in axes.items()}
    again = zip(run(feeds), run(feeds), strict=True)
    return any(not np.array_equal(one, two, equal_nan=one.dtype.kind == "f") for one, two in again)
