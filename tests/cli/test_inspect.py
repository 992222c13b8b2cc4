"""What ``compress inspect`` and ``compress lint`` print, and their exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from compress.backends.onnxruntime import OnnxRuntime
from compress.bundle.writing import write_bundle
from compress.cli import main
from compress.cli.inspect import _count, _time
from compress.recipe import Recipe
from tests.graphs import classifier, two_inputs
from tests.records import profile


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(classifier(), path)
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    artifact = OnnxRuntime().compile(classifier(), source, {})
    manifest = {
        "artifact": {
            "file": "model.onnx",
            "sha256": artifact.sha256,
            "bytes": artifact.size_bytes,
            "backend": artifact.backend,
            "options": artifact.options,
        },
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 3, 8, 8]}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": ["batch", 4]}],
    }
    return write_bundle(tmp_path / "build", artifact.path, manifest, profile(), Recipe("fp32"), {})


def asymmetric(path: Path) -> Path:
    """A graph with a zero point that TensorRT refuses."""
    onnx.save(
        onnx.parser.parse_model(
            """<ir_version: 9, opset_import: ["": 17]> g (float[N,4] x) => (float[N,4] y)
            <float s = {0.1}, int8 z = {3}> { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"""
        ),
        path,
    )
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    return captured.out if code in (0, 1) else captured.err


def reported(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(printed(capsys, *arguments, "--json"))
    return found


def test_the_table_reads_as_an_engine_runs_it(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "inspect", model)
    lines = text.splitlines()
    assert lines[0].startswith(f"{model}  onnx, sha256 ")
    assert "x: float32[batch, 3, 8, 8]" in text
    (first,) = [line.split() for line in lines if line.startswith("conv1")]
    assert first == ["conv1", "Conv+Relu", "1×8×8×8", "224", "13.8", "k", "3.71", "kB", "fp32"]
    assert lines[-1].split()[:6] == ["4", "layers", "844", "50.7", "k", "12.4"]
    assert "estimated" not in text


def test_the_batch_multiplies_macs_but_not_parameters(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, eight = (reported(capsys, "inspect", model, "--batch", batch) for batch in (1, 8))
    assert eight["batch"] == 8
    assert eight["totals"]["macs"] == 8 * one["totals"]["macs"]
    assert eight["totals"]["parameters"] == one["totals"]["parameters"] == 844


def test_an_estimate_says_that_it_is_one(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "inspect", model, "--target", "jetson", "--batch", "4")
    assert re.search(
        r"ESTIMATED [\d.]+ [µm]s \([\d.]+ [µm]s to [\d.]+ [µm]s\) on jetson-orin-nano-super at batch 4", text
    )
    assert "90 % of networks are expected inside the interval" in text
    assert "not a measurement" in text
    assert all(word in text for word in ("estimated", "bound", "launch"))
    estimate = reported(capsys, "inspect", model, "--target", "jetson")["estimate"]
    assert estimate["source"] == "estimated"
    assert {layer["source"] for layer in estimate["layers"]} == {"estimated"}
    assert estimate["interval_ms"][0] < estimate["latency_ms"] < estimate["interval_ms"][1]


def test_a_precision_the_target_lacks_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "half.onnx"
    graph = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 17]> g (float16[N,4] x) => (float16[N,4] y) { y = MatMul(x, w) }'
    )
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 4), np.float16), "w"))
    onnx.save(graph, path)
    board = tmp_path / "board.toml"
    board.write_text(
        """family = "arm"\ndescription = "x"\nbackend = "onnxruntime"\nprovider = "CPUExecutionProvider"
memory_gb = 1\nbandwidth_gb_s = 10\nlaunch_overhead_us = 1\nprecisions = ["fp32"]\nbatch_sizes = [1, 2]
[peaks]\nfp32_tflops = 0.1\n[quantization]\nactivation = "int8"\nweight = "int8"\nsymmetric = true
per_channel = true\nreduce_range = false\nquantize_bias = true\n"""
    )
    assert "fp16 as fp32" in printed(capsys, "inspect", path, "--target", board)


def test_unknown_operators_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "custom.onnx"
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 9, opset_import: ["": 17, "own": 1]> g (float[N,4] x) => (float[N,4] y) { y = own.Magic(x) }'
        ),
        path,
    )
    text = printed(capsys, "inspect", path)
    assert "Not counted, their cost is unknown: Magic" in text
    assert "?" in text


def test_a_bundle_shows_its_artifact(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = reported(capsys, "inspect", bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert (report["format"], report["sha256"]) == ("bundle", manifest["artifact"]["sha256"])
    assert report["totals"]["parameters"] == 844
    assert printed(capsys, "lint", bundle, "--target", "jetson") == "no findings\n"


def test_onnx_and_bundles_need_no_torch(model: Path, bundle: Path) -> None:
    script = """
import sys
sys.modules["torch"] = None  # as where it is not installed
from compress.cli import main
for path in sys.argv[1:]:
    assert main(["inspect", path, "--target", "jetson"]) == 0
    assert main(["lint", path, "--target", "jetson"]) == 0
"""
    subprocess.run([sys.executable, "-c", script, str(model), str(bundle)], check=True, capture_output=True)


def test_shapes_by_order_and_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "open.onnx"
    onnx.save(
        onnx.parser.parse_model(
            """<ir_version: 9, opset_import: ["": 17]>
            g (float[N,T] a, float[N,T] b) => (float[N,T] y) { y = Add(a, b) }"""
        ),
        path,
    )
    assert "left open" in printed(capsys, "inspect", path, code=2)
    ordered = reported(capsys, "inspect", path, "--input", "1x7", "--input", "1x7", "--batch", "3")
    named = reported(capsys, "inspect", path, "--input", "b=3x7", "--input", "a=3x7")
    assert ordered["layers"] == named["layers"]
    assert ordered["layers"][0]["outputs"] == [[3, 7]]
    assert named["batch"] == 3


def test_two_inputs_are_both_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "two.onnx"
    onnx.save(two_inputs(), path)
    assert "left: float32[batch, 4]; right: float32[batch, 4]" in printed(capsys, "inspect", path)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--input", "3x"], "wanted [NAME=]1x3x32x32[:DTYPE]; found '3x'"),
        (["--input", "0x3x8x8"], "found '0x3x8x8'"),
        (["--input", "1x3x8x8:floaty"], "found '1x3x8x8:floaty'"),
        (["--input", "1x3x8x8", "--input", "1x3x8x8"], "wanted shapes for x; found 2"),
        (["--input", "1x3x9x9"], "found 1x3x9x9"),
        (["--input", "u=1x3x8x8"], "name one of: x"),
        (["--target", "jetsen"], "did you mean jetson"),
        (["--batch", "0"], "0 is not from 1"),
    ],
)
def test_usage(model: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in printed(capsys, "inspect", model, *arguments, code=2)


def test_a_fixed_batch_cannot_be_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fixed.onnx"
    onnx.save(classifier(batch=2), path)
    assert reported(capsys, "inspect", path)["batch"] == 2
    assert "found a network of batch 2" in printed(capsys, "inspect", path, "--batch", "4", code=2)


@pytest.mark.parametrize("command", [["inspect"], ["lint", "--target", "jetson"]])
def test_what_is_no_network(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in printed(capsys, *command, tmp_path / "none.onnx", code=2)
    assert "bundle" in printed(capsys, *command, tmp_path, code=2)
    text = tmp_path / "text.onnx"
    text.write_text("not a network")
    assert "error: wanted" in printed(capsys, *command, text, code=2)


def test_a_truncated_file_is_told_in_one_line(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.write_bytes(model.read_bytes()[:-100])
    error = printed(capsys, "inspect", model, code=2)
    assert error.startswith("error: wanted")
    assert len(error.splitlines()) == 1


def test_lint_says_what_is_wrong_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = asymmetric(tmp_path / "model.onnx")
    *findings, last = printed(capsys, "lint", path, "--target", "jetson", code=1).splitlines()
    assert findings[0] == "error zero-point"
    assert [line.split(":")[0] for line in findings[1:]] == ["  at q, y"]
    assert last == "2 errors, 0 warnings"
    main(["lint", str(path), "--target", "jetson", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["target"] == "jetson-orin-nano-super"
    assert [finding["rule"] for finding in report["findings"]] == ["zero-point", "zero-point"]


def test_lint_with_warnings_only_exits_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "open.onnx"
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 9, opset_import: ["": 17]> g (float[N,T] x) => (float[N,T] y) { y = Relu(x) }'
        ),
        path,
    )
    assert printed(capsys, "lint", path, "--target", "jetson").endswith("0 errors, 1 warning\n")


def test_lint_of_a_clean_graph(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "lint", model, "--target", "jetson") == "no findings\n"


def test_a_module_in_torch_needs_its_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "script.pt"
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3, 8, 8)), path)
    assert "--shape" in printed(capsys, "inspect", path, code=2)
    report = reported(capsys, "inspect", path, "--input", "1x3x8x8", "--batch", "2")
    assert report["format"] == "torchscript"
    assert report["totals"]["macs"] == 2 * 6 * 6 * 4 * 27


@pytest.mark.parametrize("command", [["inspect"], ["lint", "--target", "jetson"]])
@pytest.mark.parametrize(
    ("given", "taken_by"),
    [
        (["--factory", "package.module:build"], "a state dict, for --factory"),
        (["--weights", "ema"], "a checkpoint with several sets of weights, for --weights"),
        (["--batch-axis", "1"], "a .pt2, TorchScript or checkpoint file, for --batch-axis"),
    ],
)
def test_options_that_a_file_has_no_use_for_are_refused(
    command: list[str],
    given: list[str],
    taken_by: str,
    model: Path,
    bundle: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path, kind in ((model, "an ONNX file"), (bundle, "a bundle")):
        wanted = f"error: wanted {taken_by}; found {path}, {kind}; leave {given[0]} out\n"
        assert printed(capsys, *command, path, *given, code=2) == wanted


def test_samples_are_counted_along_axis_0_or_the_one_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")

    class StepsFirst(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.cumsum(0)  # a sample is x[:, n]

    steps, batch = torch.zeros(5, 3, 4), torch.export.Dim("batch")
    program = torch.export.export(StepsFirst(), (steps,), dynamic_shapes=({1: batch},))
    torch.export.save(program, tmp_path / "net.pt2")
    torch.jit.save(torch.jit.trace(StepsFirst(), steps), tmp_path / "net.pt")
    for name, shape in (("net.pt2", "x: float32[5, "), ("net.pt", "x: float32[batch, 3, 4]")):
        path = tmp_path / name
        along_0 = printed(capsys, "inspect", path, "--shape", "5x3x4")
        assert shape in along_0
        assert "batch    5\n" in along_0
        along_1 = printed(capsys, "inspect", path, "--shape", "5x3x4", "--batch-axis", "1")
        assert "x: float32[time, batch, 4]" in along_1
        assert "batch    3\n" in along_1
        alone = printed(capsys, "inspect", path, "--batch-axis", "1", code=2)
        assert alone == (
            "error: wanted --shape with --batch-axis; found none; give --shape, or leave --batch-axis out\n"
        )


@pytest.mark.parametrize(
    "number, text",
    [(0, "–"), (999, "999"), (1000, "1 k"), (999_999, "1 M"), (40_551_040, "40.6 M"), (3 * 10**12, "3 T")],
)
def test_counts(number: int, text: str) -> None:
    assert _count(number) == text


def test_times() -> None:
    assert [_time(value) for value in (0.0081, 0.9996, 12.345)] == ["8.1 µs", "1 ms", "12.3 ms"]
