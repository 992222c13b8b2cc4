"""The options given to trtexec exist in the release they are given to. No engine is built here."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from compress.backends.tensorrt import build_arguments, build_script
from compress.core.tensor_spec import TensorSpec
from compress.errors import UsageError
from compress.target.shape_ranges import ShapeRange
from compress.target.target import load_target

FLAGS = Path(__file__).parent / "trtexec_options"
INPUTS = [TensorSpec("x", "float32", ("batch", 3, 8, 8))]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("release", ["8.2", "8.5", "8.6", "10.3", "10.7", "10.16", "11.1"])
def test_every_option_exists_in_its_release(release: str, precision: str) -> None:
    known = set((FLAGS / f"{release}.txt").read_text().split())
    target = replace(load_target("jetson"), tensorrt=release)
    for argument in build_arguments(target, INPUTS, precision, workspace_mb=512):
        assert argument.split("=")[0] in known


def test_weakly_typed_releases_are_told_the_precision() -> None:
    old = replace(load_target("jetson"), tensorrt="8.5")
    assert "--int8" in build_arguments(old, INPUTS, "int8")
    assert "--int8" not in build_arguments(old, INPUTS, "fp16")
    assert "--int8" not in build_arguments(load_target("jetson"), INPUTS, "int8")


def test_dynamic_batch_gets_an_optimization_profile() -> None:
    arguments = build_arguments(load_target("jetson"), INPUTS, "int8")
    assert "--minShapes=x:1x3x8x8" in arguments
    assert f"--maxShapes=x:{load_target('jetson').batch_sizes[1]}x3x8x8" in arguments
    fixed = [TensorSpec("x", "float32", (1, 3, 8, 8))]
    assert not any("Shapes" in argument for argument in build_arguments(load_target("jetson"), fixed, "int8"))


def test_open_axes_are_built_for_the_sizes_that_are_known() -> None:
    inputs = [
        TensorSpec("x", "float32", ("batch", 3, "height", "width")),
        TensorSpec("state", "float32", (1, "steps")),
        TensorSpec("scale", "float32", (1,)),
    ]
    ranges = {
        "x": ShapeRange((1, 3, 16, 20), (1, 3, 32, 48), (8, 3, 64, 64), 0),
        "state": ShapeRange((1, 5), (1, 7), (1, 9), None),
    }
    target = replace(load_target("jetson"), input_shapes=ranges)
    arguments = build_arguments(target, inputs, "int8")
    assert "--minShapes=x:1x3x16x20,state:1x5" in arguments
    assert "--optShapes=x:1x3x32x48,state:1x7" in arguments
    assert "--maxShapes=x:8x3x64x64,state:1x9" in arguments
    more = build_arguments(replace(target, batch_sizes=(2, 32)), inputs, "int8")
    assert "--maxShapes=x:32x3x64x64,state:1x9" in more
    # which batch size decides changes no engine
    assert build_arguments(replace(target, batch_sizes=(32, 2)), inputs, "int8") == more


def test_an_axis_of_which_no_size_is_known_is_refused() -> None:
    inputs = [TensorSpec("x", "float32", ("batch", 3, "height", 8))]
    with pytest.raises(UsageError, match=r"axis 2 \(height\) of input 'x'.*--shape x=1x3xheightx8"):
        build_arguments(load_target("jetson"), inputs, "int8")
    other = replace(load_target("jetson"), input_shapes={"x": ShapeRange((1, 9), (1, 9), (1, 9), 0)})
    with pytest.raises(UsageError, match="height"):  # that of another graph's input of this name
        build_arguments(other, inputs, "int8")


def test_the_accelerator_takes_one_shape() -> None:
    batches = build_arguments(load_target("jetson"), INPUTS, "int8", dla_core=0)
    assert {f"--{end}Shapes=x:1x3x8x8" for end in ("min", "opt", "max")} <= {*batches}
    inputs = [TensorSpec("x", "float32", ("batch", 3, "height", 8))]
    one = ShapeRange((1, 3, 8, 8), (1, 3, 8, 8), (16, 3, 8, 8), 0)
    target = replace(load_target("jetson"), input_shapes={"x": one})
    assert "--maxShapes=x:1x3x8x8" in build_arguments(target, inputs, "int8", dla_core=0)
    several = replace(target, input_shapes={"x": replace(one, largest=(16, 3, 9, 8))})
    with pytest.raises(UsageError, match=r"one shape of 'x' for an engine of the DLA.*--shape x=1x3x8x8"):
        build_arguments(several, inputs, "int8", dla_core=0)


def test_script_hands_every_option_to_trtexec_unchanged(tmp_path: Path) -> None:
    stand_in = tmp_path / "trtexec"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    inputs = [TensorSpec("a name; with $signs", "float32", ("batch", 4))]
    script = tmp_path / "build.sh"
    script.write_text(build_script(load_target("jetson"), inputs, "int8", dla_core=0, sparse=True))
    printed = subprocess.run(
        ["sh", str(script)], env={"TRTEXEC": str(stand_in)}, capture_output=True, text=True, check=True
    ).stdout
    asked = build_arguments(load_target("jetson"), inputs, "int8", dla_core=0, sparse=True)
    assert printed.splitlines() == asked
    assert {"--useDLACore=0", "--sparsity=enable"} <= {*asked}
