"""Packed integers of ONNX Runtime's operators as OpenVINO's compressed weights.

A weight is a constant of 4 or 8 bits, whose floats are (integers − zero points) · scales by group. The processor's
kernels multiply by the integers as they are. Without zero points the integers are signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

    from compress.backends.openvino_translation import Translation


def product(at: Translation, node: onnx.NodeProto) -> None:
    """Add MatMulNBits."""
    source, *constants = node.input
    inputs, outputs, bits, size = (at.attribute(node, name) for name in ("K", "N", "bits", "block_size"))
    groups = -(-inputs // size)
    given, ov = at.values[source], at.ov
    if groups * size != inputs:  # the last group is filled up: so are the inputs, with zeros
        ends = at.integers([0, 0, groups * size - inputs])
        given = ov.pad(given, at.integers([0, 0, 0]), ends, "constant", at.floats(0))
    matrix = _floats(at, constants, outputs, groups, size, bits)
    at.give(node, ov.matmul(given, matrix, False, True))


def looked_up(at: Translation, node: onnx.NodeProto) -> None:
    """Add GatherBlockQuantized: rows of a table."""
    table, ids, *others = node.input
    bits, size = (at.attribute(node, name) for name in ("bits", "block_size"))
    packed = at.tables.get(table, table)
    outputs, groups = at.initializers[others[0]].dims
    matrix = _floats(at, [packed, *others], outputs, groups, size, bits)
    at.give(node, at.ov.gather(matrix, at.values[ids], at.integers(0)))


def _floats(at: Translation, constants: list[str], outputs: int, groups: int, size: int, bits: int) -> Any:
    """Return the floats [outputs, groups · size] that integers stand for; one that is used twice is one copy."""
    packed, scales, *zero_points = constants
    return at.once(
        f"{packed} as floats", lambda: _made(at, packed, scales, zero_points, (outputs, groups, size), bits)
    )


def _made(
    at: Translation, packed: str, scales: str, zero_points: list[str], shape: tuple[int, int, int], bits: int
) -> Any:
    ov = at.ov
    outputs, groups, size = shape
    by_group = (outputs, groups, 1)
    integers = at.array(packed).reshape(-1)
    if zero_points and zero_points[0]:
        weights = ov.convert(_constant(integers, shape, f"u{bits}", packed), np.float32)
        zero = at.array(zero_points[0])
        if zero.dtype == np.uint8:
            lower = ov.convert(
                _constant(_dense(zero, outputs, groups, bits), by_group, f"u{bits}", zero_points[0]),
                np.float32,
            )
        else:
            lower = ov.constant(zero.astype(np.float32).reshape(by_group), name=zero_points[0])
        weights = ov.subtract(weights, lower)
    else:
        half = np.uint8(0x88 if bits == 4 else 0x80)  # flips the highest bit of each: v − 2^(bits − 1)
        weights = ov.convert(_constant(integers ^ half, shape, f"i{bits}", packed), np.float32)
    factors = ov.constant(at.array(scales).astype(np.float32).reshape(by_group), name=scales)
    scaled = ov.multiply(weights, factors)
    return ov.reshape(scaled, at.integers([outputs, groups * size]), special_zero=False)


def _constant(values: NDArray[np.uint8], shape: tuple[int, ...], kind: str, name: str) -> Any:
    """Return a constant of bytes that hold integers of 4 bits, the first in the lower half, or of 8."""
    import openvino
    from openvino.op import Constant

    tensor = openvino.Tensor(np.ascontiguousarray(values), list(shape), getattr(openvino.Type, kind))
    made = Constant(tensor, shared_memory=False)
    made.set_friendly_name(name)
    return made


def _dense(zero_points: NDArray[np.uint8], outputs: int, groups: int, bits: int) -> NDArray[np.uint8]:
    """Return packed zero points without the half byte that fills up each row where their number is odd."""
    if bits == 8 or groups % 2 == 0:
        return zero_points.reshape(-1)
    rows = zero_points.reshape(outputs, -1)
    flat = np.stack([rows & 0x0F, rows >> 4], -1).reshape(outputs, -1)[:, :groups].reshape(-1)
    even = np.pad(flat, (0, flat.size % 2))
    packed: NDArray[np.uint8] = even[0::2] | (even[1::2] << 4)
    return packed
