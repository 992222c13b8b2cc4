"""Torch-TensorRT's back end on a stand-in for the package: what it shows is our side alone, on the processor."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from compress.backends import load_backend
from compress.backends.base import Backend
from compress.backends.torch_tensorrt import TorchTensorRt, TorchTensorRtOptions
from compress.backends.torch_tensorrt_arguments import check_arguments
from compress.backends.torch_tensorrt_partition import Left, partition, read_report
from compress.backends.torch_tensorrt_program import compile_arguments, exported, load
from compress.core.tensor_spec import TensorSpec
from compress.errors import (
    BundleError,
    DataError,
    InternalError,
    NetworkError,
    RecipeError,
    UnavailableError,
    UsageError,
)
from compress.lint import lint
from compress.machine.figures import cuda_figures
from compress.machine.machine import Gpu
from compress.onnx_graph.fold import prepare
from compress.quantization import Settings, quantize_static
from compress.search.backends import competing_backends
from compress.search.limits import Limits
from compress.search.run_directory import RunDirectory
from compress.target.shape_ranges import ShapeRange
from compress.target.target import TENSORRT_FLAVOUR, FurtherBackend, load_target
from compress.testing.backends import Conformance
from tests.backends.standin_torch_tensorrt import REPORT, SIGNATURES, StandIn, install
from tests.graphs import classifier, samples
from tests.records import run_key
from tests.searches import most, propose


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return install(monkeypatch, tmp_path_factory.mktemp("cache"))


@pytest.mark.usefixtures("package")
class TestConformance(Conformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return TorchTensorRt()

    @pytest.mark.parametrize("steps", [5])
    def test_the_axis_of_the_samples_keeps_its_place(
        self, backend: Backend, tmp_path: Path, steps: int | str
    ) -> None:
        super().test_the_axis_of_the_samples_keeps_its_place(backend, tmp_path, steps)
        with pytest.raises(NetworkError, match="one size"):  # an engine is for one size beside the batch
            super().test_the_axis_of_the_samples_keeps_its_place(backend, tmp_path, "steps")


def quantized() -> onnx.ModelProto:
    model, _ = quantize_static(prepare(classifier()), [{"x": samples(8)}], TENSORRT_FLAVOUR, Settings())
    return model


class TestBuilding:
    def test_one_engine_for_each_batch_size(self, package: StandIn, tmp_path: Path) -> None:
        artifact = TorchTensorRt().compile(classifier(), tmp_path, {"batch_sizes": [8, 1]})
        batches = [arguments["arg_inputs"][0].shape[0] for arguments in package.compilations]
        assert batches == [1, 8]
        with TorchTensorRt().open(artifact) as session:
            assert len(session.run({"x": samples(20)})[0]) == 20
        assert len(package.compilations) == 2  # both were found in the cache

    def test_what_is_in_the_cache_is_of_one_graph_and_its_settings(
        self, package: StandIn, tmp_path: Path
    ) -> None:
        for number, options in enumerate(
            ({}, {"precision": "fp16"}, {"arguments": {"optimization_level": 5}})
        ):
            directory = tmp_path / str(number)
            directory.mkdir()
            TorchTensorRt().compile(classifier(), directory, {"batch_sizes": [1], **options})
            assert len(package.compilations) == number + 1
        TorchTensorRt().compile(classifier(seed=1), tmp_path, {"batch_sizes": [1]})
        assert len(package.compilations) == 4

    def test_a_damaged_cache_is_built_again(self, package: StandIn, tmp_path: Path) -> None:
        artifact = TorchTensorRt().compile(classifier(), tmp_path, {"batch_sizes": [1]})
        (kept,) = _kept()
        kept.write_bytes(b"damaged")
        with pytest.raises(BundleError, match="build it again"):
            load(kept)
        with TorchTensorRt().open(artifact) as session:
            session.run({"x": samples(1)})
        assert len(package.compilations) == 2

    def test_what_another_user_wrote_is_not_loaded(
        self, package: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        artifact = TorchTensorRt().compile(classifier(), tmp_path, {"batch_sizes": [1]})
        monkeypatch.setattr("os.getuid", lambda: -1)
        with TorchTensorRt().open(artifact) as session:
            session.run({"x": samples(1)})
        assert package.loads == 0
        assert len(package.compilations) == 2

    def test_a_fixed_batch_is_one_engine(self, package: StandIn, tmp_path: Path) -> None:
        artifact = TorchTensorRt().compile(classifier(batch=3), tmp_path, {})
        assert len(package.compilations) == 1
        with TorchTensorRt().open(artifact) as session:
            assert session.run({"x": samples(3)})[0].shape == (3, 4)

    @pytest.mark.parametrize("precision, dtype", [("fp16", torch.float16), ("bf16", torch.bfloat16)])
    def test_half_precision_is_the_packages_own(
        self, package: StandIn, tmp_path: Path, precision: str, dtype: torch.dtype
    ) -> None:
        TorchTensorRt().compile(classifier(), tmp_path, {"precision": precision, "batch_sizes": [1]})
        (arguments,) = package.compilations
        assert arguments["enable_autocast"] is True
        assert arguments["autocast_low_precision_type"] is dtype

    def test_a_quantized_network_is_sent_to_tensorrt(self, package: StandIn, tmp_path: Path) -> None:
        with pytest.raises(NetworkError, match=r"antizeLinear.*back end tensorrt"):
            TorchTensorRt().compile(quantized(), tmp_path, {})
        assert list(tmp_path.iterdir()) == []

    def test_axes_besides_the_batch_are_refused(self, package: StandIn, tmp_path: Path) -> None:
        with pytest.raises(NetworkError, match="time"):
            TorchTensorRt().compile(_relu(["batch", "time"]), tmp_path, {})

    def test_other_open_axes_are_built_for_the_one_size_that_is_known(
        self, package: StandIn, tmp_path: Path
    ) -> None:
        backend, model = TorchTensorRt(), _relu(["batch", "time"])
        ranges = {"x": ShapeRange((1, 5), (1, 5), (8, 5), 0)}
        target = replace(load_target("h100-sxm"), input_shapes=ranges)
        options = backend.default_options(target)
        assert options["shapes"] == {"x": [1, 5]}
        artifact = backend.compile(model, tmp_path, options)
        assert [each["arg_inputs"][0].shape for each in package.compilations] == [(1, 5), (64, 5)]
        with backend.open(artifact) as session:
            assert session.inputs[0].shape == ("batch", "time")
            assert session.run({"x": np.ones((3, 5), np.float32)})[0].shape == (3, 5)
            with pytest.raises(DataError):
                session.run({"x": np.ones((3, 6), np.float32)})
        several = replace(target, input_shapes={"x": ShapeRange((1, 5), (1, 5), (8, 6), 0)})
        with pytest.raises(NetworkError, match="back end tensorrt"):
            backend.compile(model, tmp_path, backend.default_options(several))

    @pytest.mark.parametrize("options", [{"precision": "int8"}, {"batch_sizes": []}, {"batch_sizes": [0]}])
    def test_settings_that_there_are_not(
        self, package: StandIn, tmp_path: Path, options: dict[str, object]
    ) -> None:
        with pytest.raises(RecipeError, match="wanted"):
            TorchTensorRt().compile(classifier(), tmp_path, options)


def _relu(shape: list[str | int]) -> onnx.ModelProto:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "open", infos[:1], infos[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _kept() -> list[Path]:
    import os

    return list((Path(os.environ["XDG_CACHE_HOME"]) / "compress" / "torch-tensorrt").glob("*.pt2"))


def test_constants_that_shape_a_graph_are_followed_through_the_export() -> None:
    """Reshape by a computed shape, Clip by constants: read in Python, they must not become operations."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], "shape", start=0, end=1),
        helper.make_node("Concat", ["s", "rest"], ["shape_of_y"], "concat", axis=0),
        helper.make_node("Clip", ["x", "low", "high"], ["c"], "clip"),
        helper.make_node("Reshape", ["c", "shape_of_y"], ["y"], "reshape"),
    ]
    constants = {"rest": np.array([2, 3]), "low": np.float32(-1), "high": np.float32(1)}
    graph = helper.make_graph(
        nodes,
        "shaped",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2, 3])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    program, _ = exported(model, [TensorSpec("x", "float32", ("batch", 6))], 4)
    x = torch.linspace(-2, 2, 24).reshape(4, 6)
    (found,) = program.module()(x)
    torch.testing.assert_close(found, x.clamp(-1, 1).reshape(4, 2, 3))


