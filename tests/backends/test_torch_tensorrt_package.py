"""Torch-TensorRT's real package, where it is installed: its signatures, and its own partitioner.

Partition only: no engine is built or run by any of this. ``tensorrt_stub/install.sh`` puts the package where a machine
without a GPU finds it, with TensorRT's libraries stood in for; what CUDA is asked while it loads is answered below.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from compress.backends.torch_tensorrt import TorchTensorRtOptions
from compress.backends.torch_tensorrt_partition import Left, partition
from compress.backends.torch_tensorrt_program import compile_arguments
from compress.errors import NetworkError, UnavailableError, UsageError
from compress.lint import lint
from compress.target.target import load_target
from tests.backends.standin_torch_tensorrt import SIGNATURES
from tests.graphs import classifier

SPEC = find_spec("torch_tensorrt")
pytestmark = pytest.mark.skipif(
    SPEC is None, reason="Torch-TensorRT is not installed; see tests/backends/tensorrt_stub/install.sh"
)
REFERENCES = Path(__file__).parents[2] / "references"


def tree(path: str) -> ast.Module:
    assert SPEC is not None
    assert SPEC.origin is not None
    return ast.parse((Path(SPEC.origin).parent / path).read_text())


def arguments_in(path: str, name: str) -> dict[str, str]:
    function = next(
        node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef) and node.name == name
    )
    found = dict.fromkeys((each.arg for each in function.args.args), "POSITIONAL_OR_KEYWORD")
    found |= dict.fromkeys((each.arg for each in function.args.kwonlyargs), "KEYWORD_ONLY")
    return found | ({function.args.kwarg.arg: "VAR_KEYWORD"} if function.args.kwarg else {})


class TestSources:
    """The names that the stand-in has are those of the wheel's sources, which are read and not imported."""

    @pytest.fixture(autouse=True)
    def _release(self) -> None:
        if SPEC is not None and version("torch-tensorrt") != SIGNATURES["release"]:
            pytest.skip(
                f"Torch-TensorRT {version('torch-tensorrt')}, and the signatures are of another release"
            )

    @pytest.mark.parametrize(
        "path, name",
        [("dynamo/_compiler.py", "compile"), ("_compile.py", "save"), ("_compile.py", "load")],
    )
    def test_arguments(self, path: str, name: str) -> None:
        assert arguments_in(path, name) == SIGNATURES[name]

    def test_settings(self) -> None:
        settings = next(
            node
            for node in ast.walk(tree("dynamo/_settings.py"))
            if isinstance(node, ast.ClassDef) and node.name == "CompilationSettings"
        )
        names = [each.target.id for each in settings.body if isinstance(each, ast.AnnAssign)]
        assert names == SIGNATURES["CompilationSettings"]


@pytest.fixture(scope="module")
def package() -> Iterator[Any]:
    """The imported package; without a GPU its questions to CUDA are answered as an H100 would."""
    from compress.backends import torch_tensorrt_program

    with pytest.MonkeyPatch.context() as patch:
        if not torch.cuda.is_available():
            patch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
            patch.setattr(torch.cuda, "current_device", lambda: 0)
            patch.setattr(torch._C, "_CudaDeviceProperties", object, raising=False)
        try:
            module = torch_tensorrt_program.package()
        except UnavailableError as error:
            pytest.skip(f"Torch-TensorRT is installed and does not load: {error.found}")
        if not torch.cuda.is_available():
            # What stays in PyTorch is moved to the GPU at the end of a dry run, too.
            import torch_tensorrt.dynamo._compiler as compiler

            patch.setattr(compiler, "to_torch_device", lambda _: torch.device("cpu"))
        yield module


class TestPartitionOnly:
    def test_a_convolutional_network_is_one_engine(self, package: Any) -> None:
        found = partition(classifier())
        assert found.in_torch == ()
        assert len(found.engines) == 1
        assert found.operators == found.supported == found.engines[0]

    def test_operators_that_are_named_stay_and_say_so(self, package: Any) -> None:
        options = {"arguments": {"torch_executed_ops": ["torch.ops.aten.relu.default"], "min_block_size": 1}}
        found = partition(classifier(), options)
        assert found.in_torch == (Left("torch.ops.aten.relu.default", 2, "torch_executed_ops names it"),)
        assert len(found.engines) == 3

    def test_small_blocks_stay_and_say_so(self, package: Any) -> None:
        options = {"arguments": {"torch_executed_ops": ["torch.ops.aten.relu.default"], "min_block_size": 2}}
        reasons = {left.operator: left.reason for left in partition(classifier(), options).in_torch}
        assert "min_block_size = 2" in reasons["torch.ops.aten.convolution.default"]

    @pytest.mark.parametrize("precision", ["fp16", "bf16"])
    def test_half_precision_is_divided_too(self, package: Any, precision: str) -> None:
        assert partition(classifier(), {"precision": precision}).engines

    def test_an_operator_without_a_converter(self, package: Any) -> None:
        graph = helper.make_graph(
            [helper.make_node("Mish", ["x"], ["m"], "mish"), helper.make_node("Det", ["m"], ["y"], "det")],
            "unsupported",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        with pytest.raises(NetworkError, match=r"Det.*back end tensorrt"):
            partition(model)

    def test_a_gru_is_one_engine(self, package: Any) -> None:
        """Its splits would each end an engine, had they not been written as operators with a converter."""
        random = torch.Generator().manual_seed(0)
        weights = {"w": (1, 12, 3), "r": (1, 12, 4), "b": (1, 24)}
        graph = helper.make_graph(
            [
                helper.make_node(
                    "GRU", ["x", "w", "r", "b"], ["y"], "gru", hidden_size=4, linear_before_reset=1
                )
            ],
            "gru",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 1, 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 1, 1, 4])],
            [
                onnx.numpy_helper.from_array(torch.randn(shape, generator=random).numpy(), name)
                for name, shape in weights.items()
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        found = partition(model)
        assert (len(found.engines), found.in_torch) == (1, ())

    def test_the_installed_signature_refuses_what_it_would_swallow(self, package: Any) -> None:
        settings = TorchTensorRtOptions(batch_sizes=[1], arguments={"enabled_precisons": ["fp16"]})
        with pytest.raises(UsageError, match="enabled_precisons"):
            compile_arguments(settings)

    def test_lint_says_that_no_engine_was_built(self, package: Any) -> None:
        findings = lint(classifier(), load_target("h100").for_backend("torch-tensorrt"))
        assert [each.severity for each in findings] == ["note"]
        assert "partition only" in findings[0].source

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "name, operators", [("resnet20", 52), ("vit", 242), ("mobilenet", 56), ("gru", 2146)]
    )
    def test_the_reference_networks_are_one_engine_each(
        self, package: Any, name: str, operators: int
    ) -> None:
        if not (path := REFERENCES / f"{name}.onnx").exists():
            pytest.skip("the reference networks are not here: python -m benchmarks run train makes them")
        found = partition(onnx.load(path))
        assert (found.engines, found.in_torch) == ((operators,), ())
