"""The precision of a decoder's keys and values: ONNX Runtime's GroupQueryAttention keeps them in others than float32.

Queries, and what attention gives, stay float32. In float16 a cache takes half of the bytes, and in int8 a quarter, with
a scale for each channel of a key-value head that is found on texts:

    scale = largest |value| on the texts / 127,   stored = clip(round(value / scale), -128, 127)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from compress.core.decoder_texts import MADE_OF_KEY
from compress.errors import RecipeError
from compress.language.documents import PAST, fed
from compress.onnx_graph.sessions import open_session
from compress.onnx_graph.weights import spooled, without_files

#: Precisions of keys and values beside float32, and their types in a graph.
PRECISIONS: Mapping[str, int] = {"float16": TensorProto.FLOAT16, "int8": TensorProto.INT8}

#: Tokens of a text that are read, at the most.
_TOKENS = 512

#: Positions of the scales among the operator's inputs.
_SCALES = (12, 13)

_PRESENT = "present."
_MOST = 127


def check_cache(model: onnx.ModelProto) -> None:
    """Refuse a model whose keys and values cannot get another precision.

    Raises:
        RecipeError: It is no decoder of ONNX Runtime, or its keys and values are no floats of 32 bits.
    """
    caches = [value for value in model.graph.input if value.name.startswith(PAST)]
    count = len(_attentions(model))
    if not count or len(caches) != 2 * count:
        raise RecipeError(
            "a decoder of text with a cache in each layer, for kv_cache",
            f"{count} such layers, and {len(caches)} tensors of keys and values",
            "leave kv_cache out",
        )
    if any(value.type.tensor_type.elem_type != TensorProto.FLOAT for value in caches):
        raise RecipeError("keys and values in float32, for kv_cache", "others", "leave one kv_cache out")


def cache_ranges(
    model: onnx.ModelProto, documents: Sequence[NDArray[np.int64]]
) -> dict[str, NDArray[np.float32]]:
    """Return the largest absolute value of each channel of keys and values, [heads, head size], by the output's name.

    Args:
        model: A decoder whose keys and values are float32.
        documents: Ids of the tokens of texts, int64 [tokens].
    """
    session = open_session(model)
    names = [output.name for output in model.graph.output if output.name.startswith(_PRESENT)]
    empty = {
        value.name: np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
        for value in session.get_inputs()
        if value.name.startswith(PAST)
    }
    largest: dict[str, NDArray[np.float32]] = {}
    for document in documents:
        for name, values in zip(names, session.run(names, fed(document[None, :_TOKENS], empty)), strict=True):
            most = np.abs(values[0]).max(axis=1)
            largest[name] = np.maximum(most, largest.get(name, most))
    return largest


def cache_bytes(model: onnx.ModelProto) -> int:
    """Return the bytes that keys and values of one token take in a decoder."""
    total = 0
    for value in model.graph.input:
        if value.name.startswith(PAST):
            _, heads, _, size = value.type.tensor_type.shape.dim
            dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            total += heads.dim_value * size.dim_value * dtype.itemsize
    return total


def with_cache(
    model: onnx.ModelProto, precision: str, ranges: Mapping[str, NDArray[np.float32]]
) -> onnx.ModelProto:
    """Return a decoder with keys and values in another precision.

    Args:
        model: A decoder that :func:`check_cache` lets pass; it is not modified.
        precision: One of :data:`PRECISIONS`.
        ranges: Largest absolute value of each channel, for int8; see :func:`cache_ranges`.
    """
    with spooled(model) as changed:
        graph = changed.graph
        caches = [value for value in graph.input if value.name.startswith(PAST)]
        for value in (*caches, *(output for output in graph.output if output.name.startswith(_PRESENT))):
            value.type.tensor_type.elem_type = PRECISIONS[precision]
        others = [value for value in graph.value_info if not value.name.startswith((PAST, _PRESENT))]
        del graph.value_info[:]
        graph.value_info.extend(others)
        if precision == "int8":
            for node in _attentions(changed):
                _add_scales(graph, node, ranges)
        history = next((entry for entry in changed.metadata_props if entry.key == MADE_OF_KEY), None)
        if history is None:
            history = changed.metadata_props.add(key=MADE_OF_KEY, value="")
        history.value = "; ".join(filter(None, [history.value, f"keys and values in {precision}"]))
        return without_files(changed)


def _attentions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "GroupQueryAttention"]


def _add_scales(
    graph: onnx.GraphProto, node: onnx.NodeProto, ranges: Mapping[str, NDArray[np.float32]]
) -> None:
    node.input.extend([""] * (_SCALES[0] - len(node.input)))
    for output in node.output[1:3]:
        largest = ranges[output]
        scales = np.where(largest > 0, largest / _MOST, 1).astype(np.float32)[None, :, None]
        graph.initializer.append(numpy_helper.from_array(scales, f"{output}.scale"))
        node.input.append(f"{output}.scale")
    for kind in ("k", "v"):
        node.attribute.append(onnx.helper.make_attribute(f"{kind}_quant_type", "PER_CHANNEL"))
    node.attribute.append(onnx.helper.make_attribute("kv_cache_bit_width", 8))
