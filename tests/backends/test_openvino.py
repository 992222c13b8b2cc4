from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from compress.backends.base import Artifact, Backend
from compress.backends.openvino import OpenVino
from compress.errors import DataError, RecipeError
from compress.machine.figures import further_backends
from compress.machine.machine import Cpu
from compress.quantization import Settings, quantize_static
from compress.target.target import QuantizationFlavour, load_target
from compress.testing.backends import Conformance
from tests.graphs import classifier, samples

pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")

#: With VNNI, so that nothing here depends on the machine that runs the tests.
FLAVOUR = QuantizationFlavour(
    **further_backends(Cpu("", "x86_64", 1, ("avx512_vnni",), None, None, None))["openvino"]["quantization"]
)


class TestOpenVino(Conformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return OpenVino()


def compiled(model: onnx.ModelProto, directory: Path, **options: object) -> Artifact:
    return OpenVino().compile(model, directory, options)


def quantized(model: onnx.ModelProto, x: np.ndarray, scope: str = "all") -> onnx.ModelProto:
    return quantize_static(model, [{"x": x}], FLAVOUR, Settings(scope=scope, method="min-max"))[0]


def network(nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]], *shape: int) -> onnx.ModelProto:
    """x float32 [batch, *shape] → y, with seeded weights of those shapes."""
    random = np.random.default_rng(0)
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(
                (random.standard_normal(size) / np.sqrt(np.prod(size[1:], initial=1))).astype(np.float32),
                name,
            )
            for name, size in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def residual() -> onnx.ModelProto:
    """Two convolutions around a residual addition, pooled and classified."""
    return network(
        [
            helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "conv0", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
            helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
            helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["c2", "r0"], ["a"], "add"),
            helper.make_node("Relu", ["a"], ["r2"], "relu2"),
            helper.make_node("GlobalAveragePool", ["r2"], ["p"], "pool"),
            helper.make_node("Flatten", ["p"], ["f"], "flatten"),
            helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], "fc", transB=1),
        ],
        {"w0": (16, 3, 3, 3), "b0": (16,), "w1": (16, 16, 3, 3), "b1": (16,)}
        | {"w2": (16, 16, 3, 3), "b2": (16,), "w3": (4, 16), "b3": (4,)},
        *(3, 8, 8),
    )


def perceptron() -> onnx.ModelProto:
    return network(
        [
            helper.make_node("Gemm", ["x", "w0", "b0"], ["h0"], "fc0", transB=1),
            helper.make_node("Relu", ["h0"], ["h1"], "relu"),
            helper.make_node("Gemm", ["h1", "w1", "b1"], ["y"], "fc1", transB=1),
        ],
        {"w0": (64, 32), "b0": (64,), "w1": (8, 64), "b1": (8,)},
        32,
    )


def attention() -> onnx.ModelProto:
    """softmax(q kᵀ) v with a residual addition; 6 positions of 32 features."""
    return network(
        [
            helper.make_node("MatMul", ["x", "wq"], ["q"], "query"),
            helper.make_node("MatMul", ["x", "wk"], ["k"], "key"),
            helper.make_node("MatMul", ["x", "wv"], ["v"], "value"),
            helper.make_node("Transpose", ["k"], ["kt"], "transpose", perm=[0, 2, 1]),
            helper.make_node("MatMul", ["q", "kt"], ["s"], "scores"),
            helper.make_node("Softmax", ["s"], ["p"], "softmax"),
            helper.make_node("MatMul", ["p", "v"], ["m"], "mixed"),
            helper.make_node("MatMul", ["m", "wo"], ["o"], "output"),
            helper.make_node("Add", ["x", "o"], ["y"], "add"),
        ],
        dict.fromkeys(("wq", "wk", "wv", "wo"), (32, 32)),
        *(6, 32),
    )


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


class TestInt8:
    def test_a_residual_chain_runs_in_int8_from_end_to_end(self, tmp_path: Path) -> None:
        coverage = OpenVino().coverage(compiled(quantized(residual(), noise(32, 3, 8, 8)), tmp_path))
        assert coverage.int8["Convolution"] == 3
        assert "Eltwise" not in coverage.int8  # the addition and the activations are inside the convolutions
        assert coverage.int8["FullyConnected"] == 1
        assert coverage.float_compute == coverage.float_cheap == {}
        assert coverage.quantize == 1  # of the input
        assert coverage.int8_mac_share == 1.0

    def test_a_perceptron_runs_in_int8(self, tmp_path: Path) -> None:
        coverage = OpenVino().coverage(compiled(quantized(perceptron(), noise(32, 32)), tmp_path))
        assert coverage.float_compute == coverage.float_cheap == {}
        assert coverage.int8_mac_share == 1.0

    @pytest.mark.parametrize("scope", ["all", "weights-ops"])
    def test_the_projections_of_attention_run_in_int8(self, tmp_path: Path, scope: str) -> None:
        model = quantized(attention(), noise(32, 6, 32), scope)
        coverage = OpenVino().coverage(compiled(model, tmp_path))
        assert coverage.int8["FullyConnected"] == 4
        projections, products = 4 * 6 * 32 * 32, 2 * 6 * 6 * 32
        assert coverage.int8_mac_share == pytest.approx(projections / (projections + products))

    def test_answers_are_those_of_the_graph(self, tmp_path: Path) -> None:
        x = noise(64, 3, 8, 8)
        model = quantized(residual(), x)
        (wanted,) = ReferenceEvaluator(model).run(None, {"x": x})
        with OpenVino().open(compiled(model, tmp_path)) as session:
            (found,) = session.run({"x": x})
        # Rounding in the middle of a fused kernel differs by a step of the grid now and then.
        assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
        assert (found.argmax(1) == wanted.argmax(1)).mean() >= 0.95

    def test_a_float_graph_has_no_int8(self, tmp_path: Path) -> None:
        coverage = OpenVino().coverage(compiled(residual(), tmp_path))
        assert coverage.int8 == {}
        assert coverage.int8_mac_share == 0.0
        assert sum(coverage.float_compute.values()) == 4


