from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from compress.errors import RecipeError
from compress.onnx_graph.fold import prepare
from compress.quantization import Placement, Settings, place
from compress.target.target import TENSORRT_FLAVOUR, QuantizationFlavour
from tests.random_graphs import SIDE, Builder

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)


def placed(
    builder: Builder, output: str, flavour: QuantizationFlavour = U8S8, **settings: object
) -> tuple[onnx.ModelProto, Placement]:
    model = prepare(builder.model(output))
    return model, place(model, flavour, Settings(**settings))


def int8_ops(model: onnx.ModelProto, placement: Placement) -> list[str]:
    return [node.op_type for node in model.graph.node if node.name in placement.int8_nodes]


class TestOnnxRuntime:
    def test_a_residual_network_is_one_int8_chain(self):
        builder = Builder(0, 3)
        name = builder.relu(builder.residual(builder.relu(builder.conv("x", 8))))
        model, placement = placed(builder, builder.head(name))
        assert not placement.float_nodes
        assert len(placement.int8_nodes) == len(model.graph.node)
        assert len(placement.weighted) == 4

    def test_the_quantization_stands_behind_the_activation_not_before_it(self):
        builder = Builder(0, 3)
        conv = builder.conv("x", 8)
        relu = builder.relu(conv)
        _, placement = placed(builder, builder.conv(relu, 8))
        assert relu in placement.activations
        assert conv not in placement.activations

    def test_an_activation_that_shares_its_input_is_float(self):
        builder = Builder(0, 3)
        conv = builder.conv("x", 8)
        relu = builder.relu(conv)
        _, placement = placed(builder, builder.conv(builder.add("Add", relu, conv), 8))
        assert placement.float_nodes[f"Relu_{relu}"] == "no int8 kernel before it writes for it alone"

    def test_a_clip_that_does_not_start_at_zero_is_float(self):
        builder = Builder(0, 3)
        low, high = builder.constant(np.float32(-1)), builder.constant(np.float32(1))
        clip = builder.add("Clip", builder.conv("x", 8), low, high)
        _, placement = placed(builder, builder.conv(clip, 8))
        assert placement.float_nodes[f"Clip_{clip}"] == "it does not clip at 0"

    def test_a_clip_whose_upper_limit_is_computed_is_float(self):
        builder = Builder(0, 3)
        high = builder.add("ReduceMax", "x", keepdims=0, shape=())
        clip = builder.add("Clip", builder.conv("x", 8), builder.constant(np.float32(0)), high)
        _, placement = placed(builder, builder.conv(clip, 8))
        assert f"Clip_{clip}" in placement.float_nodes

    def test_of_activations_in_a_row_all_vanish(self):
        builder = Builder(0, 3)
        first = builder.relu(builder.conv("x", 8))
        second = builder.relu6(first)
        _, placement = placed(builder, builder.conv(second, 8))
        assert not placement.float_nodes
        assert second in placement.activations
        assert first not in placement.activations

    def test_a_symmetric_grid_has_no_end_at_zero_that_could_replace_relu(self):
        builder = Builder(0, 3)
        relu = builder.relu(builder.conv("x", 8))
        symmetric = replace(U8S8, activation="int8", symmetric=True)
        _, placement = placed(builder, builder.conv(relu, 8), symmetric)
        assert placement.float_nodes[f"Relu_{relu}"].startswith("with zero point 0")

    def test_both_operands_and_the_sum_of_a_residual_addition_are_quantized(self):
        builder = Builder(0, 8)
        total = builder.residual("x")
        node = builder.nodes[-1]
        _, placement = placed(builder, builder.conv(total, 8))
        assert {(node.name, 0), (node.name, 1)} <= placement.reads
        assert {*node.input, total} <= set(placement.activations)

    def test_a_sum_that_only_float_operators_read_stays_float(self):
        builder = Builder(0, 8)
        total = builder.residual("x")
        _, placement = placed(builder, builder.conv(builder.hard_swish(total), 8))
        assert placement.float_nodes[f"Add_{total}"] == "its result is read in float alone"

    def test_what_moves_values_shares_their_scale(self):
        builder = Builder(0, 3)
        relu = builder.relu(builder.conv("x", 8))
        pooled = builder.max_pool(relu)
        _, placement = placed(builder, builder.conv(pooled, 8))
        assert placement.same_scale_as[pooled] == relu

    @pytest.mark.parametrize("mode, moves", [("nearest", True), ("linear", False), ("cubic", False)])
    def test_only_a_resize_that_picks_values_shares_their_scale(self, mode, moves):
        builder = Builder(0, 3)
        relu = builder.relu(builder.conv("x", 8))
        sizes = builder.constant(np.array([1, 1, 2, 2], np.float32))
        wide = builder.add("Resize", relu, "", sizes, mode=mode, shape=(8, 16, 16))
        _, placement = placed(builder, builder.conv(wide, 8))
        assert placement.same_scale_as[wide] == (relu if moves else wide)
        assert placement.float_nodes.get(f"Resize_{wide}") == (None if moves else "it interpolates")

    def test_a_float_operator_reads_the_float_tensor_and_a_convolution_the_quantized(self):
        builder = Builder(0, 3)
        swish = builder.hard_swish(builder.conv("x", 8))
        other = builder.hard_swish(swish)
        conv = builder.conv(swish, 8)
        _, placement = placed(builder, builder.add("Add", conv, other))
        readers = {name for name, _ in placement.reads}
        assert f"Conv_{conv}" in readers
        assert f"HardSwish_{other}" not in readers

    def test_a_network_that_ends_in_a_convolution_hands_out_the_dequantized_tensor(self):
        builder = Builder(0, 3)
        conv = builder.conv("x", 8)
        _, placement = placed(builder, conv)
        assert placement.outputs == {conv}

    def test_a_network_that_ends_in_gemm_hands_out_its_float_result(self):
        builder = Builder(0, 3)
        output = builder.head(builder.conv("x", 8))
        _, placement = placed(builder, output)
        assert not placement.outputs
        assert output not in placement.activations

    def test_the_residual_stream_of_a_transformer_stays_float(self):
        builder = Builder(0, 4)
        scale, shift = builder.weights(8, scale=1), builder.weights(8, scale=1)
        normed = builder.add("LayerNormalization", "x", scale, shift)
        product = builder.add("MatMul", normed, builder.weights(8, 8))
        stream = builder.add("Add", builder.add("Add", product, builder.weights(8, scale=1)), "x")
        output = builder.add("LayerNormalization", stream, scale, shift)
        model, placement = placed(builder, output)
        assert int8_ops(model, placement) == ["MatMul"]
        assert placement.activations == (normed,)

    def test_the_scope_weights_ops_keeps_cheap_operators_float(self):
        builder = Builder(0, 3)
        name = builder.head(builder.relu(builder.residual(builder.relu(builder.conv("x", 8)))))
        model, placement = placed(builder, name, scope="weights-ops")
        assert set(int8_ops(model, placement)) == {"Conv", "Relu", "Gemm"}
        reasons = set(placement.float_nodes.values())
        assert "outside the scope weights-ops" in reasons

    def test_a_constant_operand_is_quantized_as_a_constant(self):
        builder = Builder(0, 3)
        shifted = builder.add("Add", builder.relu(builder.conv("x", 8)), builder.weights(8, 1, 1))
        _, placement = placed(builder, builder.conv(shifted, 8))
        assert placement.constants == {(f"Add_{shifted}", 1)}


