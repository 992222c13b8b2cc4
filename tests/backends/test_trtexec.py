"""Options of every release, and what the tool writes. Nothing runs here; tests/hosts run a stand-in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.backends.tensorrt import build_arguments
from compress.backends.trtexec import layer_arguments, output_arguments, timing_arguments
from compress.backends.trtexec_output import (
    call_times,
    coverage_of,
    layer_times,
    layers_of,
    outputs_of,
)
from compress.core.tensor_spec import TensorSpec
from compress.errors import NetworkError, UnavailableError
from compress.records.coverage import Coverage
from compress.target.target import load_target

FLAGS = Path(__file__).parent / "trtexec_options"
RELEASES = ("8.2", "8.5", "8.6", "10.3", "10.7", "10.16", "11.1")
INPUTS = [TensorSpec("x:0", "float32", ("batch", 3, 8, 8))]
LOADED = {"x:0": "input-0.bin"}
SHAPES = {"x:0": (2, 3, 8, 8)}


@pytest.mark.parametrize("release", RELEASES)
def test_every_option_exists_in_its_release(release: str) -> None:
    known = set((FLAGS / f"{release}.txt").read_text().split())
    patch = f"{release}.0"
    target = replace(load_target("jetson"), tensorrt=patch)
    given = [
        *timing_arguments(patch, INPUTS, SHAPES, 1.0, loaded=LOADED),
        *timing_arguments(patch, INPUTS, SHAPES, 1.0, loaded=LOADED, cuda_graph=False),
        *layer_arguments(patch, INPUTS, SHAPES, loaded=LOADED, profile="profile.json"),
        *output_arguments(patch, INPUTS, SHAPES, loaded=LOADED, outputs="outputs.json"),
        *(
            option
            for core in (None, 0)
            for option in build_arguments(target, INPUTS, "int8", workspace_mb=512, dla_core=core)
        ),
    ]
    assert {argument.split("=")[0] for argument in given} <= known


@pytest.mark.parametrize("release", RELEASES)
def test_a_network_on_an_accelerator_is_strongly_typed_only_where_that_is_no_error(release: str) -> None:
    target = replace(load_target("jetson"), tensorrt=f"{release}.0")
    for core, typed in ((None, not release.startswith("8")), (0, release.startswith("11"))):
        given = build_arguments(target, INPUTS, "int8", dla_core=core)
        assert ("--stronglyTyped" in given, {"--int8", "--fp16"} <= set(given)) == (typed, not typed)


def test_times_of_10_and_11_compare() -> None:
    """What each does by default is said: copies are timed, the call is one graph, and the wait spins."""
    new = timing_arguments("11.1.0", INPUTS, SHAPES, 1.0, loaded=LOADED)
    old = timing_arguments("10.3.0", INPUTS, SHAPES, 1.0, loaded=LOADED)
    assert set(new) - set(old) == {"--includeDataTransfers"}
    assert {"--useCudaGraph", "--useSpinWait", "--exposeDMA"} <= set(old)
    assert "--noDataTransfers" not in old
    assert "--noCudaGraph" in timing_arguments("11.1.0", INPUTS, SHAPES, 1.0, loaded=LOADED, cuda_graph=False)


def test_every_open_axis_gets_the_size_of_what_is_fed() -> None:
    inputs = [
        TensorSpec("image", "float32", (1, 3, "height", "width")),
        TensorSpec("ids", "int64", ("batch", "length")),
        TensorSpec("scale", "float32", (1,)),
    ]
    shapes = {"image": (1, 3, 32, 48), "ids": (4, 9), "scale": (1,)}
    for given in (
        timing_arguments("10.3.0", inputs, shapes, 1.0, loaded=LOADED),
        layer_arguments("10.3.0", inputs, shapes, loaded=LOADED, profile="profile.json"),
        output_arguments("10.3.0", inputs, shapes, loaded=LOADED, outputs="outputs.json"),
    ):
        assert "--shapes=image:1x3x32x48,ids:4x9" in given


def test_names_with_a_colon_are_quoted_for_the_tool() -> None:
    given = timing_arguments("10.3.0", INPUTS, SHAPES, 1.0, loaded=LOADED)
    assert "--loadInputs='x:0':input-0.bin" in given


def test_memory_and_accelerator_are_passed_on() -> None:
    given = build_arguments(load_target("jetson"), INPUTS, "int8", workspace_mb=512, dla_core=1)
    assert {"--memPoolSize=workspace:512", "--useDLACore=1", "--allowGPUFallback"} <= set(given)


def test_times_of_calls() -> None:
    entry = {"startEnqMs": 0.1, "h2dMs": 0.1, "computeMs": 1.5, "d2hMs": 0.2, "latencyMs": 1.8}
    whole, kernels = call_times(json.dumps([entry, entry]))
    np.testing.assert_allclose(whole, [1.8, 1.8])
    np.testing.assert_allclose(kernels, [1.5, 1.5])


@pytest.mark.parametrize("text", ["", "[", "[]", '[{"computeMs": 1}]', '[{"latencyMs": 0, "computeMs": 0}]'])
def test_times_that_were_cut_short_are_refused(text: str) -> None:
    with pytest.raises(UnavailableError, match="times of calls"):
        call_times(text)


def layer(name: str, kind: str, form: str) -> dict[str, object]:
    tensor = {"Name": "t", "Location": "Device", "Dimensions": [1, 8], "Format/Datatype": form}
    return {"Name": name, "LayerType": kind, "Inputs": [tensor], "Outputs": [tensor], "TacticName": "a"}


@pytest.mark.parametrize(
    "form, precision",
    [
        ("Int8", "int8"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Half", "fp16"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Float", "fp32"),
        ("Row major linear FP32", "fp32"),
        ("BFloat16", "bf16"),
        ("FP8", "fp8"),
        ("Int32", "int32"),
        ("N/A due to dynamic shapes", "unknown"),
    ],
)
def test_precision_of_a_layer_in_the_words_of_each_release(form: str, precision: str) -> None:
    (found,) = layers_of(json.dumps({"Layers": [layer("conv", "CaskConvolution", form)], "Bindings": []}))
    assert found.precision == precision


@pytest.mark.parametrize(
    ("told", "precision"),
    [
        ({"Weights": {"Type": "Int8"}, "TacticName": "sm80_xmma_fprop_f16f16_f16f16_f16"}, "int8"),
        ({"TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c"}, "int8"),
        ({"TacticName": "turing_int8_i8816cudnn_int8_128x128_ldg16_relu_small_nt_v1"}, "int8"),
        ({"TacticName": "sm86_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc"}, "fp16"),
        ({"TacticName": "ampere_h16816cudnn_128x64_ldg8_relu_interior_nn_v1"}, "fp16"),
        ({"TacticName": "sm80_xmma_gemm_bf16bf16_bf16f32_f32_tn_n"}, "bf16"),
        ({"TacticName": "sm89_xmma_gemm_e4m3e4m3_e4m3f32_f32_tn_n"}, "fp8"),
        ({"TacticName": "sm80_xmma_fprop_implicit_gemm_indexed_tf32f32_tf32f32_f32"}, "fp32"),
        ({"TacticName": "ampere_scudnn_128x64_relu_interior_nn_v1", "Weights": {"Count": 9}}, "fp32"),
        ({"TacticName": "sm50_xmma_pooling_coalescedC_NHWC_kMAX_3_False", "Weights": None}, "unknown"),
    ],
)
def test_precision_with_an_open_axis_is_that_of_weights_and_kernels(
    told: dict[str, Any], precision: str
) -> None:
    entry = layer("conv", "CaskConvolution", "N/A due to dynamic shapes") | told
    (found,) = layers_of(json.dumps({"Layers": [entry]}))
    assert found.precision == precision


def test_layers_of_one_name_keep_their_own_times_and_precisions() -> None:
    layers = [layer("conv", "CaskConvolution", form) for form in ("Int8", "Half", "Float")]
    assert coverage_of(layers_of(json.dumps({"Layers": layers})), None).precisions == {
        "conv": "int8",
        "conv (2)": "fp16",
        "conv (3)": "fp32",
    }
    times = [{"count": 10}, *({"name": "conv", "averageMs": ms} for ms in (0.5, 0.25, 1.0))]
    assert layer_times(json.dumps(times)) == {"conv": 0.5, "conv (2)": 0.25, "conv (3)": 1.0}


def test_coverage_counts_kernels_and_names_what_fell_back() -> None:
    entries = [
        layer("in", "Reformat", "Float"),
        layer("conv1", "CaskConvolution", "Int8"),
        layer("{ForeignNode[conv2...conv9]}", "DLA", "Int8"),
        layer("gelu", "PointWiseV2", "Half"),
        "a layer without detail",
    ]
    layers = layers_of(json.dumps({"Layers": entries}))
    found = coverage_of(layers, 0)
    assert found.int8 == {"CaskConvolution": 1, "DLA": 1}
    assert found.float_compute == {"PointWiseV2": 1}
    assert found.float_cheap == {"Reformat": 1}
    assert found.precisions["gelu"] == "fp16"
    assert found.dla == 1
    assert found.fell_back == ("conv1", "gelu", "a layer without detail")
    assert "fell_back" not in coverage_of(layers, None).to_dict()
    assert Coverage.from_dict(found.to_dict()) == found


def test_layer_file_of_another_kind_is_refused() -> None:
    for text in ("[]", '{"layers": []}', "{"):
        with pytest.raises(UnavailableError, match="layers"):
            layers_of(text)


def test_times_of_layers() -> None:
    text = json.dumps([{"count": 10}, {"name": "conv", "timeMs": 5, "averageMs": 0.5, "percentage": 100}])
    assert layer_times(text) == {"conv": 0.5}


def test_outputs_come_back_in_the_order_and_type_of_the_network() -> None:
    specs = [TensorSpec("b", "float16", ("batch", 2)), TensorSpec("a", "int64", ("batch",))]
    text = json.dumps(
        [
            {"name": "a", "dimensions": "2", "values": [1, 2]},
            {"name": "b", "dimensions": "2x2", "values": [0.5, 1, 1.5, 2]},
        ]
    )
    second, first = outputs_of(text, specs)
    np.testing.assert_array_equal(second, np.array([[0.5, 1], [1.5, 2]], np.float16))
    assert first.dtype == np.int64
    with pytest.raises(NetworkError, match="'c'"):
        outputs_of(text, [TensorSpec("c", "float32", (1,))])
    with pytest.raises(UnavailableError, match="outputs"):
        outputs_of('[{"name": "a", "dimensions": "3", "values": [1]}]', specs)


@pytest.mark.parametrize(
    ("printed", "value"),
    [("nan", np.nan), ("-nan", np.nan), ("inf", np.inf), ("-inf", -np.inf), ("1e-7", 1e-7)],
)
def test_numbers_that_are_not_finite_are_read_as_the_tool_prints_them(printed: str, value: float) -> None:
    text = f'[ {{ "name" : "nan, inf" , "dimensions" : "1x2" , "values" : [ {printed}, 2 ] }} ]'
    (found,) = outputs_of(text, [TensorSpec("nan, inf", "float32", ("batch", 2))])
    np.testing.assert_array_equal(found, np.array([[value, 2]], np.float32))
