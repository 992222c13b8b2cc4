"""The self-check of a bundle, in a process that has the runtime and numpy, and neither compress nor torch."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest

from compress.bundle.bundle import SUMS, load_bundle
from compress.bundle.programs.sample import SHARES, Sample, Value, share_of
from compress.errors import BundleError
from compress.onnx_graph.files import save_model
from compress.records.schemas import schema_text
from tests.bundle.programs.bundles import bundle
from tests.graphs import classifier, two_inputs

_ALONE = (
    "import runpy, sys; sys.modules['compress'] = sys.modules['torch'] = sys.modules['onnx'] = None; "
    "sys.path.insert(0, sys.argv[1]); runpy.run_path(sys.argv[1] + '/' + sys.argv[2], run_name='__main__')"
)


def run(build: Path, program: str = "selfcheck.py") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _ALONE, str(build), program], capture_output=True, text=True, timeout=120
    )


def resigned(build: Path, name: str, content: bytes) -> None:
    """Another content of a file, which its sum agrees with."""
    before = hashlib.sha256((build / name).read_bytes()).hexdigest()
    (build / name).write_bytes(content)
    sums = (build / SUMS).read_text().replace(before, hashlib.sha256(content).hexdigest())
    (build / SUMS).write_text(sums)


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


def test_passes_in_one_line_and_leaves_nothing_behind(backend: str, tmp_path: Path) -> None:
    build = bundle(tmp_path, backend)
    before = sorted(path.name for path in build.rglob("*"))
    done = run(build)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("pass: 9 files, scores within ")
    assert len(done.stdout.splitlines()) == 1
    assert sorted(path.name for path in build.rglob("*")) == before


def test_a_runtime_that_crashes_is_told_in_one_line(tmp_path: Path) -> None:
    build = bundle(tmp_path, "onnxruntime")
    lines = [
        "import os, signal",
        "class Network:",
        "    def __init__(self):",
        "        os.kill(os.getpid(), signal.SIGSEGV)",
    ]
    resigned(build, "run.py", "\n".join(lines).encode())
    done = run(build)
    assert done.returncode == 1
    assert done.stdout == "fail: the runtime crashed with SIGSEGV\n"


def test_several_inputs_each_get_their_own(backend: str, tmp_path: Path) -> None:
    assert run(bundle(tmp_path, backend, two_inputs())).returncode == 0


def test_program_prints_the_outputs_of_the_sample(backend: str, tmp_path: Path) -> None:
    build = bundle(tmp_path, backend)
    wanted = np.fromfile(build / "sample/output-0.bin", np.float32)
    told = run(build, "run.py").stdout
    assert told.startswith("scores float32 (1, 4)")
    found = np.array(told.split("[")[-1].rstrip("]\n").split(), float)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_program_prints_no_name_that_steers_a_terminal(backend: str, tmp_path: Path) -> None:
    model = classifier()
    output = model.graph.output[0]
    for node in model.graph.node:
        node.output[:] = ["\x1b[2J" if name == output.name else name for name in node.output]
    output.name = "\x1b[2J"
    told = run(bundle(tmp_path, backend, model), "run.py").stdout
    assert told.startswith("?[2J float32 (1, 4)")


@pytest.mark.parametrize("options", [{"spinning": False, "arena": False}, {"qdq_fusion": False}])
def test_session_options_are_those_of_the_build(tmp_path: Path, options: dict[str, bool]) -> None:
    build = bundle(tmp_path, "onnxruntime", **options)
    text = (build / "run.py").read_text()
    assert f"enable_cpu_mem_arena = {options.get('arena', True)}" in text
    assert f'"session.intra_op.allow_spinning": "{int(options.get("spinning", True))}"' in text
    assert ("ReluQuantRewrite" in text) == (options.get("qdq_fusion") is False)
    assert run(build).returncode == 0


@pytest.mark.parametrize("name", ["model.onnx", "run.py", "sample/input-0.bin", "recipe.toml"])
def test_a_changed_file_is_named(tmp_path: Path, name: str) -> None:
    build = bundle(tmp_path, "onnxruntime")
    content = (build / name).read_bytes()
    (build / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = run(build)
    assert done.returncode == 1
    assert done.stdout == f"fail: {name} is not the file that was shipped; copy the bundle again\n"
    with pytest.raises(BundleError, match="sha256"):
        load_bundle(build)


@pytest.mark.parametrize("wrong", [0.002, np.nan])
def test_outputs_that_differ_by_more_than_the_tolerance_fail(tmp_path: Path, wrong: float) -> None:
    build = bundle(tmp_path, "onnxruntime")
    values = np.fromfile(build / "sample/output-0.bin", np.float32)
    values[1] += wrong
    resigned(build, "sample/output-0.bin", values.tobytes())
    done = run(build)
    assert done.returncode == 1
    assert done.stdout.startswith("fail: scores is ")
    assert "from what was shipped" in done.stdout


def test_what_fails_is_one_line(tmp_path: Path) -> None:
    build = bundle(tmp_path, "onnxruntime")
    resigned(build, "model.onnx", b"no graph")
    done = run(build)
    assert done.returncode == 1
    assert done.stdout.startswith("fail: InvalidProtobuf: ")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_manifest_tells_the_sample_as_its_schema_has_it(tmp_path: Path) -> None:
    build = bundle(tmp_path, "onnxruntime", share=0.05)
    manifest = json.loads((build / "manifest.json").read_text())
    jsonschema.Draft202012Validator(json.loads(schema_text("manifest"))).validate(manifest)
    (output,) = manifest["sample"]["outputs"]
    largest = np.abs(np.fromfile(build / output["file"], output["dtype"])).max()
    assert output["tolerance"] == pytest.approx(0.05 * largest)
    listed = {*manifest["files"], "model.onnx", "manifest.json", SUMS}
    assert listed == {str(path.relative_to(build)) for path in build.rglob("*") if path.is_file()}


def test_standard_tool_reads_the_sums(tmp_path: Path) -> None:
    build = bundle(tmp_path, "onnxruntime")
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", SUMS], cwd=build, check=True, timeout=60)


@pytest.mark.parametrize("name", ["../val.npz", "/etc/passwd", "a/b/c", "sample\\x", "..", "sample/../../x"])
def test_manifest_cannot_name_what_is_outside(tmp_path: Path, name: str) -> None:
    build = bundle(tmp_path, "onnxruntime")
    manifest = json.loads((build / "manifest.json").read_text())
    manifest["files"][name] = "0" * 64
    (build / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="a file inside the bundle"):
        load_bundle(build)


def test_texts_are_no_sample() -> None:
    number, text = Value("x", np.zeros(2), "x"), Value("y", np.array(["a"], object), "y", 0.0)
    assert Sample((number,), (number,), 1, "", 0.0).numeric
    assert not Sample((number,), (text,), 1, "", 0.0).numeric


def test_tolerance_follows_what_the_build_computes_in(tmp_path: Path) -> None:
    import onnx

    path = save_model(classifier(), tmp_path / "model.onnx")
    assert share_of(path, {}, "onnxruntime") == SHARES["fp32"]
    assert share_of(path, {"precision": "bf16"}, "openvino") == SHARES["half"]
    assert share_of(path, {}, "tensorrt") == SHARES["tf32"]
    assert share_of(path, {"provider": "CUDAExecutionProvider"}, "onnxruntime") == SHARES["tf32"]
    assert share_of(path, {"provider": "XnnpackExecutionProvider"}, "onnxruntime") == SHARES["fp32"]
    model = classifier()
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", ["scores", "s"], ["q"]))
    onnx.save(model, path)
    assert share_of(path, {}, "tensorrt") == SHARES["int8"]


def test_an_output_of_one_number_is_checked(backend: str, tmp_path: Path) -> None:
    """A quality estimator gives a score without any axis."""
    nodes = [
        onnx.helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        onnx.helper.make_node("Mul", ["mean", "mean"], ["score"]),
    ]
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes, "score",
        [onnx.helper.make_tensor_value_info("x", float32, [1, 3, 4])],
        [onnx.helper.make_tensor_value_info("score", float32, [])],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    build = bundle(tmp_path, backend, model)
    done = run(build)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run(build, "run.py").stdout.startswith("score float32 () [")
