from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from onnx import TensorProto, helper, numpy_helper

from compress.errors import NetworkError
from compress.onnx_graph.fold import prepare
from compress.onnx_graph.graph import Graph
from tests.random_graphs import SIDE, Builder, networks


def run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})


def image(builder: Builder, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((batch, builder.channels, SIDE, SIDE)).astype(np.float32)


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def prepared_equal(builder: Builder, output: str) -> onnx.ModelProto:
    """The prepared model, after checking that it computes the same."""
    model = builder.model(output)
    before = model.SerializeToString()
    prepared = prepare(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(prepared, full_check=True)
    x = image(builder)
    np.testing.assert_allclose(run(prepared, x)[0], run(model, x)[0], rtol=2e-5, atol=2e-5)
    return prepared


@given(model=networks())
@settings(max_examples=30, deadline=None)
def test_any_network_computes_the_same_after_preparation(model):
    prepared = prepare(model)
    onnx.checker.check_model(prepared, full_check=True)
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    x = np.random.default_rng(0).standard_normal((2, channels, SIDE, SIDE)).astype(np.float32)
    np.testing.assert_allclose(run(prepared, x)[0], run(model, x)[0], rtol=1e-4, atol=1e-4)
    assert prepared.graph.output == model.graph.output


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


class TestIdentities:
    def test_identity_goes_and_the_output_keeps_its_name(self):
        builder = Builder(0, 4)
        prepared = prepared_equal(builder, builder.identity(builder.relu(builder.identity("x"))))
        assert ops(prepared) == ["Relu"]

    def test_an_identity_between_input_and_output_stays(self):
        builder = Builder(0, 4)
        assert ops(prepared_equal(builder, builder.identity("x"))) == ["Identity"]

    def test_two_outputs_with_one_value_keep_both_names(self):
        builder = Builder(0, 4)
        relu = builder.relu("x")
        model = builder.model(builder.identity(relu))
        model.graph.output.append(helper.make_tensor_value_info(relu, TensorProto.FLOAT, ["batch", 4, 8, 8]))
        first, second = run(prepare(model), image(builder))
        np.testing.assert_array_equal(first, second)

    def test_dropout_goes_unless_it_trains(self):
        builder = Builder(0, 4)
        rate, training = builder.constant(np.float32(0.5)), builder.constant(np.array(True))
        idle = builder.add("Dropout", "x", rate)
        assert ops(prepared_equal(builder, builder.relu(idle))) == ["Relu"]
        builder = Builder(0, 4)
        rate, training = builder.constant(np.float32(0.5)), builder.constant(np.array(True))
        assert "Dropout" in ops(prepare(builder.model(builder.add("Dropout", "x", rate, training))))

    def test_a_tensor_that_a_subgraph_captures_is_renamed_there_too(self):
        builder = Builder(0, 4)
        same = builder.identity(builder.relu("x"))
        branches = {}
        for branch, op in (("then_branch", "Exp"), ("else_branch", "Neg")):
            output = helper.make_tensor_value_info(branch, TensorProto.FLOAT, None)
            branches[branch] = helper.make_graph(
                [helper.make_node(op, [same], [branch])], branch, [], [output]
            )
        chosen = builder.add("If", builder.constant(np.array(True)), shape=(4, 8, 8), **branches)
        assert "Identity" not in ops(prepared_equal(builder, chosen))


class TestMeans:
    @pytest.mark.parametrize("opset", [13, 20])
    @pytest.mark.parametrize("keepdims", [0, 1])
    @pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
    def test_a_mean_over_the_pixels_becomes_a_pool(self, opset, keepdims, axes):
        builder = Builder(0, 4, opset)
        shape = (4, 1, 1) if keepdims else (4,)
        if opset < 18:
            mean = builder.add("ReduceMean", "x", axes=axes, keepdims=keepdims, shape=shape)
        else:
            given_axes = builder.constant(np.array(axes, np.int64))
            mean = builder.add("ReduceMean", "x", given_axes, keepdims=keepdims, shape=shape)
        assert ops(prepared_equal(builder, mean)) == ["GlobalAveragePool", "Flatten"][: 2 - keepdims]

    def test_a_mean_over_channels_stays(self):
        builder = Builder(0, 4)
        axes = builder.constant(np.array([1], np.int64))
        assert ops(prepared_equal(builder, builder.add("ReduceMean", "x", axes, shape=(1, 8, 8)))) == [
            "ReduceMean"
        ]


class TestPools:
    @pytest.mark.parametrize("dilation, kept", [(1, False), (2, True)])
    def test_dilations_that_say_nothing_go(self, dilation, kept):
        builder = Builder(0, 4)
        pool = builder.add(
            "AveragePool",
            "x",
            kernel_shape=[2, 2],
            dilations=[dilation] * 2,
            shape=(4, 8 - dilation, 8 - dilation),
        )
        (node,) = prepared_equal(builder, pool).graph.node
        assert ("dilations" in [entry.name for entry in node.attribute]) == kept


class TestMatrices:
    def test_a_product_with_its_bias_becomes_gemm(self):
        builder = Builder(0, 4)
        flat = builder.add("Flatten", "x", shape=(256,))
        product = builder.add("MatMul", flat, builder.weights(256, 5), shape=(5,))
        bias = builder.weights(5, scale=1)
        assert ops(prepared_equal(builder, builder.add("Add", bias, product, shape=(5,)))) == [
            "Flatten",
            "Gemm",
        ]

    @pytest.mark.parametrize("shape", [(1, 5), (), (1,)])
    def test_a_bias_has_one_value_a_feature(self, shape):
        builder = Builder(0, 4)
        flat = builder.add("Flatten", "x", shape=(256,))
        bias = builder.constant(builder.random.standard_normal(shape).astype(np.float32))
        prepared = prepared_equal(
            builder, builder.add("Gemm", flat, builder.weights(256, 5), bias, shape=(5,))
        )
        assert Graph(prepared).shape(prepared.graph.node[-1].input[2]) == (5,)

    def test_a_batch_of_products_stays(self):
        builder = Builder(0, 4)
        product = builder.add("MatMul", "x", builder.weights(8, 5), shape=(4, 8, 5))
        bias = builder.weights(5, scale=1)
        assert ops(prepared_equal(builder, builder.add("Add", product, bias))) == ["MatMul", "Add"]

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


class TestWhatExportersLeave:
    def test_stale_shapes_are_inferred_again(self):
        builder = Builder(0, 4)
        hidden = builder.conv("x", 8)
        model = builder.model(builder.relu(hidden))
        model.graph.value_info.append(helper.make_tensor_value_info(hidden, TensorProto.FLOAT, [7, 7]))
        assert Graph(prepare(model)).shape(hidden) == ("batch", 8, 8, 8)

    def test_every_node_gets_a_name_of_its_own(self):
        builder = Builder(0, 4)
        model = builder.model(builder.relu(builder.sigmoid(builder.relu("x"))))
        for node, name in zip(model.graph.node, ["", "same", "same"], strict=True):
            node.name = name
        names = [node.name for node in prepare(model).graph.node]
        assert len(set(names)) == 3
        assert all(names)

    def test_an_old_opset_is_raised_and_its_initialisers_are_no_inputs(self):
        builder = Builder(0, 4, opset=11)
        model = builder.model(builder.relu(builder.conv("x", 8)))
        for tensor in model.graph.initializer:
            model.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
        prepared = prepare(model)
        assert [value.name for value in prepared.graph.input] == ["x"]
        assert Graph(prepared).opset == 13
        np.testing.assert_allclose(
            run(prepared, image(builder))[0], run(model, image(builder))[0], rtol=1e-5, atol=1e-5
        )

    def test_an_output_without_a_shape_is_completed(self):
        builder = Builder(0, 4)
        model = builder.model(builder.relu("x"))
        model.graph.output[0].type.tensor_type.ClearField("shape")
        assert Graph(prepare(model)).shape(model.graph.output[0].name) == ("batch", 4, 8, 8)

    def test_functions_are_written_out(self):
        twice = helper.make_function(
            "local",
            "Twice",
            ["a"],
            ["b"],
            [helper.make_node("Add", ["a", "a"], ["b"])],
            [helper.make_opsetid("", 20)],
        )
        builder = Builder(0, 4)
        model = builder.model(builder.add("Twice", "x", domain="local"))
        model.functions.append(twice)
        model.opset_import.append(helper.make_opsetid("local", 1))
        prepared = prepare(model)
        assert ops(prepared) == ["Add"]
        assert not prepared.functions

    def test_unused_nodes_and_weights_go(self):
        builder = Builder(0, 4)
        builder.conv("x", 8)
        prepared = prepared_equal(builder, builder.relu("x"))
        assert ops(prepared) == ["Relu"]
        assert not prepared.graph.initializer


class TestErrors:
    def test_shapes_that_disagree(self):
        builder = Builder(0, 4)
        with pytest.raises(NetworkError, match="shapes agree"):
            prepare(builder.model(builder.add("Add", "x", builder.weights(3, scale=1))))

    def test_an_operator_that_does_not_exist(self):
        builder = Builder(0, 4)
        with pytest.raises(NetworkError):
            prepare(builder.model(builder.add("NoSuchOperator", "x")))

    def test_an_empty_model(self):
        with pytest.raises(NetworkError):
            prepare(onnx.ModelProto())
