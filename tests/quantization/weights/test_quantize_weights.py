from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from compress.errors import DataError, NetworkError, RecipeError
from compress.onnx_graph.coverage import fusion_coverage
from compress.quantization.weights import ALGORITHMS, Settings, quantize_weights
from tests.graphs import two_inputs
from tests.quantization.weights.matrices import matrices, model_of, rows


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]


def batches(inputs: int = 96) -> list[dict[str, np.ndarray]]:
    return [{"x": rows(32, inputs, seed)} for seed in range(4)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("compute", ["float32", "int8"])
def test_the_file_shrinks_and_the_outputs_stay_close(algorithm, compute):
    model = matrices(96)
    before = model.SerializeToString()
    quantized, report = quantize_weights(model, batches(), Settings(algorithm=algorithm, compute=compute))
    onnx.checker.check_model(quantized)
    assert model.SerializeToString() == before
    assert list(quantized.graph.input) == list(model.graph.input)
    assert list(quantized.graph.output) == list(model.graph.output)
    kinds = [node.op_type for node in quantized.graph.node]
    assert kinds.count("MatMulNBits") == 3
    assert not {"MatMul", "Gemm"} & set(kinds)
    assert quantized.ByteSize() < 0.45 * model.ByteSize()
    assert report.bytes_after == quantized.ByteSize()
    x = rows(64, 96, seed=50)
    wanted, found = run(model, x), run(quantized, x)
    assert np.square(found - wanted).sum() < 0.05 * np.square(wanted).sum()
    if algorithm == "awq":  # its 48-input layer is no multiple of a group
        assert [layer.algorithm for layer in report.layers] == ["awq", "awq", "search"]
    else:
        assert {layer.algorithm for layer in report.layers} == {algorithm}
    assert report.samples == (128 if algorithm in ("gptq", "awq") else 0)


def test_the_report_is_json_and_tells_every_layer():
    _, report = quantize_weights(
        matrices(), [], Settings(algorithm="rtn", group_size=64, exclude_nodes=("first",))
    )
    read = json.loads(json.dumps(report.to_dict()))
    assert [layer["nodes"] for layer in read["layers"]] == [["second"]]
    assert read["layers"][0]["shape"] == [48, 64]
    assert 0 < read["layers"][0]["error"] < 0.2
    assert read["float_nodes"] == {
        "first": "excluded by the recipe",
        "third": "its 48 inputs are fewer than a group of 64",
    }
    assert read["settings"]["exclude_nodes"] == ["first"]


def test_packed_products_count_as_float_arithmetic_with_all_their_work():
    quantized, _ = quantize_weights(matrices(), [], Settings(algorithm="rtn", exclude_nodes=("third",)))
    coverage = fusion_coverage(quantized)
    assert coverage.float_compute == {"Gemm": 1, "MatMulNBits": 2}
    assert coverage.int8_mac_share == 0


def test_a_matrix_that_is_applied_twice_stays_one_matrix():
    weight = numpy_helper.from_array(
        np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32), "w"
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "once"),
        helper.make_node("MatMul", ["y", "w"], ["scores"], "again"),
    ]
    model = model_of(nodes, [weight], ["n", 64], ["n", 64])
    quantized, _ = quantize_weights(model, [], Settings(algorithm="rtn", bits=8))
    assert sum(node.op_type == "MatMulNBits" for node in quantized.graph.node) == 2
    assert quantized.ByteSize() < 0.45 * model.ByteSize()
    x = rows(8, 64)
    np.testing.assert_allclose(run(quantized, x), run(model, x), atol=0.02 * np.abs(run(model, x)).max())


def test_calibration_reads_no_more_batches_than_it_needs():
    seen = 0

    def stream():
        nonlocal seen
        for seed in range(30):
            seen += 1
            yield {"x": rows(16, 96, seed)}

    _, report = quantize_weights(matrices(96), stream(), Settings(samples=40))
    assert report.samples == 48
    assert seen <= 4


@pytest.mark.parametrize(
    "group_size, found", [(128, "fewer than a group of 128"), (256, "nothing to quantize")]
)
def test_a_network_of_small_matrices_is_refused_with_the_reason(group_size, found):
    with pytest.raises(NetworkError, match=found):
        quantize_weights(matrices(), [], Settings(algorithm="rtn", group_size=group_size))


def test_a_network_without_matrices_is_refused():
    with pytest.raises(NetworkError, match="nothing to quantize: none in the network"):
        quantize_weights(two_inputs(), [], Settings(algorithm="rtn"))


def test_a_quantized_network_is_refused():
    quantized, _ = quantize_weights(matrices(), [], Settings(algorithm="rtn"))
    with pytest.raises(NetworkError, match="quantized already"):
        quantize_weights(quantized, [], Settings(algorithm="rtn"))


def test_calibration_samples_are_needed_and_must_be_finite_and_fit():
    with pytest.raises(DataError, match="calibration samples"):
        quantize_weights(matrices(), [])
    with pytest.raises(DataError, match="NaN or infinity in tensor 'x'"):
        quantize_weights(matrices(), [{"x": np.full((4, 80), np.nan, np.float32)}])
    with pytest.raises(DataError, match="refuses"):
        quantize_weights(matrices(), [{"x": rows(4, 79)}], Settings(exclude_nodes=("first",)))


def test_an_unknown_node_to_exclude():
    with pytest.raises(RecipeError, match="'fourth'"):
        quantize_weights(matrices(), [], Settings(algorithm="rtn", exclude_nodes=("fourth",)))


def test_a_layer_that_gptq_cannot_do_is_rounded_and_says_so():
    # Every sample alike and huge: the second moments overflow.
    feeds = [{"x": np.full((4, 96), 1e25, np.float32)}]
    _, report = quantize_weights(matrices(96), feeds, Settings(exclude_nodes=("second", "third")))
    assert [(layer.algorithm, layer.reason) for layer in report.layers] == [
        ("search", "the second moments of its inputs cannot be inverted")
    ]
