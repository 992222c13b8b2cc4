from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import compress
from compress.errors import TargetError, UnavailableError
from compress.machine import machine
from compress.target.target import PEAK_OF, TENSORRT_FLAVOUR, Target, list_targets, load_target

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "targets").glob("*.toml"))
BOARDS = [path.stem for path in FILES if path.stem not in ("cpu", "cuda")]

#: A complete file of a user's own.
BOARD: dict[str, Any] = {
    "family": "jetson",
    "description": "Ours.",
    "backend": "tensorrt",
    "compute_capability": "8.7",
    "memory_gb": 8,
    "bandwidth_gb_s": 100,
    "launch_overhead_us": 5,
    "precisions": ["fp32", "fp16", "int8"],
    "batch_sizes": [1, 4],
    "peaks": {"fp32_tflops": 2.0, "fp16_tflops": 16.0, "int8_tops": 32.0},
}


def load(directory: Path, table: dict[str, Any]) -> Target:
    path = directory / "board.toml"
    path.write_text(tomli_w.dumps(table), encoding="utf-8")
    return load_target(path)


def test_every_board_of_the_catalogue_is_there():
    assert [target.name for target in list_targets()] == sorted(
        [
            "a10",
            "a100-80gb",
            "a30",
            "b200-hgx",
            "cpu",
            "cuda",
            "gb10",
            "gh200",
            "h100-sxm",
            "h200",
            "jetson-agx-orin-32gb",
            "jetson-agx-orin-64gb",
            "jetson-agx-xavier",
            "jetson-nano",
            "jetson-orin-nano-4gb",
            "jetson-orin-nano-8gb",
            "jetson-orin-nano-super",
            "jetson-orin-nx-16gb",
            "jetson-orin-nx-8gb",
            "jetson-thor-t4000",
            "jetson-thor-t5000",
            "jetson-tx2",
            "jetson-xavier-nx",
            "l4",
            "l40s",
            "raspberry-pi-5",
            "rtx-3060",
            "rtx-3070",
            "rtx-3080",
            "rtx-3090",
            "rtx-4060",
            "rtx-4070",
            "rtx-4080",
            "rtx-4090",
            "rtx-5060",
            "rtx-5070",
            "rtx-5080",
            "rtx-5090",
            "t4",
            "v100",
        ]
    )


def test_names_and_aliases_are_unique_and_load_the_target_that_has_them():
    names = [name for target in list_targets() for name in (target.name, *target.aliases)]
    assert len(names) == len(set(names))
    for target in list_targets():
        for alias in target.aliases:
            assert load_target(alias).name == target.name


def test_jetson_is_the_orin_nano_super():
    assert load_target("jetson").name == "jetson-orin-nano-super"
    assert load_target(" Jetson ").peaks.int8_tops == 33


def test_a_target_is_returned_as_it_is():
    target = load_target("t4")
    assert load_target(target) is target


@pytest.mark.parametrize("name", BOARDS)
def test_a_known_board_says_where_each_figure_comes_from(name: str):
    target = load_target(name)
    figures = ["memory_gb", "bandwidth_gb_s", "launch_overhead_us"]
    figures += [key for key in PEAK_OF.values() if getattr(target.peaks, key) is not None]
    for figure in figures:
        assert target.sources[figure], figure
        assert not target.sources[figure].endswith(".toml"), figure
        # What is not published must not look as if it were.
        unpublished = target.sources[figure].startswith(("recalled", "derived", "assumed"))
        assert not unpublished or figure in target.estimated_fields, figure


@pytest.mark.parametrize("name", BOARDS)
def test_figures_of_a_known_board_are_plausible(name: str):
    target = load_target(name)
    assert target.here is False
    assert 4 <= target.ridge_point("fp32") <= 200
    if "int8" in target.precisions:
        assert target.peaks.int8_tops >= 2 * target.peaks.fp32_tflops
    if target.peaks.fp16_tflops and target.peaks.int8_tops:
        assert target.peaks.int8_tops == pytest.approx(2 * target.peaks.fp16_tflops, rel=0.05)
    if target.peaks.fp4_tflops:
        assert target.peaks.fp4_tflops == pytest.approx(2 * target.peaks.fp8_tflops, rel=0.01)


