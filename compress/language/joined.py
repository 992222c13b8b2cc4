"""An encoder–decoder as one ONNX graph, so that it is one network and one file wherever it is compressed and measured.

The graph holds both parts side by side, and neither feeds the other: all that belongs to the encoder has ``source.``
before its name, and what it gives as ``source.encoder.N.key`` is given to the decoder as ``encoder.N.key``. A call with
no rows for one part computes the other alone. A weight that both parts read is stored once.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from compress.core.decoder_texts import PARTS_KEY, SOURCE

#: Value of :data:`compress.core.decoder_texts.PARTS_KEY`.
PARTS = "encoder and decoder"


def joined(encoder: onnx.ModelProto, decoder: onnx.ModelProto) -> onnx.ModelProto:
    """Return both parts as one graph; the encoder is changed.

    Args:
        encoder: Graph of the encoder.
        decoder: Graph of the decoder, whose metadata the result has.
    """
    weights = {tensor.name: tensor for tensor in decoder.graph.initializer}
    shared = {
        tensor.name
        for tensor in encoder.graph.initializer
        if tensor.name in weights and tensor.SerializeToString() == weights[tensor.name].SerializeToString()
    }
    _rename(encoder.graph, shared)
    graph = onnx.helper.make_graph(
        [*encoder.graph.node, *decoder.graph.node],
        "encoder_decoder",
        [*encoder.graph.input, *decoder.graph.input],
        [*sorted(decoder.graph.output, key=lambda output: output.name != "logits"), *encoder.graph.output],
        [*(tensor for tensor in encoder.graph.initializer if tensor.name not in shared), *weights.values()],
    )
    model = onnx.helper.make_model(graph, opset_imports=decoder.opset_import, ir_version=decoder.ir_version)
    metadata: Mapping[str, str] = {prop.key: prop.value for prop in decoder.metadata_props}
    for key, value in {**metadata, PARTS_KEY: PARTS}.items():
        model.metadata_props.add(key=key, value=value)
    return model


def _rename(graph: onnx.GraphProto, kept: set[str]) -> None:
    """Put ``source.`` before all names of a graph without subgraphs, but those of some weights."""

    def named(name: str) -> str:
        return name if not name or name in kept else SOURCE + name

    for node in graph.node:
        node.name = SOURCE + node.name
        node.input[:] = [named(name) for name in node.input]
        node.output[:] = [named(name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = named(tensor.name)
    for value in [*graph.input, *graph.output]:
        value.name = SOURCE + value.name
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = SOURCE + size.dim_param
