"""selfcheck.sh where only trtexec is; trtexec here is a STAND-IN (:mod:`tests.hosts.standin.trtexec`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.bundle.programs.bundles import bundle
from tests.graphs import classifier, two_inputs
from tests.hosts.standin_board import HERE, OPTIONS


class Board:
    """A directory with the stand-in that plays one release."""

    def __init__(self, place: Path, release: str) -> None:
        place.mkdir()
        (place / "release").write_text(release)
        shutil.copy(OPTIONS / f"{release}.txt", place / "options")
        tool = place / "trtexec"
        tool.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "standin" / "trtexec.py"} "$@"\n')
        tool.chmod(0o755)
        self.variables = {**os.environ, "COMPRESS_STANDIN": str(place), "TRTEXEC": str(tool)}

    def run(self, build: Path, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(build / script)], env=self.variables, capture_output=True, text=True, timeout=120
        )


def integers() -> onnx.ModelProto:
    """x + x, in int64, which TensorRT before 10 reads as int32."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"], "add")],
        "integers",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["batch", 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_engine_is_put_where_triton_looks_for_it(tmp_path: Path) -> None:
    board, build = Board(tmp_path / "board", "10.3"), bundle(tmp_path, "tensorrt", two_inputs(), "10.3")
    (build / "triton").mkdir()
    assert board.run(build, "build.sh").returncode == 0
    served = (build / "triton" / "1" / "model.plan").read_bytes()
    assert served == (build / "model.engine").read_bytes()


@pytest.mark.parametrize("release", ["8.5", "8.6", "10.3", "10.16", "11.1"])
def test_each_release_is_asked_in_its_own_options(tmp_path: Path, release: str) -> None:
    board, build = Board(tmp_path / "board", release), bundle(tmp_path, "tensorrt", two_inputs(), release)
    assert board.run(build, "selfcheck.sh").stdout == (
        "fail: no model.engine; build it on this board: sh build.sh\n"
    )
    assert board.run(build, "build.sh").returncode == 0
    done = board.run(build, "selfcheck.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("pass: 13 files, product within ")
    assert "ms at batch 1 (median of 30 calls)" in done.stdout


@pytest.mark.parametrize("release", ["8.5", "10.3"])
def test_integers_are_of_the_width_that_the_release_reads(tmp_path: Path, release: str) -> None:
    board, build = Board(tmp_path / "board", release), bundle(tmp_path, "tensorrt", integers(), release)
    width = np.dtype(np.int32 if release == "8.5" else np.int64).itemsize
    assert (build / "sample/input-0.bin").stat().st_size == 3 * width
    board.run(build, "build.sh")
    done = board.run(build, "selfcheck.sh")
    assert done.returncode == 0, done.stdout


def test_engine_of_another_network_fails(tmp_path: Path) -> None:
    board, build = Board(tmp_path / "board", "10.3"), bundle(tmp_path, "tensorrt")
    other = bundle(tmp_path / "other", "tensorrt", classifier(seed=1))
    board.run(other, "build.sh")
    shutil.copy(other / "model.engine", build)
    done = board.run(build, "selfcheck.sh")
    assert done.returncode == 1
    assert done.stdout.startswith("fail: scores is ")
    larger = bundle(tmp_path / "larger", "tensorrt", classifier(classes=5))
    board.run(larger, "build.sh")
    shutil.copy(larger / "model.engine", build)
    assert "another shape" in board.run(build, "selfcheck.sh").stdout


def test_a_changed_file_and_an_engine_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    board, build = Board(tmp_path / "board", "10.3"), bundle(tmp_path, "tensorrt")
    (build / "model.engine").write_bytes(b"no engine")
    done = board.run(build, "selfcheck.sh")
    assert done.returncode == 1
    assert done.stdout.startswith("fail: trtexec: ")
    assert "Serialization" in done.stdout
    (build / "recipe.toml").write_text("")
    done = board.run(build, "selfcheck.sh")
    assert done.returncode == 1
    assert done.stdout == "fail: recipe.toml: FAILED; copy the bundle again\n"


def test_no_name_steers_a_terminal(tmp_path: Path) -> None:
    board, build = Board(tmp_path / "board", "10.3"), bundle(tmp_path, "tensorrt")
    (build / "\x1b[31mred").write_text("")
    with (build / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  \x1b[31mred\n")
    done = board.run(build, "selfcheck.sh")
    assert done.returncode == 1
    assert done.stdout == "fail: ?[31mred: FAILED; copy the bundle again\n"


def test_no_name_of_an_output_steers_a_terminal(tmp_path: Path) -> None:
    model = classifier()
    output = model.graph.output[0]
    for node in model.graph.node:
        node.output[:] = ["\x1b[2J\\n" if name == output.name else name for name in node.output]
    output.name = "\x1b[2J\\n"
    board, build = Board(tmp_path / "board", "10.3"), bundle(tmp_path, "tensorrt", model)
    board.run(build, "build.sh")
    done = board.run(build, "selfcheck.sh")
    assert "?[2J" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1
