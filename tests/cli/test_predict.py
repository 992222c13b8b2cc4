"""``compress predict``: one sample in, outputs out, as the bundle says and never by guessing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest
from onnx.reference import ReferenceEvaluator

import compress
from compress.backends.onnxruntime import OnnxRuntime
from compress.bundle.writing import write_bundle
from compress.cli import main
from compress.data.image_options import ImageOptions
from compress.errors import DataError, UsageError
from compress.recipe import Recipe
from tests.graphs import classifier, samples
from tests.records import profile


def bundle(
    place: Path, model: Any, data: dict[str, Any] | None = None, backend: str = "onnxruntime", **more: Any
) -> Path:
    """Write a bundle of a graph, whose manifest tells of this data."""
    source = place / "source"
    source.mkdir()
    artifact = OnnxRuntime().compile(model, source, {})
    with OnnxRuntime().open(artifact) as session:
        manifest = {
            "artifact": {
                "file": "model.onnx",
                "sha256": artifact.sha256,
                "bytes": artifact.size_bytes,
                "backend": backend,
                "options": artifact.options if backend == artifact.backend else {},
            },
            "inputs": [spec.to_dict() for spec in session.inputs],
            "outputs": [spec.to_dict() for spec in session.outputs],
            **({} if data is None else {"data": data}),
            **more,
        }
    return write_bundle(place / "build", artifact.path, manifest, profile(), Recipe("fp32"), {})


def graph(text: str) -> Any:
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 17]> g {text}')


CLASSES = ["cat", "dog", "emu", "fox"]
SCORES = {"metric": "top-1", "classes": CLASSES}


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return bundle(tmp_path, classifier(), SCORES)


def expected(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    (scores,) = ReferenceEvaluator(classifier()).run(None, {"x": x})
    found: np.ndarray[Any, Any] = scores
    return found


@pytest.mark.parametrize("with_axis", [True, False])
def test_the_largest_classes_are_named(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], with_axis: bool
) -> None:
    x = samples(1)
    np.save(tmp_path / "x.npy", x if with_axis else x[0])
    assert main(["predict", str(build), str(tmp_path / "x.npy"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (output,) = told["outputs"]
    assert [each["class"] for each in output["top"]] == [CLASSES[at] for at in np.argsort(-expected(x)[0])]
    assert output["values"] == pytest.approx(expected(x), abs=1e-5)
    assert main(["predict", str(build), str(tmp_path / "x.npy")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[0] == CLASSES[int(expected(x).argmax())]
    assert len(lines) == 5


def test_outputs_are_written_and_doubles_are_cast(build: Path, tmp_path: Path) -> None:
    x = samples(1)
    np.savez(tmp_path / "x.npz", image=x.astype(np.float64), y=np.array([1]))
    out = tmp_path / "outputs.npz"
    assert main(["predict", str(build), str(tmp_path / "x.npz"), "--out", str(out)]) == 0
    with np.load(out) as written:
        (name,) = written.files
        np.testing.assert_allclose(written[name], expected(x), atol=1e-5)


def test_python_takes_arrays_and_an_open_bundle(build: Path) -> None:
    x = samples(1)
    with compress.load_bundle(build) as opened:
        result = compress.predict(opened, x[0])
        assert compress.predict(opened, {"x": x}).outputs.keys() == result.outputs.keys()
    assert result.input is None
    assert result.top(result.answers[0], 1)[0][0] == CLASSES[int(expected(x).argmax())]
    with pytest.raises(UsageError, match="a number of classes from 1; found 0"):
        result.top(result.answers[0], 0)


def test_several_samples_are_no_sample(build: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", samples(3))
    with pytest.raises(DataError, match=r"one sample for input x: .*found float32\[3, 3, 8, 8\]"):
        compress.predict(build, tmp_path / "x.npy")


def test_a_fixed_batch_is_filled_with_the_sample(tmp_path: Path) -> None:
    build = bundle(tmp_path, graph("(float[4,3] x) => (float[4,3] y) { y = Relu(x) }"))
    result = compress.predict(build, np.array([-1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(result.outputs["y"], [[0.0, 2.0, 3.0]])


def test_samples_lie_along_their_axis(tmp_path: Path) -> None:
    build = bundle(tmp_path, graph("(float[T,batch,2] x) => (float[T,batch,2] y) { y = Neg(x) }"))
    result = compress.predict(build, np.ones((5, 2)))
    assert result.outputs["y"].shape == (5, 1, 2)


def test_values_that_are_no_scores_are_told_by_their_range(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = bundle(tmp_path, graph("(float[N,6] x) => (float[N,6] y) { y = Log(x) }"))
    np.save(tmp_path / "x.npy", np.array([0, 1, 1, 1, 1, np.e]))
    assert main(["predict", str(build), str(tmp_path / "x.npy")]) == 0
    told = capsys.readouterr().out
    assert told == "y  float32, 1×6, from 0 to 1; 1 of 6 values are no finite numbers\n"


def test_a_state_begins_at_zero_and_is_no_input(tmp_path: Path) -> None:
    model = graph("(float[N,2] x, float[N,2] h) => (float[N,2] y, float[N,2] g) { y = Neg(x) g = Add(x, h) }")
    build = bundle(tmp_path, model, states={"h": "g"})
    result = compress.predict(build, np.array([1.0, 2.0]))
    assert list(result.outputs) == ["y"]


def test_images_are_prepared_as_the_data_was(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    from compress.data.images import decode

    options = ImageOptions(size=(8, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    measured = {"kind": "images", "options": json.loads(json.dumps(asdict(options)))}
    build = bundle(tmp_path, classifier(), {**SCORES, "evaluation": measured})
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "picture"  # its content tells what it is
    pillow.fromarray(pixels).save(path, format="PNG")
    result = compress.predict(build, path)
    (scores,) = result.outputs.values()
    np.testing.assert_allclose(scores, expected(decode(path, options)[None]), atol=1e-5)


def test_an_image_is_refused_where_nothing_says_how_to_prepare_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = bundle(tmp_path, classifier(), {**SCORES, "evaluation": {"kind": "npz"}})
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(["predict", str(build), str(path)]) == 2
    told = capsys.readouterr().err
    assert "does not say how images become its input" in told
    assert "measured on npz" in told


def test_a_text_is_taken_by_a_network_of_texts_alone(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sentence.txt"
    path.write_text("good\n")
    assert main(["predict", str(build), str(path)]) == 2
    assert "does not say how text becomes its input" in capsys.readouterr().err
    (tmp_path / "texts").mkdir()
    texts = bundle(tmp_path / "texts", graph("(string[N] x) => (string[N] y) { y = Identity(x) }"))
    assert main(["predict", str(texts), str(path), "--out", str(tmp_path / "o.npz")]) == 0
    assert "y  object, 1: good" in capsys.readouterr().out
    with np.load(tmp_path / "o.npz") as written:
        assert written["y"].tolist() == ["good"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "a sample that can be read"),
        (b"", "does not say how text becomes its input"),
        (b"\xff\xfe\x00\x01", "of another kind"),
        (b"\x93NUMPY\x01", "damaged"),
        (b"PK\x03\x04", "damaged"),
    ],
)
def test_files_that_are_no_sample_are_one_line(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, told: str
) -> None:
    path = tmp_path / "sample"
    if content is not None:
        path.write_bytes(content)
    assert main(["predict", str(build), str(path)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_several_inputs_take_an_array_each(tmp_path: Path) -> None:
    build = bundle(tmp_path, graph("(float[N,2] a, float[N,2] b) => (float[N,2] y) { y = Sub(a, b) }"))
    result = compress.predict(build, {"a": np.array([3.0, 4.0]), "b": np.array([[1.0, 1.0]])})
    np.testing.assert_array_equal(result.outputs["y"], [[2.0, 3.0]])
    with pytest.raises(DataError, match=r"an array for each of a: .*; b: "):
        compress.predict(build, np.zeros(2))


def test_a_board_s_build_is_run_by_onnx_runtime_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = bundle(tmp_path, classifier(), SCORES, backend="tensorrt")
    x = samples(1)
    with compress.load_bundle(build) as opened:
        result = compress.predict(opened, x)
        assert opened.artifact.backend == "tensorrt"
    assert result.backend == "onnxruntime"
    (scores,) = result.outputs.values()
    np.testing.assert_allclose(scores, expected(x), atol=1e-5)
    np.save(tmp_path / "x.npy", x)
    assert main(["predict", str(build), str(tmp_path / "x.npy"), "--json"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("note: ONNX Runtime ran the graph here")
    assert json.loads(told.out)["note"] == result.note


def test_predict_needs_no_torch(build: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", samples(1))
    script = (
        "import sys; sys.modules['torch'] = None; from compress.cli import main; "
        f"sys.exit(main(['predict', {str(build)!r}, {str(tmp_path / 'x.npy')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
