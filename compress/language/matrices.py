"""The forms in which a matrix can lie in the graph: float32, or integers of 4 or 8 bits with a scale per group.

Whoever builds a decoder says the form of each matrix, by its name; here the form becomes nodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import RecipeError
from compress.language.graph_writer import GraphWriter
from compress.quantization.weights.grouped import Grid, GroupedWeight, in_pieces
from compress.quantization.weights.onnxruntime import round_blocks
from compress.quantization.weights.packing import DOMAIN, packed_arrays, product_node
from compress.quantization.weights.settings import Settings

#: Names of the embedding, of the head, and of the embedding of positions, which stays float; see :data:`Form`.
EMBEDDING, HEAD, POSITIONS = "model.embed_tokens", "lm_head", "model.embed_positions"

#: Name of the matrix between the last norm and the head of a rotated decoder; see :mod:`compress.language.rotation`.
HEAD_TURN = "model.head_turn"


@dataclass(frozen=True)
class IntegerMatrix:
    """A matrix as integers.

    Attributes:
        weight: Integers, scales and zero points.
        compute: Precision of its products, ``float32`` or ``int8``, which also rounds what is multiplied.
        error: Root mean square of the weights' changes over that of the weights; None where it was not computed.
    """

    weight: GroupedWeight
    compute: str = "float32"
    error: float | None = None


Matrix = NDArray[np.float32] | IntegerMatrix

#: A function that says the form of a matrix. It is called once for each, in the order in which they run, with its name
#: and its values, float32 [outputs, inputs]; for the embedding [vocabulary, hidden]. Names are those of transformers
#: without ``.weight``, as in ``model.layers.0.mlp.down_proj``; queries, keys and values that are one product are
#: ``model.layers.0.self_attn.qkv_proj``. It returns the values as they are, or integers.
Form = Callable[[str, NDArray[np.float32]], Matrix]


def keep_float(name: str, values: NDArray[np.float32]) -> Matrix:
    """Leave every matrix as it is: a :data:`Form`."""
    return values


def round_to_nearest(
    bits: int = 4,
    group_size: int = 32,
    *,
    symmetric: bool = False,
    compute: str = "int8",
    head_bits: int | None = 8,
    embedding_bits: int | None = 8,
) -> Form:
    """Return a :data:`Form` that rounds matrices to nearest.

    Args:
        bits: Bits of a weight of all matrices but embedding and head, 4 or 8.
        group_size: Number of weights along the inputs that share a scale: 16, 32, 64, 128 or 256.
        symmetric: Whether to leave out the zero points.
        compute: Precision of the products, ``float32`` or ``int8``.
        head_bits: Bits of the head's weights; None leaves it in float32.
        embedding_bits: Bits of the embedding's weights; None leaves it in float32. A tied head of as many bits is the
            same copy.

    Raises:
        RecipeError: A number is none of these.
    """
    settings = {
        bit_width: Settings("onnxruntime", bit_width, group_size, symmetric, compute)
        for bit_width in (bits, head_bits, embedding_bits)
        if bit_width is not None
    }
    special_bits = {EMBEDDING: embedding_bits, HEAD: head_bits}

    def form(name: str, values: NDArray[np.float32]) -> Matrix:
        matrix_bits = special_bits.get(name, bits)
        if matrix_bits is None:
            return values
        weight, error = in_pieces(values, lambda piece: round_blocks(piece, settings[matrix_bits]))
        return IntegerMatrix(weight, compute, error)

    return form


@dataclass(frozen=True)
class WrittenMatrix:
    """A matrix whose constants are in the graph, or in the file beside it.

    Attributes:
        constants: Names of the constants, in the order in which operators take them.
        grid: Sizes of the matrix of integers; None for floats.
        compute: Precision of the products; see :class:`IntegerMatrix`.
        input_scales: Name of the factors of its inputs; None where there are none.
        digest: Hash of the integers where somebody may ask for it, else empty.
        error: See :class:`IntegerMatrix`.
    """

    constants: tuple[str, ...]
    grid: Grid | None = None
    compute: str = "float32"
    input_scales: str | None = None
    digest: str = ""
    error: float | None = None


def write_matrix(graph: GraphWriter, name: str, matrix: Matrix, *, table: bool = False) -> WrittenMatrix:
    """Write the constants of a matrix.

    Args:
        graph: Graph to add to.
        name: Name of the matrix.
        matrix: The matrix in its form.
        table: Whether rows of it are looked up, so that it is not transposed.

    Raises:
        RecipeError: It is a table, and its zero points are no integers, or its columns have factors.
    """
    if not isinstance(matrix, IntegerMatrix):
        written = WrittenMatrix((graph.constant(f"{name}.weight", matrix if table else matrix.T),))
    else:
        weight = matrix.weight
        zero_points = weight.zero_points
        factors = weight.input_scales
        if table and (factors is not None or (zero_points is not None and zero_points.dtype != np.uint8)):
            raise RecipeError(
                "an embedding of plain integers",
                f"'{name}' with factors or zero points in float",
                "choose rtn",
            )
        arrays = packed_arrays(weight)
        written = WrittenMatrix(
            tuple(graph.constant(f"{name}.{part}", values) for part, values in arrays.items()),
            weight.grid,
            matrix.compute,
            None if factors is None else graph.constant(f"{name}.input_scales", factors),
            _digest(arrays) if name == EMBEDDING else "",
            matrix.error,
        )
    graph.finish(name, asdict(written))
    return written


def taken_up(graph: GraphWriter, name: str) -> WrittenMatrix | None:
    """Add the constants of a matrix that an earlier run has written; None where it is to be made."""
    description = graph.take_up(name)
    if description is None:
        return None
    grid = None if description["grid"] is None else Grid(**description["grid"])
    written = WrittenMatrix(**{**description, "constants": tuple(description["constants"]), "grid": grid})
    for constant in (*written.constants, *filter(None, [written.input_scales])):
        graph.take_up_constant(constant)
    return written


def multiply(graph: GraphWriter, matrix: WrittenMatrix, source: str, result: str) -> str:
    """Add the product of a tensor and a matrix, and return its name.

    Args:
        graph: Graph to add to.
        matrix: The matrix.
        source: Name of the tensor, float32 […, inputs].
        result: Name of the product, float32 […, outputs].
    """
    if matrix.grid is None:
        return graph.node("MatMul", [source, *matrix.constants], result)
    if matrix.input_scales is not None:
        source = graph.node("Mul", [source, matrix.input_scales], f"{result}.scaled_input")
    graph.add(product_node(result, source, matrix.constants, result, matrix.grid, matrix.compute))
    return result


def look_up(graph: GraphWriter, name: str, matrix: WrittenMatrix, ids: str, result: str) -> str:
    """Add the rows of a matrix that ids name, and return the name of the rows.

    Args:
        graph: Graph to add to.
        name: Name of the matrix.
        matrix: The matrix, written as a table.
        ids: Name of the ids, int64 [batch, sequence].
        result: Name of the rows, float32 [batch, sequence, columns].
    """
    grid = matrix.grid
    if grid is None:
        return graph.node("Gather", [*matrix.constants, ids], result, axis=0)
    padded = grid.groups * grid.group_size
    packed, *others = matrix.constants
    shape = graph.constant(f"{name}.row_bytes", np.array([grid.outputs, padded * grid.bits // 8], np.int64))
    flat = graph.node("Reshape", [packed, shape], f"{result}.table")
    gathered = graph.node(
        "GatherBlockQuantized",
        [flat, ids, *others],
        result if padded == grid.inputs else f"{result}.padded",
        domain=DOMAIN,
        bits=grid.bits,
        block_size=grid.group_size,
        gather_axis=0,
        quantize_axis=1,
    )
    if padded == grid.inputs:
        return gathered
    limits = [
        graph.constant(f"{name}.{what}", np.array([value], np.int64))
        for what, value in (("first", 0), ("end", grid.inputs), ("axis", -1))
    ]
    return graph.node("Slice", [gathered, *limits], result)


def same(matrix: Matrix, table: WrittenMatrix) -> bool:
    """Whether a matrix is of the same integers as the embedding, so that one copy serves both."""
    return (
        isinstance(matrix, IntegerMatrix)
        and table.grid is not None
        and matrix.weight.input_scales is None
        and table.digest == _digest(packed_arrays(matrix.weight))
    )


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, values in arrays.items():
        digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
