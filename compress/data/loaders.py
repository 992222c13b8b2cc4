"""Samples from a DataLoader or any iterable of batches, read again each time they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.core.user_code import users_code
from compress.data.arrays import ArraySplit
from compress.data.checks import checked_batch, labels_of, origin_of_targets, with_targets
from compress.data.split import Array, Batch, RowDigest, Split, row_digests
from compress.errors import DataError

#: An iterator can be read only once, so its samples are kept in memory up to this size.
MAX_ITERATOR_BYTES = 1 << 30

_STABLE = "make it give the same samples in the same order each time: shuffle=False, no random augmentation"


class LoaderSplit(Split):
    """Samples of an iterable of batches that can be iterated again, such as a DataLoader.

    It is read once here, to count and check; later passes read it again, and the first sample of each of its
    batches is compared with what was there before.

    Args:
        loader: Iterable of ``(inputs, targets)``, inputs alone, or a mapping by input name with targets as ``y``, or
            else as ``labels`` or ``label``; in ``(mapping,)`` every array is an input.
        where: Name of the loader, for messages.

    Raises:
        DataError: The loader shuffles, yields something else, fails, or its batches do not fit one another.
    """

    def __init__(self, loader: Iterable[Any], where: str) -> None:
        _refuse_shuffling(loader, where)
        self._loader = loader
        self._where = where
        self._rows: NDArray[np.int64] | None = None
        self.origin = {"kind": "loader", "from": where}
        digests: list[RowDigest] = []
        labels: list[NDArray[np.int64]] = []
        names: set[str] = set()
        for batch in read_batches(loader, where, names):
            digests.extend(row_digests(batch))
            self.labelled = batch.targets is not None
            part = labels_of(batch.targets)
            if part is not None:
                labels.append(part)
        self.labels = np.concatenate(labels) if labels else None  # all batches are alike, so all or none
        self.origin = {**self.origin, **origin_of_targets(next(iter(names), None))}
        self._known = self.__dict__["digests"] = tuple(digests)
        next(self.batches(1))

    def __len__(self) -> int:
        return len(self._known) if self._rows is None else len(self._rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """See :meth:`Split.batches`. Rows are kept back only until a batch is full.

        Samples of different lengths cannot share a batch: it ends early where the shape changes.
        """
        waiting: list[Batch] = []
        count = 0
        for part in self._chosen():
            if waiting and _shapes(part) != _shapes(waiting[0]):
                yield Batch.joined(waiting)
                waiting, count = [], 0
            waiting.append(part)
            count += len(part)
            if count >= size:
                joined = Batch.joined(waiting)
                for start in range(0, count - size + 1, size):
                    yield joined.rows(slice(start, start + size))
                remainder = count % size
                waiting, count = ([joined.rows(slice(-remainder, None))] if remainder else []), remainder
        if waiting:
            yield Batch.joined(waiting)

    def _chosen(self) -> Iterator[Batch]:
        """The chosen rows of each of the loader's batches; the indices ascend."""
        start = 0
        for batch in read_batches(self._loader, self._where):
            if start >= len(self._known) or next(row_digests(batch)) != self._known[start]:
                raise DataError("the same samples on every pass", f"others in {self._where}", _STABLE)
            stop = start + len(batch)
            if self._rows is None:
                yield batch
            else:
                low, high = np.searchsorted(self._rows, [start, stop])
                if low < high:
                    yield batch.rows(self._rows[low:high] - start)
                if high == len(self._rows):
                    return
            start = stop
        if start != len(self._known):
            raise DataError(f"{len(self._known)} samples on every pass", f"{start} in {self._where}", _STABLE)

    def _taken(self, indices: NDArray[np.int64]) -> Split:
        rows = indices if self._rows is None else self._rows[indices]
        ascending, back = np.unique(rows, return_inverse=True)
        subset = LoaderSplit.__new__(LoaderSplit)
        subset.__dict__.update(self.__dict__)
        subset.__dict__.pop("sha256", None)
        subset._rows = ascending
        subset.labels = None if self.labels is None else self.labels[indices]
        if np.array_equal(ascending, rows):
            return subset
        # Another order, or repeats: few rows, as for an example; they are read once and kept.
        held = list(subset.batches(len(ascending)))
        if len(held) == 1:
            return ArraySplit(held[0], self.origin, back)
        single = [batch.rows(slice(row, row + 1)) for batch in held for row in range(len(batch))]
        ordered = LoaderSplit([_mapping(single[row]) for row in back], self._where)
        ordered.origin = self.origin
        return ordered