def test_what_each_generation_can_do():
    assert load_target("jetson-xavier-nx").precisions == ("fp32", "fp16", "int8")
    assert load_target("jetson-xavier-nx").peaks.bf16_tflops is None
    assert load_target("jetson-xavier-nx").sparsity_2_4 is False
    assert load_target("jetson-xavier-nx").opset_max == 17
    assert load_target("jetson").sparsity_2_4 is True
    assert load_target("jetson").dla is False
    assert load_target("jetson-orin-nx-16gb").dla is True
    assert load_target("jetson-thor").precisions == ("fp32", "fp16", "int8", "fp8", "fp4")
    assert load_target("raspberry-pi-5").precisions == ("fp32", "int8")
    assert load_target("rtx-3090").precisions == ("fp32", "fp16", "int8")
    assert load_target("rtx-4090").precisions == ("fp32", "fp16", "int8", "fp8")
    assert load_target("rtx-5090").precisions == ("fp32", "fp16", "int8", "fp8", "fp4")
    for name in ("v100", "jetson-nano", "jetson-tx2"):  # no tensor cores in int8, or none at all
        assert load_target(name).precisions == ("fp32", "fp16")
        assert load_target(name).sparsity_2_4 is False
    assert load_target("jetson-nano").opset_max == load_target("jetson-tx2").opset_max == 13


@pytest.mark.parametrize(
    ("name", "fp16"), [("rtx-3090", 142.3), ("rtx-4090", 330.3), ("rtx-5090", 419.0), ("rtx-5080", 225.1)]
)
def test_rates_are_dense(name: str, fp16: float):
    """What NVIDIA calls AI TOPS is sparse, and in the narrowest type: 3352 for an RTX 5090."""
    assert load_target(name).peaks.fp16_tflops == pytest.approx(fp16, rel=0.01)


def test_tensorrt_targets_have_the_only_flavour_that_it_reads():
    flavour = load_target("jetson").quantization
    assert (flavour.activation, flavour.weight) == ("int8", "int8")
    assert (flavour.symmetric, flavour.per_channel) == (True, True)
    assert (flavour.reduce_range, flavour.quantize_bias) == (False, False)


def test_arm_takes_signed_activations_with_an_int32_bias():
    flavour = load_target("raspberry-pi-5").quantization
    assert (flavour.activation, flavour.symmetric, flavour.reduce_range) == ("int8", False, False)
    assert flavour.quantize_bias is True


def test_cpu_is_this_machine():
    target, processor = load_target("cpu"), machine.cpu()
    assert target.here is True
    assert target.provider == "CPUExecutionProvider"
    assert target.cores == processor.cores
    assert target.memory_gb == processor.memory_gb
    assert processor.model in target.description
    assert "fp32_tflops" in target.estimated_fields
    assert target.sources["memory_gb"] == "asked of this machine"


def test_ridge_point_is_peak_over_bandwidth(tmp_path: Path):
    target = load(tmp_path, BOARD)
    assert target.ridge_point("int8") == pytest.approx(320)  # 32e12 / 100e9
    assert target.ridge_point("fp8") is None


def test_a_target_can_be_hashed_and_written_as_json():
    for target in list_targets():
        assert isinstance(hash(target), int)
        assert json.loads(json.dumps(target.to_dict(), allow_nan=False))["name"] == target.name


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(TargetError, match=r"'jetson-orin-nao-super'.*did you mean jetson-orin-nano-super"):
        load_target("jetson-orin-nao-super")
    with pytest.raises(TargetError, match="compress targets"):
        load_target("zebra")


@pytest.mark.parametrize("name", ["", " ", "\0", "x" * 10_000, "nul\0.toml", "a/b", "y" * 300 + ".toml"])
def test_an_impossible_name_or_path_is_an_error(name: str):
    with pytest.raises(TargetError):
        load_target(name)


def test_a_file_of_ones_own_is_named_after_itself(tmp_path: Path):
    target = load(tmp_path, BOARD)
    assert target.name == "board"
    assert target.quantization == TENSORRT_FLAVOUR
    assert target.batch_sizes == (1, 4)
    assert target.sources["memory_gb"] == "board.toml"
    assert load_target(str(tmp_path / "board.toml")) == target


