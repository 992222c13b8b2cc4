"""Profiles of shapes, CUDA graphs and kept memory in ONNX Runtime: option strings against the real provider libraries'.

The session is a stand-in on the processor, whose memory is bound as a GPU's is; the strings are the GPU's.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from compress.backends import bound_calls
from compress.backends.base import Artifact
from compress.backends.bound_calls import BoundCalls
from compress.backends.engine_cache import engine_cache_options
from compress.backends.gpu_sessions import gpu_variants, provider_options, shapes_of_target
from compress.backends.onnxruntime import DEFAULTS, OnnxRuntime, OnnxRuntimeOptions
from compress.backends.providers import CPU, CUDA, TENSORRT, chain
from compress.core.tensor_spec import TensorSpec
from compress.errors import CompressError, DataError, NetworkError, RecipeError, UsageError
from compress.hosts.local import LocalHost
from compress.machine.machine import Gpu
from compress.target.shape_ranges import ShapeRange
from compress.target.target import Target, load_target
from tests.graphs import classifier, samples

IMAGES = TensorSpec("x", "float32", ("batch", 3, 8, 8))
TOKENS = TensorSpec("ids", "int64", ("batch", "length"))
LENGTHS = ShapeRange((1, 4), (1, 16), (1, 64), 0)
REAL = Path(__file__).with_name("onnxruntime_gpu_options")


def options(provider: str, *inputs: TensorSpec, **more: Any) -> dict[str, str]:
    return provider_options(OnnxRuntimeOptions.read({"provider": provider, **more}), inputs or (IMAGES,))


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Target:
    """A target with a GPU, as one that is detected has it."""
    return replace(
        load_target("cpu"), provider=CUDA, further_providers={TENSORRT: ("fp32", "fp16")}, batch_sizes=(1, 8)
    )


def test_a_profile_takes_every_size_of_the_target_and_is_best_at_the_one_that_decides() -> None:
    assert options(TENSORRT, shape_profile=True, batch_sizes=[1, 64]) == {
        "trt_profile_min_shapes": "x:1x3x8x8",
        "trt_profile_opt_shapes": "x:1x3x8x8",
        "trt_profile_max_shapes": "x:64x3x8x8",
    }
    lengths = {"ids": LENGTHS.to_dict()}
    assert options(TENSORRT, TOKENS, shape_profile=True, batch_sizes=[2, 4], input_shapes=lengths) == {
        "trt_profile_min_shapes": "ids:1x4",
        "trt_profile_opt_shapes": "ids:2x16",
        "trt_profile_max_shapes": "ids:4x64",
    }
    fixed = TensorSpec("x", "float32", (1, 3, 8, 8))
    assert options(TENSORRT, fixed, shape_profile=True) == {}


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_every_option_is_one_of_the_real_provider_library(provider: str) -> None:
    names = set((REAL / f"1.26.0_{provider}.txt").read_text().split())
    told = dict(chain(provider, 1, "int8")[0][1])
    told |= options(provider, cuda_graph=True, batch_sizes=[4], shape_profile=provider == TENSORRT)
    assert set(told) <= names
    assert told["enable_cuda_graph" if provider == CUDA else "trt_cuda_graph_enable"] == "1"


@pytest.mark.parametrize(
    "provider, inputs, more, reason",
    [
        (CPU, [IMAGES], {"io_binding": True}, "io_binding is possible; found the provider cpu"),
        (CPU, [IMAGES], {"cuda_graph": True}, "runs on no NVIDIA GPU"),
        (CUDA, [IMAGES], {"shape_profile": True}, "TensorRT alone builds engines"),
        (TENSORRT, [IMAGES], {"cuda_graph": True, "batch_sizes": [1, 8]}, "batches of 1, 8 samples"),
        (CUDA, [TOKENS], {"cuda_graph": True}, r"whose shape is open: ids"),
        (
            CUDA,
            [TOKENS],
            {"cuda_graph": True, "input_shapes": {"ids": LENGTHS.to_dict()}},
            "vary: 1x4 to 1x64",
        ),
    ],
)
def test_what_is_not_possible_is_refused_with_the_reason(
    provider: str, inputs: list[TensorSpec], more: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RecipeError, match=reason):
        options(provider, *inputs, **more)


def test_a_profile_of_sizes_that_nobody_named_is_refused() -> None:
    with pytest.raises(UsageError, match="length"):
        options(TENSORRT, TOKENS, shape_profile=True)


def test_a_recording_for_each_batch_size_in_cuda_and_one_alone_in_tensorrt(target: Target) -> None:
    def tried(provider: str, target: Target) -> list[set[str]]:
        sets = gpu_variants({"provider": provider}, target)
        assert all(chosen["provider"] == provider for chosen in sets)
        return [set(chosen) - {"provider"} for chosen in sets]

    assert tried(CUDA, target) == [{"io_binding"}, {"cuda_graph"}]
    assert tried(TENSORRT, target) == [{"shape_profile"}, {"shape_profile", "io_binding"}]
    single = replace(target, batch_sizes=(1,))
    assert {"shape_profile", "cuda_graph"} in tried(TENSORRT, single)
    varying = replace(single, input_shapes={"ids": LENGTHS})
    assert not any(
        "cuda_graph" in chosen for provider in (CUDA, TENSORRT) for chosen in tried(provider, varying)
    )


def test_a_target_with_a_gpu_tells_its_shapes_and_no_other_does(target: Target) -> None:
    sized = replace(target, input_shapes={"ids": LENGTHS})
    default_options = OnnxRuntime().default_options(sized)
    assert default_options["batch_sizes"] == [1, 8]
    assert default_options["input_shapes"] == {"ids": LENGTHS.to_dict()}
    assert OnnxRuntimeOptions.read(default_options).to_dict() == default_options
    assert shapes_of_target(load_target("cpu")) == {}


def bound(session: Any, **more: Any) -> BoundCalls:
    specs = [
        [TensorSpec(value.name, "float32", tuple(value.shape)) for value in values]
        for values in (session.get_inputs(), session.get_outputs())
    ]
    return BoundCalls(session, *specs, device="cpu", **more)


@pytest.fixture
def session() -> Any:
    return onnxruntime.InferenceSession(classifier().SerializeToString(), providers=[CPU])


@pytest.mark.parametrize("graph", [False, True])
def test_bound_calls_answer_as_the_session_does_for_each_shape_and_each_value(
    session: Any, graph: bool
) -> None:
    calls = bound(session, graph=graph)
    for count in (2, 3, 2):
        for seed in (0, 1):
            feeds = {"x": samples(count) + seed}
            (expected,) = session.run(None, feeds)
            (answer,) = calls.run(feeds)
            np.testing.assert_allclose(answer, expected, rtol=1e-6)
    with pytest.raises(DataError, match="float32"):
        calls.run({"x": samples(2).astype(np.float64)})
    with pytest.raises(DataError, match="inputs named"):
        calls.run({"y": samples(2)})


def test_each_shape_has_a_recording_of_its_own_and_those_beyond_the_room_have_none(
    session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[str] = []

    class Recorded(onnxruntime.RunOptions):  # type: ignore[misc]
        def add_run_config_entry(self, name: str, value: str) -> None:
            assert name == "gpu_graph_id"
            numbers.append(value)

    monkeypatch.setattr(onnxruntime, "RunOptions", Recorded)
    monkeypatch.setattr(bound_calls, "MOST_SHAPES", 2)
    calls = bound(session, graph=True)
    for count in (1, 2, 1, 3, 3):
        assert len(calls.run({"x": samples(count)})[0]) == count
    assert numbers == ["1", "2", "-1", "-1"]


def test_where_one_shape_is_recorded_another_is_refused(session: Any) -> None:
    calls = bound(session, graph=True, one_shape=True)
    calls.run({"x": samples(2)})
    with pytest.raises(DataError, match="recorded shape x:2x"):
        calls.run({"x": samples(3)})


def test_a_recording_of_an_output_of_unknown_size_is_refused(session: Any) -> None:
    output = TensorSpec("y", "float32", ("found", 4))
    inputs = [TensorSpec("x", "float32", tuple(session.get_inputs()[0].shape))]
    calls = BoundCalls(session, inputs, [output], device="cpu", graph=True)
    with pytest.raises(NetworkError, match="found"):
        calls.run({"x": samples(2)})


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Sessions on a GPU that run on the processor; what each was asked for is kept."""
    asked: list[Any] = []
    real = onnxruntime.InferenceSession

    def session(path: str, settings: Any, providers: Any, **more: Any) -> Any:
        asked.append(providers)
        return real(path, settings, providers=[CPU], **more)

    class OnProcessor(BoundCalls):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **{**more, "device": "cpu"})

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr("compress.backends.onnxruntime.check_taken", lambda *_: None)
    monkeypatch.setattr("compress.backends.onnxruntime.BoundCalls", OnProcessor)
    return asked