class TestTensorRT:
    def test_only_inputs_of_weighted_operators_are_quantized(self):
        builder = Builder(0, 3)
        relu = builder.relu(builder.conv("x", 8))
        model, placement = placed(builder, builder.head(builder.conv(relu, 8)), TENSORRT_FLAVOUR)
        weighted = {node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
        assert {name for name, _ in placement.reads} == weighted
        assert not placement.outputs

    def test_the_identity_of_a_residual_addition_is_quantized_and_the_convolution_before_it_not(self):
        builder = Builder(0, 3)
        start = builder.relu(builder.conv("x", 8))
        total = builder.residual(start)
        node = builder.nodes[-1]
        _, placement = placed(builder, builder.conv(builder.relu(total), 8), TENSORRT_FLAVOUR)
        assert (node.name, 1) in placement.reads
        assert (node.name, 0) not in placement.reads
        assert node.input[0] not in placement.activations

    def test_a_convolution_that_others_read_does_not_fuse_with_the_addition(self):
        builder = Builder(0, 4)
        conv = builder.conv("x", 4)
        total = builder.add("Add", conv, builder.relu("x"))
        _, placement = placed(builder, builder.add("Mul", total, conv), TENSORRT_FLAVOUR)
        assert not [name for name, _ in placement.reads if name.startswith("Add")]

    def test_an_addition_of_a_constant_is_no_shortcut(self):
        builder = Builder(0, 4)
        total = builder.add("Add", builder.conv("x", 4), builder.weights(4, SIDE, SIDE))
        _, placement = placed(builder, total, TENSORRT_FLAVOUR)
        assert not [name for name, _ in placement.reads if name.startswith("Add")]

    @pytest.mark.parametrize("shortcut_first", [False, True])
    def test_of_two_convolutions_the_shorter_path_is_the_identity(self, shortcut_first):
        builder = Builder(0, 3)
        start = builder.relu(builder.conv("x", 8))
        short = builder.conv(start, 8, kernel=1)
        long = builder.conv(builder.relu(builder.conv(start, 8)), 8)
        total = builder.add("Add", *((short, long) if shortcut_first else (long, short)))
        _, placement = placed(builder, builder.relu(total), TENSORRT_FLAVOUR)
        assert short in placement.activations
        assert long not in placement.activations

    def test_a_transposed_convolution_counts_its_channels_on_axis_one(self):
        builder = Builder(0, 4)
        up = builder.add("ConvTranspose", "x", builder.weights(4, 6, 2, 2), strides=[2, 2], shape=(6, 16, 16))
        _, placement = placed(builder, up, TENSORRT_FLAVOUR)
        assert [each.axis for each in placement.weighted] == [1]


class TestWeights:
    @pytest.mark.parametrize("transposed", [0, 1])
    def test_the_channel_axis_of_gemm_follows_its_transposition(self, transposed):
        builder = Builder(0, 4)
        flat = builder.add("Flatten", "x", shape=(256,))
        weight = builder.weights(*((5, 256) if transposed else (256, 5)))
        _, placement = placed(builder, builder.add("Gemm", flat, weight, transB=transposed, shape=(5,)))
        assert [each.axis for each in placement.weighted] == [1 - transposed]

    def test_a_batch_of_matrices_has_one_scale(self):
        builder = Builder(0, 4)
        _, placement = placed(builder, builder.add("MatMul", "x", builder.weights(4, 8, 6), shape=(4, 8, 6)))
        assert [each.axis for each in placement.weighted] == [None]

    def test_without_granularity_per_channel_there_is_one_scale(self):
        builder = Builder(0, 4)
        _, placement = placed(builder, builder.conv("x", 8), replace(U8S8, per_channel=False))
        assert [each.axis for each in placement.weighted] == [None]

    def test_a_computed_weight_keeps_its_node_float(self):
        builder = Builder(0, 4)
        weight = builder.add("Sigmoid", "x")
        product = builder.add("MatMul", "x", weight)
        _, placement = placed(builder, product)
        assert placement.float_nodes[f"MatMul_{product}"] == "its weight is computed, not constant"

    def test_a_constant_input_keeps_its_node_float(self):
        builder = Builder(0, 4)
        conv = builder.add("Conv", builder.weights(1, 4, 8, 8), builder.weights(8, 4, 1, 1), shape=(8, 8, 8))
        model = builder.model(builder.add("Mul", "x", builder.add("ReduceMax", conv, keepdims=0, shape=())))
        placement = place(onnx.shape_inference.infer_shapes(model), U8S8, Settings())
        assert placement.float_nodes[f"Conv_{conv}"] == "its input is constant"

    @pytest.mark.parametrize("shape, kept", [((1, 5), False), ((), False), ((2, 5), True)])
    def test_a_bias_of_one_value_a_feature_is_quantized_in_whatever_form(self, shape, kept):
        builder = Builder(0, 4)
        flat = builder.add("Flatten", "x", shape=(256,))
        bias = builder.constant(np.ones(shape, np.float32))
        gemm = builder.add("Gemm", flat, builder.weights(256, 5), bias, shape=(5,))
        _, placement = placed(builder, gemm)
        assert placement.float_nodes.get(f"Gemm_{gemm}") == (
            f"its bias has shape {list(shape)}" if kept else None
        )

    def test_a_scaled_gemm_stays_float(self):
        builder = Builder(0, 4)
        flat = builder.add("Flatten", "x", shape=(256,))
        gemm = builder.add("Gemm", flat, builder.weights(256, 5), alpha=0.5, shape=(5,))
        _, placement = placed(builder, gemm)
        assert placement.float_nodes[f"Gemm_{gemm}"] == "alpha or beta is not 1"


class TestExclusion:
    def test_by_name_and_by_operator(self):
        builder = Builder(0, 3)
        first = builder.conv("x", 8)
        output = builder.head(builder.conv(builder.relu(first), 8))
        _, placement = placed(builder, output, exclude_nodes=[f"Conv_{first}"], exclude_ops=["Gemm"])
        assert [each.node for each in placement.weighted] == ["Conv_t2"]
        assert placement.float_nodes[f"Conv_{first}"] == "excluded by the recipe"

    def test_an_unknown_name_is_refused_with_the_nearest(self):
        builder = Builder(0, 3)
        with pytest.raises(RecipeError, match="did you mean Conv_t0"):
            placed(builder, builder.conv("x", 8), exclude_nodes=["Conv_to"])


class TestSettings:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"scope": "everything"},
            {"method": "median"},
            {"rounding": "up"},
            {"equalize": 1},
            {"percentile": 50},
            {"percentile": 100.1},
            {"percentile": True},
            {"percentile": "99"},
            {"exclude_nodes": "conv1 "[:0]},
            {"exclude_ops": [1]},
            {"exclude_nodes": 3},
        ],
    )
    def test_wrong_ones_are_refused(self, wrong):
        with pytest.raises(RecipeError):
            Settings(**wrong)

    def test_one_name_may_stand_without_brackets(self):
        assert Settings(exclude_ops="Gemm").exclude_ops == ("Gemm",)
        assert Settings(exclude_ops=["Gemm", "Conv"]).to_dict()["exclude_ops"] == ["Gemm", "Conv"]
