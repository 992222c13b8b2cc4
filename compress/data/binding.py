"""Data arranged for a network: under its names, in its shapes and dtypes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from compress.core.tensor_spec import TensorSpec, fixed_batch
from compress.data.split import Array, Batch, RowDigest, Split
from compress.errors import DataError


class BoundSplit(Split):
    """Samples renamed, cast and arranged for a network; hashes stay those of the data itself.

    Args:
        source: The data.
        names: The data's name for each input of the network.
        inputs: The network's inputs.
        held: Value of each input that counts no samples, by its name.
        doubled: Inputs for which each sample of the data already has the axis, of size 1, that counts samples.
    """

    def __init__(
        self,
        source: Split,
        names: Mapping[str, str],
        inputs: Sequence[TensorSpec],
        held: Mapping[str, Array],
        doubled: frozenset[str] = frozenset(),
    ) -> None:
        self._source = source
        self._names = names
        self._inputs = inputs
        self._axes = {spec.name: spec.batch_axis for spec in inputs if spec.batch_axis}
        self._held = held
        self._doubled = doubled
        self._alone = fixed_batch(inputs) == 1
        self.labels = source.labels
        self.labelled = source.labelled
        self.classes = source.classes
        self.origin = source.origin

    @property
    def source(self) -> Split:
        """The data as it came."""
        return self._source

    def __len__(self) -> int:
        return len(self._source)

    def batches(self, size: int) -> Iterator[Batch]:
        """See :meth:`Split.batches`."""
        for batch in self._source.batches(size):
            for spec in self._inputs:  # batches of sequences differ in length, and some may not fit
                _check_shape(batch.inputs[self._names[spec.name]], spec, self._source, "data")
            cast = {
                spec.name: self._given(batch.inputs[self._names[spec.name]], spec) for spec in self._inputs
            }
            yield Batch(cast, batch.targets, self._axes, frozenset(self._held))

    def _given(self, array: Array, spec: TensorSpec) -> Array:
        """Return an input as the network takes it."""
        if spec.name in self._doubled:
            return _arranged(array[:, 0], spec)
        if spec.name not in self._held:
            return _arranged(array, spec)
        # Where one sample is fed at a time, each may bring a value of its own: a state does.
        if not self._alone and not np.array_equal(array, np.broadcast_to(self._held[spec.name], array.shape)):
            raise DataError(
                f"one value of {spec} for all samples, since none of its axes counts samples",
                "several values",
                "leave the samples of other values out, or export the network with an axis for samples",
            )
        value: Array = np.asarray(_cast(array[:1], spec)[0])
        return value

    def _taken(self, indices: NDArray[np.int64]) -> BoundSplit:
        return BoundSplit(self._source.take(indices), self._names, self._inputs, self._held, self._doubled)

    @property
    def digests(self) -> tuple[RowDigest, ...]:
        """Return the digests of the data as the user gave it."""
        return self._source.digests

    @property
    def sha256(self) -> str:
        """Return the sha256 of the data as the user gave it."""
        return self._source.sha256


def bind_split(split: Split, inputs: Sequence[TensorSpec], role: str) -> Split:
    """Return the samples as the network takes them: a single input is renamed, numbers get the input's width.

    Args:
        split: The data.
        inputs: The network's inputs.
        role: Purpose of the data ("evaluation data"), for messages.

    Raises:
        DataError: Names, shapes or dtypes do not fit; no value is ever scaled or turned from integer to float.
    """
    first = next(split.batches(1))
    _check_targets(split, inputs, role)
    names = matched_names(list(first.inputs), inputs, role)
    for spec in inputs:
        _check_shape(first.inputs[names[spec.name]], spec, split, role)
        _cast(first.inputs[names[spec.name]], spec)
    arrays = {spec.name: first.inputs[names[spec.name]] for spec in inputs}
    held, doubled = held_values(arrays, inputs), frozenset[str]()
    if len(held) == len(inputs):
        doubled = frozenset(spec.name for spec in inputs if spec.shape[:1] == (1,))
        held = {name: value for name, value in held.items() if name not in doubled}
    if len(held) == len(inputs):
        raise DataError(
            f"{role} for inputs of which an axis counts samples",
            f"samples that fill every axis of {', '.join(map(str, inputs))}",
            "give such a file to compress optimize or quantize: they add the axis",
        )
    return BoundSplit(split, names, inputs, held, doubled)


def is_held(shape: Sequence[int], spec: TensorSpec) -> bool:
    """Whether an input has no axis for samples: each sample of the data fills all of its axes.

    Args:
        shape: The shape of the data's array for this input, ``(n, …)``; n counts samples.
        spec: The network's input.
    """
    return len(shape) == len(spec.shape) + 1 and _fits(tuple(shape[1:]), spec.shape)


def held_values(arrays: Mapping[str, Array], inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Return the first sample's value of each input that has no axis for samples, by its name.

    Args:
        arrays: Samples ``(n, …)`` of every input, by the network's names.
        inputs: The network's inputs.
    """
    return {
        spec.name: np.asarray(arrays[spec.name][0])
        for spec in inputs
        if is_held(arrays[spec.name].shape, spec)
    }