class TestArguments:
    def test_one_that_would_be_swallowed_is_named_with_the_closest(self, package: StandIn) -> None:
        package.dynamo.compile(_Program(), enabled_precisons={"fp16"})  # as the real one: not a word
        settings = TorchTensorRtOptions(arguments={"min_blok_size": 3})
        with pytest.raises(UsageError, match=r"2\.13\.0.*'min_blok_size'.*did you mean min_block_size"):
            compile_arguments(settings)

    def test_one_that_has_no_effect_is_refused(self, package: StandIn) -> None:
        with pytest.raises(UsageError, match=r"use_python_runtime.*does not use"):
            compile_arguments(TorchTensorRtOptions(arguments={"use_python_runtime": True}))

    @pytest.mark.parametrize("name", ["dryrun", "device", "enable_autocast"])
    def test_those_that_the_session_sets_are_not_the_users(self, package: StandIn, name: str) -> None:
        with pytest.raises(UsageError, match=name):
            compile_arguments(TorchTensorRtOptions(arguments={name: True}))

    def test_known_ones_are_passed_on(self, package: StandIn) -> None:
        arguments = {"min_block_size": 3, "optimization_level": 5, "torch_executed_ops": ["a"]}
        assert compile_arguments(TorchTensorRtOptions(arguments=arguments)) == arguments

    def test_a_release_without_autocast_is_told(self, package: StandIn) -> None:
        def older(
            exported_program: object, inputs: object = None, *, arg_inputs: object = None, **kwargs: object
        ):
            return exported_program

        older.__name__ = "compile"
        package.dynamo.compile = older
        package.__version__ = "2.8.0"
        assert compile_arguments(TorchTensorRtOptions()) == {}
        with pytest.raises(UsageError, match=r"2\.8\.0.*enable_autocast"):
            compile_arguments(TorchTensorRtOptions(precision="fp16"))

    def test_var_keywords_do_not_count(self) -> None:
        def swallows(known: int = 0, **kwargs: int) -> None: ...

        check_arguments(["known"], swallows)
        with pytest.raises(UsageError, match="'kwargs'"):
            check_arguments(["kwargs"], swallows)

    def test_what_we_pass_is_in_the_wheels_signatures(self) -> None:
        assert {"arg_inputs", "enable_autocast", "autocast_low_precision_type"} <= set(SIGNATURES["compile"])
        assert {"offload_module_to_cpu", "dryrun"} <= set(SIGNATURES["CompilationSettings"])
        assert {"output_format", "arg_inputs"} <= set(SIGNATURES["save"])


