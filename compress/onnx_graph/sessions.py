"""Sessions that examine a model: any of its tensors as outputs, weights mapped instead of copied.

How builds are run and timed is the back ends' matter (:mod:`compress.backends`); here is what calibration, folding and
comparisons run.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

import onnx
import onnxruntime

from compress.onnx_graph.crashes import crashing_optimizations
from compress.onnx_graph.graph import Graph, tensors_read
from compress.onnx_graph.weights import folder_of, is_outside, spooled

#: Bytes of weights inside a model from which on a session takes them from files.
_HEAVY = 32 << 20


def part(graph: Graph, outputs: Sequence[str], given: Collection[str] = ()) -> onnx.ModelProto:
    """Return the part of a model that computes some of its tensors.

    Args:
        graph: Graph of the model, with inferred types where tensors are given.
        outputs: Names of the tensors to compute, no inputs or constants among them.
        given: Names of tensors that are fed instead of computed.

    Returns:
        A model with the nodes and constants that this needs. Its inputs are those of the tensors given, and of the
        model's own inputs, that the part reads.
    """
    read, positions, waiting = dict[str, None](), set[int](), list(outputs)
    while waiting:
        name = waiting.pop()
        if name in read:
            continue
        read[name] = None
        position = graph.positions.get(name)
        if position is not None and name not in given and position not in positions:
            positions.add(position)
            waiting += tensors_read(graph.nodes[position])
    model = onnx.ModelProto(
        ir_version=graph.model.ir_version,
        opset_import=graph.model.opset_import,
        functions=graph.model.functions,
    )
    model.graph.name = graph.model.graph.name or "part"
    model.graph.node.extend(graph.nodes[position] for position in sorted(positions))
    for name in read:
        if name in graph.initializers and name not in given:
            model.graph.initializer.append(graph.initializers[name])
        elif name in given or name not in graph.positions:
            model.graph.input.append(graph.typed(name))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return model


def open_session(
    model: onnx.ModelProto, *, as_written: bool = False, optimized: bool = True
) -> onnxruntime.InferenceSession:
    """Open a model in ONNX Runtime on this processor, all of its cores, no thread spinning.

    Args:
        model: Whole model, or a :func:`part`; its weights may lie in files.
        as_written: Whether to compute Q/DQ literally in floats, instead of fusing them into int8 kernels.
        optimized: Whether to let the runtime fuse and rearrange.

    Raises:
        Exception: Whatever ONNX Runtime raises; its own classes have no common root but this.
    """
    inside = sum(tensor.ByteSize() for tensor in model.graph.initializer if not is_outside(tensor))
    if inside >= _HEAVY:
        with spooled(model) as light:  # the runtime keeps files mapped that are gone
            return _opened(light, as_written, optimized)
    return _opened(model, as_written, optimized)


def _opened(model: onnx.ModelProto, as_written: bool, optimized: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if as_written:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    folder = folder_of(model)
    if folder is not None:
        model = _with_locations_inside(model)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    content = model.SerializeToString()
    return onnxruntime.InferenceSession(
        content,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=[
            *(["ReluQuantRewrite"] if as_written else []),
            *(crashing_optimizations(content) if optimized else []),
        ],
    )


def _with_locations_inside(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose files are named as the runtime needs: relative to their folder."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = entry.value.rsplit(os.sep, 1)[-1]
    return copy
