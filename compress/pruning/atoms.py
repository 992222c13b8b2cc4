"""Atoms: the removable units of a network, and the indices of axes that vanish with each.

Every axis of every tensor carries *labels*: an integer array ``[size, k]`` whose row *i* names the atoms that index
*i* depends on. An index vanishes if any of its atoms is removed; an index without atoms stays for good. So one
column says "channel *i*", and two say "dimension *d* of head *h*", which vanishes with the head or with the
dimension.

Operators relate axes by equations between labels. They are solved by unification (Robinson 1965): two free atoms
become one; a free atom that has to equal a pair is bound to that pair. Where two labels can only be equal if
nothing is removed, their atoms are fixed. So every solution is sound; at worst it leaves too little to remove.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

#: ``int64[size, k]``: the atoms of every index of one axis; 0 is no atom.
Labels = NDArray[np.int64]

_FIXED = 0


def fixed(size: int) -> Labels:
    """Return labels of an axis whose every index stays."""
    return np.zeros((size, 0), np.int64)


def merge(axes: Sequence[Labels]) -> Labels:
    """Return the labels of one axis that merges all of these, the last one varying fastest."""
    merged = fixed(1)
    for axis in axes:
        outer = np.repeat(merged, len(axis), axis=0)
        merged = np.concatenate([outer, np.tile(axis, (len(merged), 1))], axis=1)
    return merged


def join(parts: Sequence[Labels]) -> Labels:
    """Return the labels of one axis that concatenates these."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate([_widened(part, width) for part in parts])


def _widened(labels: Labels, width: int) -> Labels:
    missing = width - labels.shape[1]
    return np.pad(labels, ((0, 0), (0, missing))) if missing else labels