def from_iterator(iterator: Iterator[Any], where: str) -> Split:
    """Read the samples of an iterator, such as a generator, and keep them in memory.

    Raises:
        DataError: See :class:`LoaderSplit`; or the samples exceed ``MAX_ITERATOR_BYTES``.
    """
    batches_read: list[Batch] = []
    size = 0
    names: set[str] = set()
    for batch in read_batches(iterator, where, names):
        batches_read.append(batch)
        size += sum(array.nbytes for array in batch.inputs.values())
        if size > MAX_ITERATOR_BYTES:
            raise DataError(
                f"at most {MAX_ITERATOR_BYTES >> 20} MiB from an iterator, which can be read only once",
                f"more in {where}",
                "return a DataLoader, or an object with __iter__, which is read anew each time",
            )
    origin = {"kind": "iterator", "from": where, **origin_of_targets(next(iter(names), None))}
    if all(_shapes(batch) == _shapes(batches_read[0]) for batch in batches_read):
        return ArraySplit(Batch.joined(batches_read), origin)
    split = LoaderSplit([_mapping(batch) for batch in batches_read], where)
    split.origin = origin
    return split


def read_batches(source: Iterable[Any], where: str, names: set[str] | None = None) -> Iterator[Batch]:
    """Yield checked batches of an iterable; all have the same inputs, dtypes and numbers of axes.

    The axes of one batch may be longer than another's: sequences are. Whether the network takes them it says itself.

    Args:
        source: The iterable.
        where: Name of it, for messages.
        names: Receives the name that targets have in it, where it is not ``y``.

    Raises:
        DataError: See :class:`LoaderSplit`.
    """
    first: dict[str, str] | None = None
    empty = True
    for item in _guarded(source, where):
        named, targets = _named(item, where)
        if targets is not None and names is not None:
            names.add(targets)
        batch = checked_batch(named, where)
        signature = _signature(batch)
        first = first or signature
        if signature != first:
            raise DataError(
                f"batches like the first ({first})", f"{signature} in {where}", "make all samples alike"
            )
        if len(batch):
            empty = False
            yield batch
    if empty:
        raise DataError("batches of samples", f"none in {where}", "check what it iterates over")


def _guarded(source: Iterable[Any], where: str) -> Iterator[Any]:
    """Yield from the user's iterable, and turn its failures into errors of ours."""
    try:
        with users_code():
            yield from source
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            "batches of samples",
            f"{type(error).__name__} in {where}: {error}",
            "run its iteration alone to see where",
        ) from error


def _named(item: Any, where: str) -> tuple[Mapping[str, Any], str | None]:
    """Return a batch's arrays by name, targets as ``y``, and the name that targets had, where it was another."""
    if isinstance(item, Mapping):
        return with_targets(item)
    if isinstance(item, tuple | list) and len(item) in (1, 2):
        inputs, *targets = item
        named = dict(inputs) if isinstance(inputs, Mapping) else {"x": inputs}
        return ({**named, "y": targets[0]} if targets else named), None
    if hasattr(item, "shape"):
        return {"x": item}, None
    length = f" of {len(item)}" if isinstance(item, Sequence) else ""
    raise DataError(
        "(inputs, targets), or a mapping by input name with targets as y or labels",
        f"{type(item).__name__}{length} in {where}",
        "yield one of these as each batch",
    )


def _signature(batch: Batch) -> dict[str, str]:
    arrays: dict[str, Array] = dict(batch.inputs)
    if batch.targets is not None:
        arrays["y"] = batch.targets
    return {name: f"{array.dtype} with {array.ndim} axes" for name, array in arrays.items()}


def _shapes(batch: Batch) -> list[tuple[int, ...]]:
    """Return the shapes of one sample, its targets included, which may be sequences too."""
    arrays = [*batch.inputs.values(), *(() if batch.targets is None else (batch.targets,))]
    return [array.shape[1:] for array in arrays]


def _mapping(batch: Batch) -> dict[str, Array]:
    return dict(batch.inputs) if batch.targets is None else {**batch.inputs, "y": batch.targets}


def _refuse_shuffling(loader: Iterable[Any], where: str) -> None:
    if type(getattr(loader, "sampler", None)).__name__ == "RandomSampler":
        raise DataError("the same order on every pass", f"a DataLoader that shuffles, in {where}", _STABLE)
