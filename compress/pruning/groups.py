"""Dependency groups: the units that can be removed from a network, and everything that goes with each.

A *unit* is an atom of :mod:`compress.pruning.atoms`: a channel with all that is tied to it, a head, a dimension
within all heads, a hidden unit. A *group* holds the units that appear in the same places the same number of times,
so that they cost alike and compete with each other alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from compress.core.suggestions import did_you_mean
from compress.errors import RecipeError
from compress.network.equivalence import rows_of
from compress.network.onnx_export import in_eval_mode
from compress.pruning.atoms import Labels
from compress.pruning.axes import Propagation
from compress.pruning.propagation import propagate

_COLUMNS = 64  # more than any axis has: one for each grid that it is cut into


@dataclass(frozen=True)
class Member:
    """The indices of a group's units in one axis of one tensor.

    Attributes:
        tensor: Name of the parameter or buffer; the first of its names where it is tied.
        axis: Axis of the tensor.
        indices: Indices that vanish with each unit, ascending, ``int64[units, n]``.
    """

    tensor: str
    axis: int
    indices: NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Units that appear in the same places.

    Attributes:
        name: Name of the first layer whose outputs they are, with a number where that layer has several groups.
        atoms: Atoms of the units, ``int64[units]``, ascending.
        members: Axes of tensors that shrink with them.
        parameters: Number of elements of parameters that vanish with one unit, if no other vanishes.
        macs: Multiply-accumulates per sample that vanish with one unit, if no other vanishes.
    """

    name: str
    atoms: NDArray[np.int64]
    members: tuple[Member, ...]
    parameters: int
    macs: float

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.atoms)


#: Units to remove, by the group's name: positions in the group.
Units = Mapping[str, Sequence[int] | NDArray[np.int64]]


