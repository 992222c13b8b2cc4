from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.onnx_graph.serialization import pieces
from tests.graphs import classifier
from tests.sequences import recurrent


def with_everything() -> onnx.ModelProto:
    weights = [
        numpy_helper.from_array(np.arange(size, dtype=np.float32), f"w{size}") for size in (0, 1, 127, 40000)
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"], "only")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        weights,
        doc_string="told",
        value_info=[helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, producer_name="somebody", doc_string="model", ir_version=10)
    model.metadata_props.add(key="a", value="b")
    return model


@pytest.mark.parametrize("make", [with_everything, classifier, recurrent])
def test_the_pieces_are_what_the_whole_is(make):
    model = make()
    assert b"".join(pieces(model)) == model.SerializeToString()


def test_no_piece_holds_two_weights():
    model = with_everything()
    largest = max(tensor.ByteSize() for tensor in model.graph.initializer)
    assert max(map(len, pieces(model))) == largest