def test_a_file_may_start_from_a_known_board(tmp_path: Path):
    parent = load_target("jetson")
    target = load(tmp_path, {"extends": "jetson", "power_max_w": 15, "peaks": {"fp32_tflops": 1.5}})
    assert target.name == "board"
    assert target.aliases == ()
    assert target.power_w == (parent.power_w[0], 15.0)
    assert target.peaks.fp32_tflops == 1.5
    assert target.peaks.int8_tops == parent.peaks.int8_tops
    # A figure that was changed has a new source and is no longer called an estimate.
    assert target.sources["fp32_tflops"] == "board.toml"
    assert target.sources["int8_tops"] == parent.sources["int8_tops"]
    assert "fp32_tflops" in parent.estimated_fields
    assert "fp32_tflops" not in target.estimated_fields
    assert "launch_overhead_us" in target.estimated_fields


def test_a_file_may_start_from_this_machine(tmp_path: Path):
    target = load(tmp_path, {"extends": "cpu", "bandwidth_gb_s": 31})
    assert target.here is True
    assert target.bandwidth_gb_s == 31
    assert target.cores == load_target("cpu").cores


def test_a_file_cannot_start_from_what_is_not_known(tmp_path: Path):
    for name in ("jetsn", "other.toml"):
        with pytest.raises(TargetError, match=name):
            load(tmp_path, {"extends": name})


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"memory_mb": 8000}, "memory_mb; did you mean memory_gb? memory_gb is a number in GB"),
        ({"memory_gb": "8"}, "memory_gb"),
        ({"memory_gb": -8}, "memory_gb"),
        ({"bandwidth_gb_s": 0}, "bandwidth_gb_s"),
        ({"power_min_w": 20, "power_max_w": 10}, "20 and 10 W"),
        ({"backend": "tensor-rt"}, "did you mean tensorrt or torch-tensorrt?"),
        ({"backend": "acme"}, "install the package that provides it"),
        ({"precisions": ["int8"]}, "fp32 as the first"),
        ({"precisions": []}, "precisions"),
        ({"precisions": ["fp32", "fp8"]}, "peaks.fp8_tflops"),
        ({"batch_sizes": [1]}, "batch_sizes"),
        ({"backend": "onnxruntime"}, "quantization"),
        ({"source": {"memory": "x"}}, "source.memory"),
        ({"estimated": ["memory"]}, "estimated"),
        ({"peaks": {"int8_tops": 3.0}}, "peaks.fp32_tflops"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, changes: dict[str, Any], expected: str):
    with pytest.raises(TargetError) as caught:
        load(tmp_path, BOARD | changes)
    assert expected in str(caught.value)
    assert "board.toml" in str(caught.value)


def test_tensorrt_refuses_another_flavour_and_needs_a_gpu(tmp_path: Path):
    unsigned = {key: getattr(TENSORRT_FLAVOUR, key) for key in TENSORRT_FLAVOUR.__dataclass_fields__}
    with pytest.raises(TargetError, match="TensorRT reads"):
        load(tmp_path, BOARD | {"quantization": unsigned | {"activation": "uint8"}})
    assert load(tmp_path, BOARD | {"quantization": unsigned}).quantization == TENSORRT_FLAVOUR
    with pytest.raises(TargetError, match="compute_capability"):
        load(tmp_path, {key: value for key, value in BOARD.items() if key != "compute_capability"})


def test_onnx_runtime_needs_a_provider(tmp_path: Path):
    flavour = load_target("cpu").to_dict()["quantization"]
    table = BOARD | {"backend": "onnxruntime", "quantization": flavour}
    with pytest.raises(TargetError, match="provider"):
        load(tmp_path, table)
    assert (
        load(tmp_path, table | {"provider": "CPUExecutionProvider"}).quantization
        == load_target("cpu").quantization
    )


@pytest.mark.parametrize("key", [key for key in BOARD if key not in ("compute_capability",)])
def test_a_key_that_is_missing_is_named(tmp_path: Path, key: str):
    with pytest.raises(TargetError, match=key):
        load(tmp_path, {name: value for name, value in BOARD.items() if name != key})


