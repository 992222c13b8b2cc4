"""What does not depend on the input is computed once, sizes that are known among it."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from compress.onnx_graph.fold import prepare
from tests.onnx_graph.preparing import image, ops, prepared_equal, run
from tests.random_graphs import SIDE, Builder


class TestConstants:
    def test_what_depends_on_constants_alone_becomes_an_initialiser(self):
        builder = Builder(0, 4)
        two = builder.add("Constant", shape=(), value_float=2.0)
        weight = builder.add("Mul", builder.weights(8, 4, 1, 1), two, shape=(8, 4, 1, 1))
        assert ops(prepared_equal(builder, builder.add("Conv", "x", weight, shape=(8, 8, 8)))) == ["Conv"]

    def test_a_large_broadcast_stays_a_node(self):
        builder = Builder(0, 4)
        shape = builder.constant(np.array([2000, 4, SIDE, SIDE], np.int64))
        wide = builder.add("Expand", builder.constant(np.float32(1)), shape, shape=(4, SIDE, SIDE))
        total = builder.add(
            "ReduceSum", wide, builder.constant(np.array([0], np.int64)), shape=(4, 8, 8), keepdims=1
        )
        model = builder.model(builder.add("Add", "x", total))
        prepared = prepare(model)
        assert "Expand" in ops(prepared)
        assert prepared.ByteSize() < 10_000

    def test_random_numbers_stay_random(self):
        builder = Builder(0, 4)
        noise = builder.add("RandomUniform", shape=(4, 8, 8))
        builder.nodes[-1].attribute.append(helper.make_attribute("shape", [1, 4, 8, 8]))
        assert "RandomUniform" in ops(prepare(builder.model(builder.add("Add", "x", noise))))

    def test_an_output_that_is_constant_keeps_its_node(self):
        builder = Builder(0, 4)
        model = builder.model(builder.relu("x"))
        model.graph.node.append(helper.make_node("Constant", [], ["fixed"], value_float=3.0))
        model.graph.output.append(helper.make_tensor_value_info("fixed", TensorProto.FLOAT, []))
        prepared = prepare(model)
        assert "Constant" in ops(prepared)
        assert run(prepared, image(builder))[1] == 3.0


class TestSizes:
    """Sizes that networks read off their tensors."""

    def size(self, builder: Builder, axis: int) -> str:
        shape = builder.add("Shape", "x", shape=(4,))
        return builder.add("Gather", shape, builder.constant(np.array([axis], np.int64)), shape=(1,))

    def test_a_known_one_is_a_constant_and_what_follows_from_it(self):
        builder = Builder(0, 4)
        half = builder.add(
            "Div", self.size(builder, 1), builder.constant(np.array([2], np.int64)), shape=(1,)
        )
        zero, one = (builder.constant(np.array([value], np.int64)) for value in (0, 1))
        part = builder.add("Slice", "x", zero, half, one, shape=(2, SIDE, SIDE))
        prepared = prepared_equal(builder, part)
        assert ops(prepared) == ["Slice"]

    def test_the_batch_stays_computed(self):
        builder = Builder(0, 4)
        batch = builder.add("Cast", self.size(builder, 0), to=TensorProto.FLOAT, shape=(1,))
        assert ops(prepared_equal(builder, builder.add("Add", "x", batch))) == [
            "Shape",
            "Gather",
            "Cast",
            "Add",
        ]

    def test_a_part_of_a_shape(self):
        builder = Builder(0, 4)
        shape = builder.add("Shape", "x", shape=(2,), start=2)
        sides = builder.add("Cast", shape, to=TensorProto.FLOAT, shape=(2,))
        whole = builder.add("ReduceProd", sides, keepdims=0, shape=())
        assert ops(prepared_equal(builder, builder.add("Div", "x", whole))) == ["Mul"]

    def test_a_single_size_is_a_scalar(self):
        builder = Builder(0, 4)
        shape = builder.add("Shape", "x", shape=(4,))
        channels = builder.add("Gather", shape, builder.constant(np.array(-3, np.int64)), shape=())
        factor = builder.add("Cast", channels, to=TensorProto.FLOAT, shape=())
        assert ops(prepared_equal(builder, builder.add("Mul", "x", factor))) == ["Mul"]

    def test_a_shape_without_elements_stays_computed(self):
        builder = Builder(0, 4)
        zero, one = (builder.constant(np.array([value], np.int64)) for value in (0, 1))
        nothing = builder.add("Slice", "x", zero, zero, one, shape=(0, SIDE, SIDE))
        batch = builder.add("Slice", builder.add("Shape", "x", shape=(4,)), zero, one, shape=(1,))
        target = builder.add(
            "Concat", batch, builder.constant(np.array([0, 7], np.int64)), axis=0, shape=(3,)
        )
        prepared_equal(builder, builder.add("Reshape", nothing, target, allowzero=1, shape=(0, 7)))

    def test_a_shape_computed_anew_in_every_run_becomes_constant(self):
        builder = Builder(0, 4)
        shape = builder.add("Shape", "x", shape=(4,))
        first = builder.add(
            "Slice", shape, *(builder.constant(np.array([n], np.int64)) for n in (0, 1)), shape=(1,)
        )
        target = builder.add(
            "Concat", first, builder.constant(np.array([32, 8], np.int64)), axis=0, shape=(3,)
        )
        prepared = prepared_equal(builder, builder.add("Reshape", "x", target, shape=(32, 8)))
        assert ops(prepared) == ["Reshape"]
