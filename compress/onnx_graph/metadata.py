"""An exporter's notes in the graph: stack traces, paths on its machine, names of functions."""

from __future__ import annotations

import onnx

from compress.core.decoder_texts import KEYS


def without_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without doc strings and metadata, subgraphs included; what it takes to run the model stays.

    They are a tenth of a small network's file, and tell strangers where its source lay.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    bare.metadata_props.extend(entry for entry in model.metadata_props if entry.key in KEYS)
    bare.doc_string = ""
    _strip(bare.graph)
    return bare


def _strip(graph: onnx.GraphProto) -> None:
    graph.doc_string = ""
    del graph.metadata_props[:]
    for part in (*graph.input, *graph.output, *graph.value_info, *graph.initializer, *graph.node):
        part.doc_string = ""
        del part.metadata_props[:]
    for node in graph.node:
        for attribute in node.attribute:
            attribute.doc_string = ""
            if attribute.HasField("g"):
                _strip(attribute.g)
            for subgraph in attribute.graphs:
                _strip(subgraph)
