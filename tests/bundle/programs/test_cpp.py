"""run.cpp of each back end: compiled and run where the runtime's own headers and library are, else compiled alone.

OpenVINO's wheel holds both. ONNX Runtime's holds the library: COMPRESS_ORT_INCLUDE names a directory with
onnxruntime_cxx_api.h. For TensorRT, COMPRESS_TENSORRT_INCLUDE names directories, separated by colons, with NvInfer.h of
a release, and COMPRESS_CUDA_INCLUDE those of CUDA's headers; it is compiled against each, and never linked or run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.bundle.programs.snippets import _cpp
from tests.bundle.programs.bundles import bundle
from tests.graphs import two_inputs
from tests.streaming import STATES, denoiser

COMPILER = shutil.which("g++")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason="needs g++")]
STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Werror"]


def package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"needs the package {name}")
    return Path(found.origin).parent


def compiled(build: Path, *arguments: str) -> None:
    done = subprocess.run(
        [str(COMPILER), *STRICT, "run.cpp", *arguments],
        cwd=build,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def runs_and_notices_a_difference(build: Path, output: str = "product") -> None:
    run = [str(build / "run")]
    done = subprocess.run(run, cwd=build, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split(":")[0]) == (0, output), done.stdout + done.stderr
    values = np.fromfile(build / "sample/output-0.bin", np.float32)
    (values + 0.1).astype(np.float32).tofile(build / "sample/output-0.bin")
    assert subprocess.run(run, cwd=build, capture_output=True, timeout=120).returncode == 1


def test_openvino(tmp_path: Path) -> None:
    build = bundle(tmp_path, "openvino", two_inputs())
    compiled_with_openvino(build)
    runs_and_notices_a_difference(build)


def test_openvino_goes_on_with_the_states_of_the_call_before(tmp_path: Path) -> None:
    build = bundle(tmp_path, "openvino", denoiser(1), states=STATES)
    assert "request.set_input_tensor(1, state_1);" in (build / "run.cpp").read_text()
    compiled_with_openvino(build)
    runs_and_notices_a_difference(build, "y")


def compiled_with_openvino(build: Path) -> None:
    place = package("openvino")
    (library,) = (place / "libs").glob("libopenvino.so.*")
    compiled(
        build, "-isystem", str(place / "include"), str(library), f"-Wl,-rpath,{library.parent}", "-o", "run"
    )


@pytest.mark.parametrize("options", [{}, {"arena": False, "qdq_fusion": False}, {"states": STATES}])
def test_onnxruntime(tmp_path: Path, options: dict[str, Any]) -> None:
    include = os.environ.get("COMPRESS_ORT_INCLUDE")
    if include is None:
        pytest.skip("COMPRESS_ORT_INCLUDE is not set")
    (library,) = (package("onnxruntime") / "capi").glob("libonnxruntime.so.*")
    (tmp_path / "lib").mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / "lib" / name).symlink_to(library)
    streams = "states" in options
    build = bundle(tmp_path, "onnxruntime", denoiser(1) if streams else two_inputs(), **options)
    libraries = ["-L", str(tmp_path / "lib"), "-lonnxruntime", f"-Wl,-rpath,{tmp_path / 'lib'}"]
    compiled(build, "-isystem", include, *libraries, "-o", "run")
    runs_and_notices_a_difference(build, "y" if streams else "product")


def test_tensorrt_compiles_against_each_release(tmp_path: Path) -> None:
    releases = os.environ.get("COMPRESS_TENSORRT_INCLUDE")
    if releases is None:
        pytest.skip("COMPRESS_TENSORRT_INCLUDE is not set")
    build = bundle(tmp_path, "tensorrt", denoiser(1), states=STATES)
    for release in releases.split(":"):
        includes = [release, *os.environ.get("COMPRESS_CUDA_INCLUDE", "").split(":")]
        compiled(build, "-fsyntax-only", *(word for each in includes if each for word in ("-isystem", each)))


def test_a_name_from_a_network_s_file_stays_a_literal(tmp_path: Path) -> None:
    name = 'a"; system("true"); // \\ ??/ \n$(x) é 猫'
    program = tmp_path / "name.cpp"
    program.write_text(f"#include <cstdio>\nint main() {{ std::fputs({_cpp(name)}, stdout); }}\n")
    subprocess.run([str(COMPILER), str(program), "-o", str(tmp_path / "name")], check=True, timeout=120)
    done = subprocess.run([str(tmp_path / "name")], capture_output=True, check=True, timeout=60)
    assert done.stdout.decode() == name