def test_a_session_is_opened_with_them_and_runs(standin: list[Any], tmp_path: Path) -> None:
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    with OnnxRuntime().open(artifact) as plain:
        expected = plain.run({"x": samples(2)})[0]
    for provider, more, name in (
        (CUDA, {"cuda_graph": True, "batch_sizes": [2]}, "enable_cuda_graph"),
        (TENSORRT, {"shape_profile": True, "batch_sizes": [2]}, "trt_profile_opt_shapes"),
        (TENSORRT, {"cuda_graph": True, "batch_sizes": [2]}, "trt_cuda_graph_enable"),
        (CUDA, {"io_binding": True}, None),
    ):
        chosen = replace(artifact, options={**DEFAULTS, "provider": provider, **more})
        with OnnxRuntime().open(chosen) as opened:
            np.testing.assert_allclose(opened.run({"x": samples(2)})[0], expected, rtol=1e-6)
            np.testing.assert_allclose(opened.prepared({"x": samples(2)})()[0], expected, rtol=1e-6)
        assert name is None or name in standin[-1][0][1]


def test_engines_for_other_shapes_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("compress.backends.engine_cache._gpu", lambda: Gpu("NVIDIA L4", "8.9", 24.0, "570"))
    path = tmp_path / "model.onnx"
    path.write_bytes(b"graph")
    places = {
        engine_cache_options(path, told)["trt_engine_cache_path"]
        for told in (
            {},
            {"trt_profile_max_shapes": "x:8"},
            {"trt_profile_max_shapes": "x:9"},
            {"trt_fp16_enable": "1"},
        )
    }
    assert len(places) == 3


def test_options_that_the_graph_does_not_take_are_left_out_of_the_comparison(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Artifact] = []
    compared: list[Artifact] = []

    def opens(artifact: Artifact, feeds: Any = None) -> None:
        opened.append(artifact)
        if artifact.options["cuda_graph"]:
            raise NetworkError("a graph that is recorded", "a node stays on the processor", "leave it")

    def compare(artifacts: list[Artifact], _: Any) -> Any:
        compared.extend(artifacts)
        raise CompressError("a comparison", "enough was seen", "end")

    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    chosen = replace(artifact, options={**DEFAULTS, "provider": CUDA})
    monkeypatch.setattr("compress.hosts.local.open_elsewhere", opens)
    monkeypatch.setattr("compress.hosts.local.compare", compare)
    host = LocalHost(OnnxRuntime())
    monkeypatch.setattr(host, "_feeds_of", lambda *_: {1: {"x": samples(1)}, 8: {"x": samples(8)}})
    with pytest.raises(CompressError, match="enough"):
        host.tune(chosen, None, target, None, known=None)  # type: ignore[arg-type]
    assert [each.options["io_binding"] for each in compared] == [False, True]
    assert not any(each.options["cuda_graph"] for each in compared)
    assert len(opened) >= 3