def test_cuda_without_a_gpu_is_not_available_but_listed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match="nvidia-smi"):
        load_target("cuda")
    cuda = next(target for target in list_targets() if target.name == "cuda")
    assert (cuda.here, cuda.memory_gb, cuda.peaks.fp32_tflops) == (False, 0.0, 0.0)
    assert cuda.ridge_point("fp32") is None


numbers = st.integers(-5, 1 << 40) | st.floats()
leaves = (
    st.booleans() | numbers | st.text(max_size=8) | st.sampled_from(["int8", "fp32", "cpu", "jetson", "t4"])
)
values = (
    leaves
    | st.lists(leaves, max_size=3)
    | st.dictionaries(st.sampled_from(["fp32_tflops", "default", "x"]), leaves)
)
keys = st.sampled_from(
    sorted({*BOARD, "extends", "detect", "source", "estimated", "quantization", "power_min_w", "isa"})
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(keys, values, max_size=3),
    without=st.sets(st.sampled_from(sorted(BOARD)), max_size=2),
)
def test_a_mutated_file_is_loaded_or_refused(tmp_path: Path, changes: dict[str, Any], without: set[str]):
    table = {key: value for key, value in BOARD.items() if key not in without} | changes
    with suppress(TargetError):
        assert load(tmp_path, table).name == "board"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_text_is_loaded_or_refused(tmp_path: Path, data: st.DataObject):
    text = (ROOT / "targets" / "jetson-orin-nano-super.toml").read_text(encoding="utf-8")
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    inserted = data.draw(st.text(max_size=10))
    path = tmp_path / "board.toml"
    path.write_bytes((text[:start] + inserted + text[end:]).encode("utf-8", "surrogatepass"))
    with suppress(TargetError):
        load_target(path)


RUN = "from compress.target.target import load_target, __file__; print(load_target('jetson').name, __file__)"


def run_python(code: str, path: Path) -> str:
    # -S leaves out site-packages, and with it an editable install.
    command = [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(path)!r}); {code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=path).stdout


def test_it_needs_nothing_but_the_standard_library():
    code = f"{RUN}; print(sorted({{'numpy', 'torch', 'onnx', 'onnxruntime'}} & set(sys.modules)))"
    assert run_python(code, ROOT).splitlines()[-1] == "[]"


def test_installed_it_reads_the_files_inside_the_package(tmp_path: Path):
    package = tmp_path / "compress"
    shutil.copytree(
        Path(compress.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "_targets")
    )
    shutil.copytree(ROOT / "targets", package / "_targets")
    name, file = run_python(RUN, tmp_path).split()
    assert name == "jetson-orin-nano-super"
    assert Path(file).parents[1] == package


def test_the_wheel_is_told_to_ship_them_there():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["force-include"]["targets"] == "compress/_targets"


@pytest.mark.slow
def test_the_wheel_has_them(tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--quiet",
        "--wheel-dir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True)
    wheel = next(tmp_path.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    shipped = sorted(path.name for path in (tmp_path / "installed/compress/_targets").glob("*.toml"))
    assert shipped == [path.name for path in FILES]
    assert run_python(RUN, tmp_path / "installed").startswith("jetson-orin-nano-super")


def test_each_back_end_has_a_flavour_of_its_own(tmp_path: Path):
    path = tmp_path / "mine.toml"
    flavour = (
        'activation = "uint8"\nweight = "int8"\nsymmetric = false\nper_channel = true\nreduce_range = false\n'
    )
    path.write_text(
        'extends = "raspberry-pi-5"\ndescription = "An x86 board."\n'
        '[further_backends.openvino]\nprecisions = ["fp32", "int8"]\n'
        f"[further_backends.openvino.quantization]\n{flavour}quantize_bias = false\n"
    )
    target = load_target(path)
    there = target.for_backend("openvino")
    assert (there.backend, there.precisions, there.quantization.quantize_bias) == (
        "openvino",
        ("fp32", "int8"),
        False,
    )
    assert target.for_backend(target.backend) is target
    with pytest.raises(TargetError, match="openvino"):
        target.for_backend("openvni")
    path.write_text(path.read_text().replace('precisions = ["fp32", "int8"]\n[', "["))
    with pytest.raises(TargetError, match="precisions"):
        load_target(path)
