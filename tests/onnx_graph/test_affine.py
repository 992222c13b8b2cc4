"""Affine maps go into the weights of the operator before them, where that changes nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from compress.onnx_graph.fold import prepare
from tests.onnx_graph.preparing import image, ops, prepared_equal, run
from tests.random_graphs import SIDE, Builder


class TestAffine:
    @pytest.mark.parametrize("depthwise", [False, True])
    def test_batch_normalisation_goes_into_the_convolution(self, depthwise):
        builder = Builder(0, 4)
        prepared = prepared_equal(
            builder, builder.relu(builder.batch_norm(builder.conv("x", 8, depthwise=depthwise)))
        )
        assert ops(prepared) == ["Conv", "Relu"]

    def test_a_chain_of_affine_maps_goes_into_one_convolution(self):
        builder = Builder(0, 3)
        name = builder.scale(builder.batch_norm(builder.conv("x", 8)))
        shift = builder.constant(np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1))
        assert ops(prepared_equal(builder, builder.add("Add", shift, name, shape=(8, 8, 8)))) == ["Conv"]

    def test_batch_normalisation_goes_into_transposed_convolution_and_gemm(self):
        builder = Builder(0, 4)
        up = builder.add("ConvTranspose", "x", builder.weights(4, 6, 2, 2), strides=[2, 2], shape=(6, 16, 16))
        flat = builder.add("Flatten", builder.batch_norm(up), shape=(6 * 256,))
        logits = builder.add("Gemm", flat, builder.weights(6 * 256, 5), shape=(5,))
        prepared = prepared_equal(builder, builder.batch_norm(logits))
        assert ops(prepared) == ["ConvTranspose", "Flatten", "Gemm"]

    def test_a_map_along_another_axis_stays(self):
        builder = Builder(0, 4)
        columns = builder.constant(np.arange(1, 9, dtype=np.float32))  # broadcasts along the width
        prepared = prepared_equal(builder, builder.add("Mul", builder.conv("x", 8), columns))
        assert ops(prepared) == ["Conv", "Mul"]

    def test_a_bias_that_differs_by_sample_stays(self):
        builder = Builder(0, 4)
        flat = builder.add("Flatten", "x", shape=(256,))
        gemm = builder.add("Gemm", flat, builder.weights(256, 5), builder.weights(2, 5), shape=(5,))
        assert ops(prepared_equal(builder, builder.batch_norm(gemm)))[-1] == "BatchNormalization"

    def test_grouped_transposed_convolutions_stay(self):
        builder = Builder(0, 4)
        weight = builder.weights(4, 3, 2, 2)
        up = builder.add("ConvTranspose", "x", weight, strides=[2, 2], group=2, shape=(6, 16, 16))
        assert ops(prepared_equal(builder, builder.batch_norm(up))) == ["ConvTranspose", "BatchNormalization"]

    def test_batch_normalisation_that_trains_stays(self):
        builder = Builder(0, 4)
        name = builder.batch_norm(builder.conv("x", 8))
        builder.nodes[-1].attribute.append(helper.make_attribute("training_mode", 1))
        builder.nodes[-1].output.extend(["mean", "variance"])
        assert "BatchNormalization" in ops(prepare(builder.model(name)))

    def test_names_that_are_taken_already(self):
        builder = Builder(0, 4)
        name = builder.relu(builder.batch_norm(builder.conv("x", 4)))
        model = builder.model(builder.add("Mul", name, "t1_weight"))
        model.graph.initializer.append(numpy_helper.from_array(np.float32(3), "t1_weight"))
        x = image(builder)
        np.testing.assert_allclose(run(prepare(model), x)[0], run(model, x)[0], rtol=2e-5, atol=2e-5)

    def test_a_value_that_others_read_stays(self):
        builder = Builder(0, 4)
        conv = builder.conv("x", 4)
        prepared = prepared_equal(builder, builder.add("Add", builder.batch_norm(conv), conv))
        assert "BatchNormalization" in ops(prepared)

    def test_a_weight_that_two_convolutions_share_is_scaled_for_one_alone(self):
        builder = Builder(0, 4)
        first = builder.add("Conv", "x", weight := builder.weights(4, 4, 1, 1))
        second = builder.add("Conv", "x", weight)
        assert (
            ops(prepared_equal(builder, builder.add("Add", builder.batch_norm(first), second))).count("Conv")
            == 2
        )


class TestArithmetic:
    def test_a_quotient_and_a_difference_with_a_constant_fold_too(self):
        builder = Builder(0, 3)
        conv = builder.conv("x", 8)
        shifted = builder.add("Sub", conv, builder.weights(8, 1, 1, scale=1))
        divisor = builder.constant(np.arange(1, 9, dtype=np.float32).reshape(8, 1, 1))
        assert ops(prepared_equal(builder, builder.add("Div", shifted, divisor))) == ["Conv"]

    def test_a_constant_divided_or_diminished_stays(self):
        builder = Builder(0, 3)
        one = builder.constant(np.float32(1))
        positive = builder.add("Exp", "x")
        inverse = builder.add("Div", one, positive, shape=(3, SIDE, SIDE))
        found = ops(prepared_equal(builder, builder.add("Sub", one, inverse, shape=(3, SIDE, SIDE))))
        assert found == ["Exp", "Div", "Sub"]

    def test_a_division_by_zero_is_not_touched(self):
        builder = Builder(0, 3)
        quotient = builder.add("Div", "x", builder.constant(np.zeros(1, np.float32)))
        assert ops(prepare(builder.model(quotient))) == ["Div"]