class _Program:
    def module(self) -> None:
        return


class TestPartition:
    def test_reasons(self) -> None:
        found = read_report(REPORT, "2.13.0", ("torch.ops.aten.relu.default",), 3)
        assert (found.operators, found.supported, found.engines) == (12, 9, (5, 3))
        assert found.in_torch == (
            Left(
                "torch.ops.aten.add.Tensor", 1, "fewer than min_block_size = 3 operators lie together there"
            ),
            Left("torch.ops.aten.relu.default", 1, "torch_executed_ops names it"),
            Left("torch.ops.aten.unsafe_split.Tensor", 1, "it has no converter for it"),
        )

    def test_another_text_is_not_taken_for_a_report(self) -> None:
        with pytest.raises(InternalError, match=r"2\.14"):
            read_report("Dry run", "2.14", (), 5)

    def test_nothing_is_built(self, package: StandIn) -> None:
        partition(classifier())
        (arguments,) = package.compilations
        assert isinstance(arguments["dryrun"], str)
        assert not Path(arguments["dryrun"]).exists()

    def test_lint_tells_it(self, package: StandIn) -> None:
        findings = lint(classifier(), load_target("h100").for_backend("torch-tensorrt"))
        assert [each.severity for each in findings] == ["warning"] * 3 + ["note"]
        assert "unsafe_split.Tensor stay in PyTorch: it has no converter" in findings[2].message
        assert "8 of 12 operators go into 2 engines" in findings[3].message
        assert all("partition only, no engine was built" in each.source for each in findings)

    def test_lint_refuses_a_quantized_network(self) -> None:
        (finding,) = lint(quantized(), load_target("h100").for_backend("torch-tensorrt"))
        assert (finding.severity, finding.rule) == ("error", "not-supported")
        assert "back end tensorrt reads them" in finding.message


