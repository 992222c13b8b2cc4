"""Time per operator, from the trace that ONNX Runtime's own profiler writes.

The trace is Chrome's trace-event JSON, see
https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html: an event ``model_run`` for each call
and, before it, one ``…_kernel_time`` for each operator, with the shapes it ran on. Durations are whole microseconds,
rounded down, so each operator is short of half a microsecond; and the profiler itself takes time between operators.
Both are in what is left of the call when the operators are taken away. Weights that a kernel has packed for itself are
missing among the shapes; the graph still has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper

from compress.backends.base import OperatorTime, OperatorTimes
from compress.onnx_graph.graph import attribute
from compress.onnx_graph.operators import as_standard, kind, macs

Event = Mapping[str, Any]

_PRECISIONS = {
    "float": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "double": "fp64",
    "uint8": "int8",
    "uint16": "int16",
    "uint32": "int32",
    "uint64": "int64",
}

_SUFFIX = "_kernel_time"


def operator_times(events: Sequence[Event], graph: onnx.GraphProto) -> OperatorTimes | None:
    """Return the time of each operator of the executed graph.

    Of all calls the fastest quarter counts, by the time of the whole call: those that something interrupted are left
    out whole, so that the operators and what is between them still add up.

    Args:
        events: Events of the trace.
        graph: The optimized graph, of the very session that was traced; its nodes carry the names in the trace.

    Returns:
        Means over those calls; None where the trace holds no call.
    """
    calls = _calls(events)
    if not calls:
        return None
    limit = np.quantile([call_us for call_us, _ in calls], 0.25)
    usual_calls = [call for call in calls if call[0] <= limit]
    nodes = {node.name: node for node in graph.node}
    constants = {constant.name: constant for constant in graph.initializer}
    inner = {node.name for node in _inner_nodes(graph)} - set(nodes)
    spent: dict[tuple[str, str], list[Event]] = {}
    for _, operators in usual_calls:
        for event in operators:
            name = event["name"].removesuffix(_SUFFIX)
            if name not in inner:  # the operator whose body it is in has its time already
                spent.setdefault((name, event["args"].get("node_index", "")), []).append(event)
    return OperatorTimes(
        call_ms=float(np.mean([call_us for call_us, _ in usual_calls])) / 1e3,
        operators=tuple(
            _operator(name, operator_events, nodes.get(name), constants, len(usual_calls))
            for (name, _), operator_events in spent.items()
        ),
    )


def _calls(events: Iterable[Event]) -> list[tuple[float, list[Event]]]:
    """Return the microseconds of each call, and the events of its operators."""
    calls: list[tuple[float, list[Event]]] = []
    pending: list[Event] = []
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            pending.append(event)
        elif event.get("name") == "model_run":
            calls.append((event["dur"], pending))
            pending = []
    return calls


def _inner_nodes(graph: onnx.GraphProto) -> Iterable[onnx.NodeProto]:
    """Return the nodes in the bodies of ``If``, ``Loop`` and ``Scan``, at any depth."""
    for node in graph.node:
        for node_attribute in node.attribute:
            for body in (node_attribute.g, *node_attribute.graphs):
                yield from body.node
                yield from _inner_nodes(body)


def _operator(
    name: str,
    events: Sequence[Event],
    node: onnx.NodeProto | None,
    constants: Mapping[str, onnx.TensorProto],
    calls: int,
) -> OperatorTime:
    arguments = events[-1]["args"]
    op, inputs = str(arguments["op_name"]), arguments.get("input_type_shape", [])
    outputs = [tuple(shape) for output in arguments.get("output_type_shape", []) for shape in output.values()]
    moved = sum(int(arguments.get(f"{part}_size", 0)) for part in ("activation", "parameter", "output"))
    first = "uint8" if op == "DynamicQuantizeMatMul" else next(iter(inputs[0]), "") if inputs else ""
    family, multiplied = "unknown", None
    if node is not None and not attribute(node, "transA", 0):
        shapes, packed = _input_shapes(node, inputs, constants)
        shapes |= zip([output for output in node.output if output], outputs, strict=False)
        standard = as_standard(node)
        family, multiplied = kind(standard, shapes.get), macs(standard, shapes.get)
        moved += packed
    return OperatorTime(
        name=name,
        operator=op,
        kind=family,
        outputs=tuple(outputs),
        precision=_PRECISIONS.get(first, first),
        macs=multiplied,
        bytes=moved,
        ms=sum(event["dur"] for event in events) / calls / 1e3,
    )


def _input_shapes(
    node: onnx.NodeProto,
    recorded: Sequence[Mapping[str, Sequence[int]]],
    constants: Mapping[str, onnx.TensorProto],
) -> tuple[dict[str, tuple[int, ...]], int]:
    """Return the shapes of the node's inputs by name, and the bytes of constants that the trace does not list."""
    listed = [tuple(shape) for entry in recorded for shape in entry.values()]
    names = [name for name in node.input if name]
    shapes: dict[str, tuple[int, ...]] = {}
    packed = 0
    for position, name in enumerate(names):
        if name not in constants:
            if listed:
                shapes[name] = listed.pop(0)
            continue
        shapes[name] = tuple(constants[name].dims)
        still_needed = sum(later not in constants for later in names[position + 1 :])
        if listed and listed[0] == shapes[name] and len(listed) > still_needed:
            listed.pop(0)
        else:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(constants[name].data_type)
            packed += math.prod(shapes[name]) * dtype.itemsize
    return shapes, packed
