"""Matrices that are looked up in as well as multiplied by: a language model's embedding that its head shares.

The rows of words and the scores of words then come from one copy of integers. Its product is by far the largest of a
small model, so that in float it would take most of a decoding step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import Graph, attribute, replace_nodes
from compress.quantization.weights.grouped import GroupedWeight
from compress.quantization.weights.packing import DOMAIN, packed_arrays, product_node
from compress.quantization.weights.scale_search import round_alone

if TYPE_CHECKING:
    from compress.quantization.weights.settings import Settings


@dataclass(frozen=True)
class Table:
    """One matrix that is looked up in and multiplied by.

    Attributes:
        initializer: Name of the matrix.
        weight: The matrix, float32 [rows, columns]; a product has a result for each row.
        lookups: Names of the nodes that take rows of it.
        products: Names of the nodes that multiply by it.
    """

    initializer: str
    weight: NDArray[np.float32]
    lookups: tuple[str, ...]
    products: tuple[str, ...]


def find_tables(graph: Graph, settings: Settings) -> list[Table]:
    """Return the tables of a graph whose rows are whole groups, but for those that the settings leave in float."""
    tables = []
    for name in graph.initializers:
        readers = graph.consumers.get(name, [])
        lookups = tuple(node.name for node in readers if _looks_up(node, name))
        products = tuple(node.name for node in readers if _multiplies(node, name))
        weight = graph.constant(name) if lookups and products else None
        if weight is None or len(readers) != len(lookups) + len(products) or name in graph.outputs:
            continue
        if weight.dtype != np.float32 or weight.ndim != 2 or weight.shape[1] % settings.group_size:
            continue
        if not np.isfinite(weight).all() or {*lookups, *products} & set(settings.exclude_nodes):
            continue
        tables.append(Table(name, weight, lookups, products))
    return tables


def rounded(table: Table, settings: Settings) -> GroupedWeight:
    """Return a table's integers, rounded without data."""
    return round_alone(table.weight, of_table(settings))


def of_table(settings: Settings) -> Settings:
    """Return settings as they are for a table."""
    return replace(settings, bits=settings.tied_bits)


def pack_tables(model: onnx.ModelProto, tables: Iterable[tuple[Table, GroupedWeight]], compute: str) -> None:
    """Replace the nodes that read tables in place; their old matrices stay as unused initialisers.

    Args:
        model: Model with the tables.
        tables: Pairs of a table of this model and its integers.
        compute: Precision of the products, one of :data:`compress.quantization.weights.settings.COMPUTE`.
    """
    graph = Graph(model)
    instead: dict[str, list[onnx.NodeProto]] = {}
    for table, weight in tables:
        stored = [
            graph.store(f"{table.initializer}_{name}", values)
            for name, values in packed_arrays(weight).items()
        ]
        rows, groups, size = weight.integers.shape
        shape = graph.store(
            f"{table.initializer}_row_bytes", np.array([rows, groups * size * weight.bits // 8], np.int64)
        )
        for node in graph.consumers[table.initializer]:
            if node.name in table.products:
                result = node.output[0]
                instead[node.name] = [
                    product_node(node.name, node.input[0], stored, result, weight.grid, compute)
                ]
            else:
                instead[node.name] = _lookup(node, graph, stored, shape, weight)
    replace_nodes(model, [new_node for node in graph.nodes for new_node in instead.get(node.name, [node])])


def _lookup(
    node: onnx.NodeProto, graph: Graph, stored: Collection[str], shape: str, weight: GroupedWeight
) -> list[onnx.NodeProto]:
    packed, *others = stored
    flat = graph.free_name(f"{node.output[0]}_table")
    return [
        onnx.helper.make_node("Reshape", [packed, shape], [flat], name=f"{node.name}_table"),
        onnx.helper.make_node(
            "GatherBlockQuantized",
            [flat, node.input[1], *others],
            [node.output[0]],
            name=node.name,
            domain=DOMAIN,
            bits=weight.bits,
            block_size=weight.group_size,
            gather_axis=0,
            quantize_axis=1,
        ),
    ]


def _looks_up(node: onnx.NodeProto, name: str) -> bool:
    return bool(node.op_type == "Gather" and node.input[0] == name and attribute(node, "axis", 0) == 0)


def _multiplies(node: onnx.NodeProto, name: str) -> bool:
    """Whether a node multiplies by the transposed matrix, and does nothing else."""
    return bool(
        node.op_type == "FusedMatMul"
        and node.input[1] == name
        and node.input[0] != name
        and attribute(node, "transB", 0) == 1
        and attribute(node, "transA", 0) == 0
        and attribute(node, "alpha", 1.0) == 1
        and attribute(node, "transBatchA", 0) == 0
        and attribute(node, "transBatchB", 0) == 0
    )
