"""Optimizations of ONNX Runtime that crash at a graph, so that it can be opened without them.

``MatmulTransposeFusion`` swaps a Transpose and the Cast behind it, before a MatMul, and leaves nodes without a schema;
``NchwcTransformer``, which runs next on x86 processors, follows the missing schema and dies of SIGSEGV (1.24 to 1.32,
https://github.com/microsoft/onnxruntime/issues/28392). Products of 16-bit floats get such a Cast from the runtime
itself, which has no kernel for them. Without ``NchwcTransformer`` results are the same, and convolutions on a processor
slower, so it is left out only where the three meet.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from compress.onnx_graph.protocol_buffer import Content, integers, messages

#: It reorders convolutions for the vector registers of x86 processors.
NCHWC = "NchwcTransformer"

# Numbers of fields in onnx.proto.
_MODEL_GRAPH, _MODEL_FUNCTION = 7, 25
_FUNCTION_NODE = 7
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_INPUT = 1, 5, 11
_NODE_INPUT, _NODE_OUTPUT, _NODE_TYPE, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_INTEGER, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 3, 5, 6, 11
_TENSOR_TYPE = 2
_VALUE_TYPE, _TYPE_TENSOR, _ELEMENT_TYPE = 2, 1, 1

_FLOAT, _FLOAT16, _BFLOAT16 = 1, 10, 16
#: Operators that no other optimization moves a Transpose or a Cast through.
_FIXED = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "LSTM", "GRU", "RNN", "Einsum"})


def crashing_optimizations(graph: Content | Path) -> list[str]:
    """Return the names of the optimizations to leave out when ONNX Runtime opens a graph; mostly none.

    Args:
        graph: The ONNX graph, or its file; bytes that are no graph have none.
    """
    try:
        if not isinstance(graph, Path):
            return [NCHWC] if _dies(graph) else []
        with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return [NCHWC] if _dies(content) else []
    except (OSError, ValueError):  # ValueError: an empty file, or one that is no protocol buffer
        return []


@dataclass
class _Node:
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    operator: str = ""
    to_float: bool = False


def _dies(content: Content) -> bool:
    half = False
    bodies: list[list[_Node]] = []
    for nodes, narrow in _bodies(content):
        half |= narrow
        bodies.append(nodes)
    return any(_meets(nodes, half) for nodes in bodies)


def _meets(nodes: list[_Node], half: bool) -> bool:
    """Whether a Transpose and a Cast to float32 may meet before a MatMul."""
    products = [node for node in nodes if node.operator == "MatMul"]
    if half:  # casts come in anywhere
        return bool(products) and any(node.operator == "Transpose" for node in nodes)
    makers = {name: node for node in nodes for name in node.outputs}
    waiting = {(name, False, False) for product in products for name in product.inputs}
    seen = set(waiting)
    while waiting:
        name, transposed, cast = waiting.pop()
        node = makers.get(name)
        if node is None or node.operator in _FIXED:
            continue
        transposed |= node.operator == "Transpose"
        cast |= node.to_float
        if transposed and cast:
            return True
        further = {(tensor, transposed, cast) for tensor in node.inputs} - seen
        seen |= further
        waiting |= further
    return False


def _bodies(content: Content) -> Iterator[tuple[list[_Node], bool]]:
    """Yield the nodes of each graph and function, and whether anything in it is a 16-bit float."""
    waiting = [
        (low, high, number == _MODEL_FUNCTION)
        for number, low, high in messages(content, 0, len(content))
        if number in (_MODEL_GRAPH, _MODEL_FUNCTION)
    ]
    while waiting:
        start, end, function = waiting.pop()
        nodes, half = [], False
        for number, low, high in messages(content, start, end):
            if number == (_FUNCTION_NODE if function else _GRAPH_NODE):
                node, narrow, inner = _node(content, low, high)
                nodes.append(node)
                half |= narrow
                waiting += inner
            elif not function and number == _GRAPH_TENSOR:
                half |= _is_half(integers(content, low, high).get(_TENSOR_TYPE))
            elif not function and number == _GRAPH_INPUT:
                half |= _is_half(_type_of_value(content, low, high))
        yield nodes, half


def _node(content: Content, start: int, end: int) -> tuple[_Node, bool, list[tuple[int, int, bool]]]:
    """Return a node, whether it makes 16-bit floats of its own, and where its inner graphs lie."""
    node, half, inner, integer = _Node(), False, list[tuple[int, int, bool]](), list[int]()
    for number, low, high in messages(content, start, end):
        if number in (_NODE_INPUT, _NODE_OUTPUT):
            (node.inputs if number == _NODE_INPUT else node.outputs).append(content[low:high].decode())
        elif number == _NODE_TYPE:
            node.operator = content[low:high].decode()
        elif number == _NODE_ATTRIBUTE:
            integer += [integers(content, low, high).get(_ATTRIBUTE_INTEGER, 0)]
            for kind, at, to in messages(content, low, high):
                if kind == _ATTRIBUTE_TENSOR:
                    half |= _is_half(integers(content, at, to).get(_TENSOR_TYPE))
                elif kind in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    inner.append((at, to, False))
    if node.operator == "Cast":
        half |= any(_is_half(element) for element in integer)
        node.to_float = _FLOAT in integer
    return node, half, inner


def _type_of_value(content: Content, start: int, end: int) -> int | None:
    for number, low, high in messages(content, start, end):
        if number == _VALUE_TYPE:
            for kind, at, to in messages(content, low, high):
                if kind == _TYPE_TENSOR:
                    return integers(content, at, to).get(_ELEMENT_TYPE)
    return None


def _is_half(element: int | None) -> bool:
    return element in (_FLOAT16, _BFLOAT16)