class TestWhereItIsMissing:
    @pytest.fixture(autouse=True)
    def _without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torch_tensorrt", None)

    def test_without_a_gpu_it_says_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(UnavailableError, match=r"GPU.*pip install -e '.\[torch-tensorrt\]'"):
            TorchTensorRt().compile(classifier(), tmp_path, {})

    def test_without_the_package_it_says_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        with pytest.raises(UnavailableError, match=r"pip install -e .*\[torch-tensorrt\]"):
            TorchTensorRt().compile(classifier(), tmp_path, {})

    def test_lint_says_that_it_was_not_checked(self) -> None:
        (finding,) = lint(classifier(), load_target("h100").for_backend("torch-tensorrt"))
        assert (finding.severity, finding.rule) == ("note", "partition")
        assert "not checked" in finding.message


class TestCompetition:
    def test_datacenter_gpus_and_thor_name_it_without_int8(self) -> None:
        for name in ("h100", "a10", "b200-hgx", "jetson-thor"):
            assert "int8" not in load_target(name).for_backend("torch-tensorrt").precisions
        assert "torch-tensorrt" not in load_target("jetson").further_backends  # no wheel for Orin since 2.8

    def test_its_floats_are_proposed_and_no_int8(self, tmp_path: Path) -> None:
        further = {"torch-tensorrt": FurtherBackend(("fp32", "fp16", "bf16"))}
        target = replace(load_target("cpu"), further_backends=further)
        with RunDirectory(tmp_path / "run", run_key()) as history:
            proposed = list(propose(target, Limits(), history, backends=["torch-tensorrt"]))
        assert [recipe.name for recipe in proposed] == [
            "fp32",
            "fp32-torch-tensorrt",
            "fp16-torch-tensorrt",
            "bf16-torch-tensorrt",
        ]
        assert [recipe.session for recipe in proposed[2:]] == [{"precision": "fp16"}, {"precision": "bf16"}]
        assert most(target, (), ("torch-tensorrt",)) == 4

    def test_it_does_not_run_on_another_machine(self) -> None:
        with pytest.raises(UnavailableError, match="another machine"):
            competing_backends(load_target("h100"), ["torch-tensorrt"])

    def test_this_machines_gpu_has_it_compete_where_it_is_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = {
            "family": "datacenter",
            "compute_capability": "9.0",
            "memory_gb": 80,
            "bandwidth_gb_s": 1,
            "peaks": {"fp32_tflops": 1, "bf16_tflops": 1},
        }
        gpu = Gpu("NVIDIA H100", "9.0", "570", 80.0)
        further = cuda_figures(gpu, 80.0, {"h100": table})["further_backends"]
        assert further == {"torch-tensorrt": {"precisions": ("fp32", "fp16", "bf16")}}
        target = replace(
            load_target("cpu"), further_backends={"torch-tensorrt": FurtherBackend(("fp32", "fp16"))}
        )
        assert "pip install -e '.[torch-tensorrt]'" in competing_backends(target).notes[0]
        monkeypatch.setattr("compress.backends.torch_tensorrt.TorchTensorRt.installed", lambda _: True)
        assert "torch-tensorrt" in competing_backends(target).names

    def test_it_is_not_installed_without_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("compress.backends.base.find_spec", lambda _: object())
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert not load_backend("torch-tensorrt").installed()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert load_backend("torch-tensorrt").installed()
