from __future__ import annotations

import gc

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.quantization import quantize_static
from compress.quantization.probe import Probe
from compress.quantization.shelf import Shelf
from compress.quantization.walk import Walk
from compress.target.target import QuantizationFlavour
from tests.quantization.counting import batches, chain, counted
from tests.quantization.digits import calibration_batches, trained

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)


def branched() -> onnx.ModelProto:
    """Two branches of unequal length that meet, one of them an output of its own, and a list of tensors on the way."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "first"),
        helper.make_node("Sigmoid", ["a"], ["b"], "long1"),
        helper.make_node("Tanh", ["b"], ["c"], "long2"),
        helper.make_node("SplitToSequence", ["a"], ["parts"], "cut", axis=1),
        helper.make_node("SequenceAt", ["parts", "zero"], ["part"], "take"),
        helper.make_node("Add", ["c", "part"], ["sum"], "meet"),
        helper.make_node("Mul", ["sum", "a"], ["y"], "end"),
    ]
    graph = helper.make_graph(
        nodes,
        "branched",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("y", "b")],
        [numpy_helper.from_array(np.array(0, np.int64), "zero")],
    )
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    )


def noise(count: int = 3) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    return [{"x": random.standard_normal((4, 3)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("room", [0, 1 << 20], ids=["in files", "in memory"])
def test_every_tensor_is_what_the_whole_network_makes(room):
    model, given = branched(), noise()
    wanted = Probe(model, ["a", "c", "sum", "y", "b"])
    with Shelf(room) as shelf:
        walk = Walk(model, given, shelf)
        for index, name in enumerate(["a", "c", "sum"]):
            walk.to(name)
            for number, batch in enumerate(given):
                np.testing.assert_array_equal(walk.values(name, number), wanted.run(batch)[index])
        for found, batch in zip(walk.rest(["y", "b"], range(3)), given, strict=True):
            np.testing.assert_array_equal(found, wanted.run(batch)[3:])


def test_every_node_runs_once():
    model, given = chain(12), batches()
    with Shelf() as shelf, counted() as ledger:
        walk = Walk(model, given, shelf)
        for index in range(12):
            walk.to(f"c{index}")
        list(walk.rest(["y"], range(len(given))))
    assert ledger.nodes == len(model.graph.node)


def test_integers_are_kept_and_give_what_the_whole_quantized_network_gives():
    quantized, _ = quantize_static(trained(), calibration_batches(), U8S8)
    given = calibration_batches()[:2]
    session = onnxruntime.InferenceSession(quantized.SerializeToString())
    with Shelf() as shelf:
        walk = Walk(quantized, given, shelf)
        for node in quantized.graph.node:
            if node.op_type in ("Conv", "Gemm"):
                walk.to(node.input[0])
                assert walk.values(node.input[0], 0).dtype == np.uint8
                scale, zero_point = walk.grid(node.input[0])
                assert scale > 0
                assert 0 <= zero_point <= 255
        (scores,) = next(walk.rest(["scores"], [1]))
    np.testing.assert_array_equal(scores, session.run(None, given[1])[0])


def test_a_copy_stays_where_it_is():
    model, given = chain(4), batches(2)
    with Shelf() as shelf:
        walk = Walk(model, given, shelf)
        walk.to("r0")
        before = walk.copy()
        walk.to("r2")
        with counted() as ledger:
            (left,) = next(before.rest(["r2"], [0]))
        assert ledger.nodes == 4
        np.testing.assert_array_equal(left, walk.values("r2", 0))


def test_a_weight_may_change_until_it_is_read():
    model, given = chain(3), batches(2)
    changed = next(tensor for tensor in model.graph.initializer if tensor.name == "w2")
    with Shelf() as shelf:
        walk = Walk(model, given, shelf)
        walk.to("r1")
        halved = numpy_helper.to_array(changed) / 2
        changed.CopyFrom(numpy_helper.from_array(halved, "w2"))
        (found,) = next(walk.rest(["y"], [0]))
    np.testing.assert_allclose(found, Probe(model, ["y"]).run(given[0])[0], rtol=1e-5, atol=1e-6)


def test_what_nobody_reads_any_more_is_forgotten():
    given = batches(2)
    with Shelf() as shelf:
        room = shelf.room
        walk = Walk(chain(6), given, shelf)
        for index in range(6):
            walk.to(f"r{index}")
        gc.collect()
        assert room - shelf.room == 2 * given[0]["x"].shape[0] * 8 * 36 * 4


def test_a_shelf_that_is_full_keeps_arrays_in_files_and_takes_them_away_again():
    with Shelf(room=100) as shelf:
        small, large = np.arange(20, dtype=np.float32), np.arange(60, dtype=np.int16).reshape(3, 20)
        kept = [shelf.put(small), shelf.put(large)]
        assert shelf.room == 20
        np.testing.assert_array_equal(kept[0].get(), small)
        np.testing.assert_array_equal(kept[1].get(), large)
        path = kept[1]._path
        assert path is not None
        assert path.exists()
        kept.clear()
        gc.collect()
        assert shelf.room == 100
        assert not path.exists()