class TestSession:
    @pytest.fixture
    def artifact(self, tmp_path: Path) -> Iterator[Artifact]:
        return compiled(classifier(), tmp_path)

    def test_outputs_are_the_callers_own(self, artifact: Artifact) -> None:
        with OpenVino().open(artifact) as session:
            (first,) = session.run({"x": samples(1, seed=1)})
            kept = first.copy()
            session.run({"x": samples(1, seed=2)})
            np.testing.assert_array_equal(first, kept)

    @pytest.mark.parametrize("batch", [1, 400])  # copied into the runtime's memory, and handed over
    def test_inputs_need_not_be_contiguous(self, artifact: Artifact, batch: int) -> None:
        x = samples(batch)
        with OpenVino().open(artifact) as session:
            (wanted,) = session.run({"x": x})
            (found,) = session.run({"x": np.asfortranarray(x)})
        np.testing.assert_array_equal(found, wanted)

    def test_more_batch_sizes_than_are_compiled_alone(self, artifact: Artifact) -> None:
        (wanted,) = ReferenceEvaluator(classifier()).run(None, {"x": samples(20)})
        with OpenVino().open(artifact) as session:
            for batch in range(1, 12):
                (found,) = session.run({"x": samples(20)[:batch]})
                np.testing.assert_allclose(found, wanted[:batch], atol=1e-4)

    def test_axes_other_than_the_batch_may_be_open(self, tmp_path: Path) -> None:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "projection")]
        model = network(nodes, {"w": (8, 4)}, 5, 8)
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "time"
        del model.graph.value_info[:]
        model.graph.output[0].type.tensor_type.ClearField("shape")
        with OpenVino().open(compiled(model, tmp_path)) as session:
            for time in (1, 7):
                assert session.run({"x": noise(2, time, 8)})[0].shape == (2, time, 4)
            with pytest.raises(DataError, match="float32"):
                session.run({"x": noise(2, 3, 9)})

    def test_int64_inputs(self, tmp_path: Path) -> None:
        model = network([helper.make_node("Gather", ["w", "x"], ["y"], "embed")], {"w": (10, 4)}, 3)
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
        with OpenVino().open(compiled(model, tmp_path)) as session:
            assert [str(spec) for spec in session.inputs] == ["x: int64[batch, 3]"]
            assert session.run({"x": np.array([[1, 2, 9]])})[0].shape == (1, 3, 4)

    def test_a_prepared_call_runs(self, artifact: Artifact) -> None:
        with OpenVino().open(artifact) as session:
            for batch in (2, 400):
                session.prepared({"x": samples(batch)})()
            with pytest.raises(DataError, match="wanted"):
                session.prepared({"x": samples(2)[0]})


class TestOptions:
    def test_follow_the_target_and_the_user(self) -> None:
        cpu = replace(load_target("cpu"), cores=4)
        assert OpenVino().default_options(cpu) == {
            "precision": "fp32",
            "intra_op_threads": 4,
            "cache": "float32",
        }
        assert OpenVino().default_options(cpu, threads=3)["intra_op_threads"] == 3

    def test_variants_leave_alone_what_the_user_fixed(self) -> None:
        options = {"precision": "bf16", "intra_op_threads": 4}
        assert OpenVino().variants(options, load_target("cpu")) == [
            {"precision": "bf16", "intra_op_threads": 1}
        ]
        assert OpenVino().variants(options, load_target("cpu"), 4) == []

    def test_floats_are_fp32_unless_bf16_is_asked_for(self, tmp_path: Path) -> None:
        import openvino

        if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            pytest.skip("this processor has no bf16")
        (wanted,) = ReferenceEvaluator(classifier()).run(None, {"x": samples(8)})
        errors = {}
        for precision in ("fp32", "bf16"):
            artifact = compiled(classifier(), tmp_path, precision=precision)
            with OpenVino().open(artifact) as session:
                errors[precision] = np.abs(session.run({"x": samples(8)})[0] - wanted).max()
        assert errors["fp32"] < 1e-5 < errors["bf16"] < 0.1

    def test_an_unknown_precision_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match="bf15"):
            compiled(classifier(), tmp_path, precision="bf15")
        assert list(tmp_path.iterdir()) == []


def test_without_the_package_the_command_is_told(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['openvino'] = None\n"
        "from pathlib import Path\n"
        "from compress.backends.openvino import OpenVino\n"
        "from tests.graphs import classifier\n"
        f"OpenVino().compile(classifier(), Path({str(tmp_path)!r}), {{}})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "UnavailableError" in done.stderr
    assert "pip install -e '.[openvino]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_torch_is_not_needed(tmp_path: Path) -> None:
    artifact = compiled(classifier(), tmp_path)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from compress.backends.base import Artifact\n"
        "from compress.backends.openvino import OpenVino\n"
        f"OpenVino().open(Artifact(Path({str(artifact.path)!r}), '', 0, 'openvino', {{}}))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