def matched(arrays: Mapping[str, Array], inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Return samples ``(n, …)`` under the names and in the types of the network's inputs; shapes are not checked.

    Raises:
        DataError: Names or dtypes do not fit.
    """
    names = matched_names(list(arrays), inputs, "data")
    return {spec.name: _cast(arrays[names[spec.name]], spec) for spec in inputs}


def matched_names(found: list[str], inputs: Sequence[TensorSpec], role: str) -> dict[str, str]:
    """The data's name for each input of a network; a single one may have any.

    Args:
        found: Names of the data's arrays.
        inputs: The network's inputs.
        role: Purpose of the data, for the message.

    Raises:
        DataError: An input has no array, or an array no input.
    """
    input_names = [spec.name for spec in inputs]
    if len(input_names) == len(found) == 1:
        return {input_names[0]: found[0]}
    if set(input_names) != set(found):
        raise DataError(
            f"{role} with the network's inputs: {', '.join(map(str, inputs))}",
            f"arrays named {', '.join(found)}",
            "name each array as the input it is for, and the targets y",
        )
    return {name: name for name in input_names}


def _check_targets(split: Split, inputs: Sequence[TensorSpec], role: str) -> None:
    """Refuse data whose array of one of the network's inputs was taken as the targets."""
    target_name = split.origin.get("targets")
    if target_name in [spec.name for spec in inputs]:
        raise DataError(
            f"{role} for the input '{target_name}' of the network",
            f"'{target_name}' taken as the targets",
            "name the targets y, and it stays an input; without targets yield batches of the form (inputs,)",
        )


def _check_shape(array: Array, spec: TensorSpec, split: Split, role: str) -> None:
    sample_shape, spec_shape = array.shape[1:], spec.sample_shape
    if _fits(sample_shape, spec_shape) or is_held(array.shape, spec):
        return
    described = (
        f"{array.dtype}[samples, {', '.join(map(str, sample_shape))}]"
        if sample_shape
        else f"{array.dtype}[samples]"
    )
    raise DataError(f"{role} for input {spec}", described, _advice(sample_shape, spec_shape, split))


def _fits(sample_shape: tuple[int, ...], spec_shape: tuple[int | str, ...]) -> bool:
    return len(sample_shape) == len(spec_shape) and all(
        isinstance(length, str) or length == size
        for size, length in zip(sample_shape, spec_shape, strict=True)
    )


def _advice(sample_shape: tuple[int, ...], spec_shape: tuple[int | str, ...], split: Split) -> str:
    if "options" in split.origin and len(spec_shape) == 3:  # images
        last = spec_shape[-1] in (1, 3) and spec_shape[0] not in (1, 3)
        height, width, channels = spec_shape if last else (*spec_shape[1:], spec_shape[0])
        options = [f"size = [{height}, {width}]", f'mode = "{"L" if channels == 1 else "RGB"}"']
        options += ['layout = "NHWC"'] if last else []
        return f"set {', '.join(options)} in compress-data.toml"
    if _fits((1, *sample_shape), spec_shape):
        return "add the axis: x[:, None]"
    if len(sample_shape) == 3 and _fits((sample_shape[2], sample_shape[0], sample_shape[1]), spec_shape):
        return "move the channels to the front: x.transpose(0, 3, 1, 2)"
    if len(sample_shape) == 3 and _fits((sample_shape[1], sample_shape[2], sample_shape[0]), spec_shape):
        return "move the channels to the end: x.transpose(0, 2, 3, 1)"
    return "give data of that shape"


def _arranged(array: Array, spec: TensorSpec) -> Array:
    """Samples as the network takes them: in its type, along its axis."""
    cast = _cast(array, spec)
    return np.ascontiguousarray(np.moveaxis(cast, 0, spec.batch_axis)) if spec.batch_axis else cast


def _cast(array: Array, spec: TensorSpec) -> Array:
    if array.dtype == spec.dtype:
        return array
    kinds = array.dtype.kind, _kind(spec.dtype)
    if kinds == ("f", "f"):
        with np.errstate(over="ignore"):
            cast = array.astype(spec.dtype)
        if np.isfinite(cast).all():
            return cast
        raise DataError(
            f"values that {spec.dtype} can hold, for input {spec}", "larger ones", "scale the data"
        )
    if set(kinds) <= set("iu"):
        cast = array.astype(spec.dtype)
        if (cast == array).all() and ((cast < 0) == (array < 0)).all():
            return cast
        value_range = f"values from {array.min()} to {array.max()}"
        raise DataError(f"values that {spec.dtype} can hold, for input {spec}", value_range, "check the data")
    todo = f"save it as {spec.dtype}"
    if kinds[1] not in "biuf":
        todo = "export the network with float32 inputs"
    elif kinds[1] == "f":
        todo = f"scale it as for training and save it as {spec.dtype}, for example x.astype('{spec.dtype}') / 255"
    raise DataError(f"{spec.dtype} for input {spec}", f"{array.dtype}", todo)


def _kind(dtype: str) -> str:
    try:
        return np.dtype(dtype).kind
    except TypeError:  # bfloat16 and other types that NumPy does not have
        return "?"
