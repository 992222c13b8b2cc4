"""A prepared graph computes what it did, in fewer operators that are written one way."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx import TensorProto, helper

from compress.errors import NetworkError
from compress.onnx_graph.fold import prepare
from compress.onnx_graph.graph import Graph
from tests.onnx_graph.preparing import image, ops, prepared_equal, run
from tests.random_graphs import SIDE, Builder, networks


@given(model=networks())
@settings(max_examples=30, deadline=None)
def test_any_network_computes_the_same_after_preparation(model):
    prepared = prepare(model)
    onnx.checker.check_model(prepared, full_check=True)
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    x = np.random.default_rng(0).standard_normal((2, channels, SIDE, SIDE)).astype(np.float32)
    np.testing.assert_allclose(run(prepared, x)[0], run(model, x)[0], rtol=1e-4, atol=1e-4)
    assert prepared.graph.output == model.graph.output


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
