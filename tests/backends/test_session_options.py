"""Session options are read into each back end's own record, by name, and wrong values are refused in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compress.backends import load_backend, session_options_of, sleeping
from compress.backends.base import Artifact
from compress.backends.onnxruntime import OnnxRuntimeOptions
from compress.backends.session_options import SessionOptions
from compress.backends.trtexec import TensorRtOptions
from compress.errors import RecipeError
from compress.recipe import Recipe
from compress.search.backends import check_sessions
from compress.target.target import load_target

JSON = {
    "onnxruntime": {
        "provider": "CPUExecutionProvider",
        "intra_op_threads": 0,
        "spinning": True,
        "arena": True,
        "qdq_fusion": True,
        "io_binding": False,
        "cuda_graph": False,
        "shape_profile": False,
    },
    "openvino": {"precision": "fp32", "intra_op_threads": 1, "cache": "float32"},
    "tensorrt": {"dla_core": None, "builds": 3, "cuda_graph": True},
    "torch-tensorrt": {"precision": "fp32", "batch_sizes": [1, 8], "shapes": {}, "arguments": {}},
}


@pytest.mark.parametrize("backend", JSON)
def test_what_manifests_hold_is_the_record_by_name(backend: str) -> None:
    kind = load_backend(backend).session_options
    assert kind().to_dict() == kind.read({}).to_dict() == kind.read(JSON[backend]).to_dict() == JSON[backend]
    assert list(kind().to_dict()) == list(JSON[backend])


def test_an_artifact_is_asked_by_name_whatever_runs_it() -> None:
    def of(backend: str, **options: Any) -> SessionOptions:
        return session_options_of(Artifact(Path("model.onnx"), "", 0, backend, options))

    assert of("tensorrt", dla_core=1).dla_core == 1
    assert of("onnxruntime", intra_op_threads=3).intra_op_threads == 3
    assert of("onnxruntime").dla_core is None
    assert (of("openvino", precision="bf16").precision, of("onnxruntime").precision) == ("bf16", None)
    assert (of("openvino").provider, of("onnxruntime").provider) == (None, "CPUExecutionProvider")


def test_what_follows_from_the_graph_or_a_comparison_is_stored_only_where_it_is_there() -> None:
    bound = OnnxRuntimeOptions.read({"affinity": [0, 1]})
    assert bound.to_dict() == {**JSON["onnxruntime"], "affinity": [0, 1]}
    assert TensorRtOptions(sparse_2_4=True).to_dict() == {**JSON["tensorrt"], "sparse_2_4": True}


def test_an_option_of_another_back_end_or_of_an_earlier_version_is_passed_over() -> None:
    assert OnnxRuntimeOptions.read({"dla_core": 0, "no_longer": 1, "arena": False}) == OnnxRuntimeOptions(
        arena=False, dla_core=0
    )


@pytest.mark.parametrize(
    ("session", "wanted"),
    [
        ({"intra_op_threads": "two"}, "intra_op_threads as a whole number from 0 to 1024; found 'two'"),
        ({"intra_op_threads": -1}, "intra_op_threads from 0 to 1024; found -1"),
        ({"spinning": 1}, "spinning as True or False; found 1"),
    ],
)
def test_a_recipe_with_a_wrong_value_is_refused_before_any_build(
    session: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(RecipeError, match=wanted):
        check_sessions([Recipe("x", session=session)], load_target("cpu"))


@pytest.mark.parametrize(
    ("backend", "session", "wanted"),
    [
        ("openvino", {"precision": "int3"}, "precision one of fp32, bf16; found 'int3'"),
        ("tensorrt", {"builds": 0}, "builds from 1 to 100; found 0"),
        ("tensorrt", {"dla_core": -1}, "dla_core from 0 to 15; found -1"),
        (
            "torch-tensorrt",
            {"batch_sizes": [0]},
            r"batch_sizes as a list of whole numbers from 1 to 65536; found \[0\]",
        ),
        ("torch-tensorrt", {"batch_sizes": 8}, "batch_sizes as a list, not a text; found 8"),
    ],
)
def test_each_back_end_says_what_its_options_may_be(
    backend: str, session: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(RecipeError, match=wanted):
        load_backend(backend).session_options.read(session)


@pytest.mark.parametrize(
    ("backend", "options", "opened"),
    [
        ("onnxruntime", {}, {"spinning": False}),
        ("onnxruntime", {"spinning": True, "arena": False}, {"spinning": False, "arena": False}),
        ("openvino", {"threads": 1}, {"threads": 1}),
    ],
)
def test_threads_sleep_beside_others_where_the_runtime_has_the_option(
    backend: str, options: dict[str, Any], opened: dict[str, Any]
) -> None:
    artifact = Artifact(Path("model.onnx"), "00", 1, backend, options)
    assert sleeping(artifact).options == opened
    assert artifact.options == options
