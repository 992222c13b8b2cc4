"""Tensors of a model, read when they are asked for; some lie in the files as parts of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Tensors(Protocol):
    """Tensors of a model, read when they are asked for."""

    where: str

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of each tensor by its name."""
        ...

    def check(self, name: str) -> None:
        """Refuse a tensor that cannot be read, without reading it."""
        ...

    def read(self, name: str) -> NDArray[np.float32]:
        """Return a tensor as float32."""
        ...


@dataclass(frozen=True)
class Part:
    """Place of a tensor in the files.

    Attributes:
        stored: Name of the stored tensor that holds it.
        axis: Axis along which that one is cut into parts of one size.
        number: Number of its part among these, from 0.
        parts: Number of the parts; 1 for the whole.
        turned: Whether its two axes change places.
    """

    stored: str
    axis: int = 0
    number: int = 0
    parts: int = 1
    turned: bool = False


class PartTensors:
    """Tensors that lie in the files under other names, side by side, or turned.

    Args:
        stored: Tensors as the files hold them.
        parts: Places of the tensors, by their names.
    """

    def __init__(self, stored: Tensors, parts: Mapping[str, Part]) -> None:
        self.where = stored.where
        self._stored = stored
        self._parts = parts

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of each tensor by its name."""
        stored = self._stored.shapes()
        return {name: _shape(stored[part.stored], part) for name, part in self._parts.items()}

    def check(self, name: str) -> None:
        """Refuse a tensor that cannot be read, without reading it."""
        self._stored.check(self._parts[name].stored)

    def read(self, name: str) -> NDArray[np.float32]:
        """Return a tensor as float32."""
        part = self._parts[name]
        values = self._stored.read(part.stored)
        if part.parts > 1:
            values = np.split(values, part.parts, axis=part.axis)[part.number]
        return np.ascontiguousarray(values.T if part.turned else values)


def _shape(stored: tuple[int, ...], part: Part) -> tuple[int, ...]:
    """Return the shape of a part; that of the whole where it cannot be cut so, which no config asks for."""
    if part.parts > 1:
        if not stored or stored[part.axis] % part.parts:
            return stored
        shape = list(stored)
        shape[part.axis] //= part.parts
        stored = tuple(shape)
    return stored[::-1] if part.turned else stored