class Atoms:
    """All atoms of a network, and the equations between them that were stated so far."""

    def __init__(self) -> None:
        self._count = 1
        # A parent of 0 fixes an atom; a pair binds it: it vanishes with either of the two.
        self._parent = np.zeros(1024, np.int64)
        self._pair = np.zeros((1024, 2), np.int64)

    def __len__(self) -> int:
        return self._count

    def fresh(self, size: int) -> Labels:
        """Return labels of a new axis, each index free; an axis of one index is fixed."""
        if size <= 1:
            return fixed(size)
        start, self._count = self._count, self._count + size
        if self._count > len(self._parent):
            more = max(self._count, 2 * len(self._parent)) - len(self._parent)
            self._parent = np.concatenate([self._parent, np.zeros(more, np.int64)])
            self._pair = np.concatenate([self._pair, np.zeros((more, 2), np.int64)])
        new = np.arange(start, self._count)
        self._parent[new] = new
        return new[:, None]

    def resolve(self, labels: Labels) -> Labels:
        """Return the same labels in free atoms, each at most once in a row."""
        labels = self._roots(labels)
        while (bound := self._pair[labels, 0] != _FIXED).any():
            columns = []
            for column, is_bound in zip(labels.T, bound.T, strict=True):
                if is_bound.any():
                    columns.append(np.where(is_bound, self._pair[column, 0], column))
                    columns.append(np.where(is_bound, self._pair[column, 1], _FIXED))
                else:
                    columns.append(column)
            labels = self._roots(np.stack(columns, axis=1))
        for position in range(1, labels.shape[1]):
            again = (labels[:, :position] == labels[:, position : position + 1]).any(axis=1)
            labels[again, position] = _FIXED
        return labels[:, labels.any(axis=0)]

    def fix(self, labels: Labels) -> None:
        """State that every index of this axis stays."""
        self._parent[self.resolve(labels)] = _FIXED

    def unify(self, one: Labels, other: Labels) -> None:
        """State that index *i* of the one axis vanishes exactly where index *i* of the other does."""
        one, other = self.resolve(one), self.resolve(other)
        one, other = _without(one, other), _without(other, one)
        for position, rows in enumerate(_alike(one, other)):
            if position == 0:
                self._unify_columns(_dense(one[rows]), _dense(other[rows]))
            else:  # what was just stated may have changed these
                self.unify(one[rows], other[rows])

    def split(self, labels: Labels, sizes: Sequence[int]) -> list[Labels]:
        """Return labels of the axes of a grid that this axis is cut into, the last one varying fastest.

        The rest of a grid has to be a grid: whole rows vanish, or whole columns.
        """
        if len(sizes) == 1:
            return [labels]
        first, inner_size = sizes[0], int(np.prod(sizes[1:]))
        outer, inner = [fixed(first)], [fixed(inner_size)]
        for column in (part.reshape(first, inner_size) for part in self.resolve(labels).T):
            if (column == column[:1]).all():
                inner.append(column[0][:, None])
            elif (column == column[:, :1]).all():
                outer.append(column[:, :1])
            else:
                rows, columns = self.fresh(first), self.fresh(inner_size)
                self.unify(column.reshape(-1, 1), merge([rows, columns]))
                outer.append(rows)
                inner.append(columns)
        return [np.concatenate(outer, axis=1), *self.split(np.concatenate(inner, axis=1), sizes[1:])]

    def _roots(self, labels: Labels) -> Labels:
        roots = self._parent[labels]
        while ((above := self._parent[roots]) != roots).any():
            roots = above
        self._parent[labels] = roots
        return roots

    def _unify_columns(self, one: Labels, other: Labels) -> None:
        """Unify rows that have the same number of atoms, none of them on both sides; see :meth:`unify`."""
        if one.shape[1] == 1 and other.shape[1] == 1:
            self._union(one[:, 0], other[:, 0])
        elif one.shape[1] == 1 and other.shape[1] > 1:
            self._bind(one[:, 0], other)
        elif other.shape[1] == 1 and one.shape[1] > 1:
            self._bind(other[:, 0], one)
        elif one.shape[1] and other.shape[1]:
            self._match(one, other)
        else:
            self.fix(one)
            self.fix(other)

    def _union(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
        # The older atom stays the root, so that a residual stream of any length is one step deep.
        low, high = np.minimum(one, other), np.maximum(one, other)
        low, high = np.unique(np.stack([low, high], axis=1), axis=0).T
        if len(np.unique(high)) == len(high) and not np.isin(high, low).any():
            self._parent[high] = low
            return
        for pair in zip(low.tolist(), high.tolist(), strict=True):
            below, above = sorted(self._root(atom) for atom in pair)
            self._parent[above] = below

    def _root(self, atom: int) -> int:
        while (parent := int(self._parent[atom])) != atom:
            atom = parent
        return atom

    def _bind(self, free: NDArray[np.int64], several: Labels) -> None:
        if np.isin(free, several).any():
            self.fix(several)  # an atom cannot be a part of itself
            self.fix(free[:, None])
            return
        atoms, rows = np.unique(free, return_index=True)
        pair = several[rows]
        while pair.shape[1] > 2:
            joined = self.fresh(max(len(pair), 2))[: len(pair)]
            self._pair[joined[:, 0]] = pair[:, -2:]
            pair = np.concatenate([pair[:, :-2], joined], axis=1)
        self._pair[atoms] = pair
        again = np.setdiff1d(np.arange(len(free)), rows)
        if len(again):
            self.unify(free[again, None], several[again])

    def _match(self, one: Labels, other: Labels) -> None:
        """Unify the columns that vary alike along the axis."""
        by_pattern = {_pattern(column): column for column in one.T}
        right = {_pattern(column): column for column in other.T}
        if (
            by_pattern.keys().isdisjoint(right)
            or len(by_pattern) < one.shape[1]
            or len(right) < other.shape[1]
        ):
            self.fix(one)
            self.fix(other)
            return
        for pattern in by_pattern.keys() & right.keys():
            self.unify(by_pattern[pattern][:, None], right[pattern][:, None])
        for mine, theirs in ((by_pattern, right), (right, by_pattern)):
            for pattern in mine.keys() - theirs.keys():
                self.fix(mine[pattern][:, None])


def _without(labels: Labels, other: Labels) -> Labels:
    """Return labels without the atoms that the same row of the other has."""
    if not labels.size or not other.size:
        return labels
    shared = (labels[:, :, None] == other[:, None, :]).any(axis=2)
    return np.where(shared, _FIXED, labels)


def _alike(one: Labels, other: Labels) -> Iterator[NDArray[np.bool_]]:
    """Group the rows by the columns that hold an atom; rows without any are left out."""
    present = np.concatenate([one, other], axis=1) != _FIXED
    if not present.size:
        return
    if present.all():
        yield np.ones(len(present), np.bool_)
        return
    patterns, which = np.unique(present, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if pattern.any():
            yield which.reshape(-1) == number


def _dense(labels: Labels) -> Labels:
    return labels[:, labels.any(axis=0)]


def _pattern(column: NDArray[np.int64]) -> bytes:
    """Return a pattern that is equal for two columns whose equal entries are at the same places."""
    _, first, which = np.unique(column, return_index=True, return_inverse=True)
    return bytes(first[which.reshape(-1)].astype(np.int64).tobytes())