@dataclass(frozen=True)
class Channels:
    """Units that can be removed from one graph.

    Attributes:
        propagation: Labels of every axis of every tensor in the graph.
        groups: Groups of units, in the order of the graph.
        example: Batch of every input that the groups were found on.
        counted: Input, and its axis, that counts the samples.
    """

    propagation: Propagation
    groups: tuple[Group, ...]
    example: tuple[torch.Tensor, ...]
    counted: tuple[int, int] = (0, 0)

    @property
    def rows(self) -> int:
        """Number of samples in the example; divides figures that count per sample."""
        return _rows(self.example, self.counted)

    @property
    def notes(self) -> tuple[str, ...]:
        """Operators that keep their neighbours from being pruned, and their places."""
        return tuple(dict.fromkeys(self.propagation.notes))

    def group(self, name: str) -> Group:
        """Return the group of this name.

        Raises:
            RecipeError: There is no such group.
        """
        for group in self.groups:
            if group.name == name:
                return group
        names = [group.name for group in self.groups]
        raise RecipeError(
            f"one of the network's {len(names)} groups",
            f"'{name}'",
            did_you_mean(name, names) or "correct it",
        )

    def removed(self, units: Units) -> NDArray[np.bool_]:
        """Return the atoms that vanish with these units, ``bool[atoms]``."""
        gone = np.zeros(len(self.propagation.atoms), np.bool_)
        for name, positions in units.items():
            gone[self.group(name).atoms[np.asarray(positions, np.int64)]] = True
        return gone

    def kept(self, labels: Labels, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the indices of an axis that are left, ``bool[size]``."""
        gone: NDArray[np.bool_] = np.any(removed[self.propagation.atoms.resolve(labels)], axis=1)
        return ~gone

    def macs(self, units: Units | None = None) -> float:
        """Return the multiply-accumulates per sample after these units are removed."""
        removed = self.removed(units or {})
        return (
            sum(
                float(np.prod([self.kept(labels, removed).sum() for labels in work.axes], dtype=float))
                for work in self.propagation.work
            )
            / self.rows
        )

    def parameters(self, units: Units | None = None) -> int:
        """Return the number of elements of all parameters after these units are removed."""
        removed = self.removed(units or {})
        total = 0
        for name, parameter in self.propagation.graph.named_parameters():
            axes = self.propagation.tensors.get(name)
            total += (
                parameter.numel()
                if axes is None
                else int(np.prod([self.kept(labels, removed).sum() for labels in axes]))
            )
        return total


def find_channels(
    graph: fx.GraphModule, example: Sequence[torch.Tensor], counted: tuple[int, int] = (0, 0)
) -> Channels:
    """Find what can be removed from a lifted graph; the graph is only read.

    Args:
        graph: A lifted graph.
        example: One small batch for every input; two rows suffice.
        counted: Input, and its axis, that counts the samples.
    """
    with in_eval_mode(graph):
        propagation = propagate(graph, example)
    return Channels(propagation, _groups(propagation, _rows(example, counted)), tuple(example), counted)


def _rows(example: Sequence[torch.Tensor], counted: tuple[int, int]) -> int:
    number, axis = counted
    return rows_of(example[number], axis) if len(example) else 1


def _groups(propagation: Propagation, rows: int) -> tuple[Group, ...]:
    places = list(_places(propagation))
    atoms, which, index = _occurrences(propagation, [labels for _, _, labels in places])
    # What no sum and no statistic reads, such as the rows of a table that are not looked up, is no unit.
    used = _computed_with(propagation)[atoms]
    atoms, which, index = atoms[used], which[used], index[used]
    parameters = _sums(propagation, atoms, which, _parameters_of_an_index(propagation, places))
    macs = _macs_of_atoms(propagation, rows)
    groups: list[Group] = []
    names: dict[str, int] = {}
    for units, members in _alike(atoms, which, index):
        if len(units) < 2:
            continue  # one unit has to stay
        held = tuple(Member(*places[place][:2], indices) for place, indices in members)
        layer = _layer_of(held)
        names[layer] = names.get(layer, 0) + 1
        name = layer if names[layer] == 1 else f"{layer}#{names[layer]}"
        groups.append(Group(name, units, held, round(parameters[units[0]]), float(macs[units[0]])))
    return tuple(groups)


def _computed_with(propagation: Propagation) -> NDArray[np.bool_]:
    """Return the atoms in axes that an operator sums over, takes statistics of, or multiplies, ``bool[atoms]``."""
    used = np.zeros(len(propagation.atoms), np.bool_)
    read = [
        propagation.axes(reading.operand)[reading.axis]
        for readings in propagation.readings.values()
        for reading in readings
    ]
    for labels in (*read, *(labels for work in propagation.work for labels in work.axes)):
        used[propagation.atoms.resolve(labels)] = True
    used[0] = False
    return used


def _places(propagation: Propagation) -> Iterable[tuple[str, int, Labels]]:
    """Return every axis of every tensor, tied ones once, in free atoms."""
    seen: set[int] = set()
    for name, axes in propagation.tensors.items():
        if id(axes) not in seen:
            seen.add(id(axes))
            for axis, labels in enumerate(axes):
                yield name, axis, propagation.atoms.resolve(labels)


def _occurrences(
    propagation: Propagation, axes: Sequence[Labels]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return every occurrence of an atom: atom, number of the column and index, sorted in this order.

    Columns are numbered through all axes, ``_COLUMNS`` to an axis: heads and dimensions are told apart even where
    there are as many of the ones as of the others.
    """
    parts = [np.zeros((3, 0), np.int64)]
    for number, labels in enumerate(axes):
        index, column = np.nonzero(labels)
        parts.append(np.stack([labels[index, column], number * _COLUMNS + column, index]))
    atoms, which, index = np.concatenate(parts, axis=1)
    order = np.lexsort((index, which, atoms))
    return atoms[order], which[order], index[order]


def _alike(
    atoms: NDArray[np.int64], which: NDArray[np.int64], index: NDArray[np.int64]
) -> Iterable[tuple[NDArray[np.int64], list[tuple[int, NDArray[np.int64]]]]]:
    """Group the atoms that occur in the same axes equally often: atoms, and by axis their indices ``[atoms, n]``."""
    units, starts = np.unique(atoms, return_index=True)
    ends = np.append(starts, len(atoms))[1:]
    together: dict[bytes, list[int]] = {}
    for position, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        together.setdefault(which[start:end].tobytes(), []).append(position)
    for positions in together.values():
        start, end = starts[positions[0]], ends[positions[0]]
        rows = starts[positions][:, None] + np.arange(end - start)
        table, pattern = index[rows], which[start:end] // _COLUMNS
        yield (
            units[positions],
            [(int(place), table[:, pattern == place]) for place in dict.fromkeys(pattern.tolist())],
        )


def _parameters_of_an_index(
    propagation: Propagation, places: Sequence[tuple[str, int, Labels]]
) -> list[float]:
    named = dict(propagation.graph.named_parameters(remove_duplicate=False))
    return [
        named[name].numel() / named[name].shape[axis] if name in named else 0.0 for name, axis, _ in places
    ]


def _sums(
    propagation: Propagation, atoms: NDArray[np.int64], which: NDArray[np.int64], costs: Sequence[float]
) -> NDArray[np.float64]:
    """Return for each atom the sum of the costs of an index over all its occurrences."""
    total = np.zeros(len(propagation.atoms))
    np.add.at(total, atoms, np.asarray(costs)[which // _COLUMNS])
    return total


def _macs_of_atoms(propagation: Propagation, rows: int) -> NDArray[np.float64]:
    total = np.zeros(len(propagation.atoms))
    for work in propagation.work:
        macs = float(np.prod([len(labels) for labels in work.axes], dtype=float)) / rows
        for labels in work.axes:
            held = propagation.atoms.resolve(labels)
            if held.size:
                np.add.at(total, held[held != 0], macs / len(labels))
    return total


def _layer_of(members: Sequence[Member]) -> str:
    """Return the first layer that produces these units: the first tensor with them in its first axis."""
    giving = next((member for member in members if member.axis == 0), members[0])
    layer, _, name = giving.tensor.rpartition(".")
    return layer or name
