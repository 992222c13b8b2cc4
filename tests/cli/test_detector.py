"""A detector from a COCO folder to its mean average precision, through the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.cli import main
from compress.onnx_graph.files import save_model

Image = pytest.importorskip("PIL.Image")


def _detector() -> onnx.ModelProto:
    """One box, the middle of 16×16 pixels, with the mean of each channel as the score of its class."""
    box = numpy_helper.from_array(np.array([[[4, 4, 12, 12]]], np.float32), "box")
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["means"], keepdims=0),
        helper.make_node("Unsqueeze", ["means", "one"], ["scores"]),
        helper.make_node("ReduceSum", ["scores", "last"], ["sums"], keepdims=1),
        helper.make_node("Mul", ["sums", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "box"], ["boxes"]),
    ]
    constants = [
        box,
        *(
            numpy_helper.from_array(np.array(value), name)
            for name, value in (("axes", [2, 3]), ("one", [1]), ("last", [2]), ("zero", np.float32(0)))
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", 1, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 1, 3]),
        ],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve pictures 32 wide and 16 high, each of one colour; every fourth has its object elsewhere."""
    monkeypatch.chdir(tmp_path)
    save_model(_detector(), tmp_path / "detector.onnx")
    (tmp_path / "val/images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(12):
        pixels = np.full((16, 32, 3), number, np.uint8)
        pixels[:, :, number % 3] = 200
        Image.fromarray(pixels).save(tmp_path / f"val/images/{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 32, "height": 16})
        box = [0, 0, 4, 4] if number % 4 == 3 else [8, 0, 16, 16]  # letterboxed: (4, 4), 8×8
        annotations.append({"image_id": number, "category_id": 1 + number % 3, "bbox": box})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": "rgb"[number - 1]} for number in (1, 2, 3)],
    }
    (tmp_path / "val/annotations").mkdir()
    (tmp_path / "val/annotations/instances.json").write_text(json.dumps(content))
    return tmp_path


def test_the_command_judges_a_detector(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "profile",
        "detector.onnx",
        "--data",
        "val",
        "--image-size",
        "16x16",
        "--image-resize",
        "letterbox",
    ]
    assert main([*arguments, "--threads", "1", "--seconds", "0.1", "--json"]) == 0
    accuracy = json.loads(capsys.readouterr().out)["accuracy"]
    assert accuracy["metric"] == "map"
    # Of the nine pictures that are evaluated, the misses are those whose number is 3, 7 or 11.
    assert 0.4 < accuracy["mean"] < 0.95
    assert accuracy["interval"]["low"] < accuracy["mean"] < accuracy["interval"]["high"]
    assert main([*arguments[:-2], "--threads", "1", "--seconds", "0.1", "--json"]) == 0
    stretched = json.loads(capsys.readouterr().out)["accuracy"]["mean"]
    assert stretched < accuracy["mean"]  # boxes are twice as high there


def test_options_of_a_detector_that_do_not_fit_are_told(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "val/compress-data.toml").write_text('size = [16, 16]\n[detections]\nboxes = "box"\n')
    assert main(["profile", "detector.onnx", "--data", "val", "--threads", "1"]) == 2
    assert "did you mean boxes?" in capsys.readouterr().err
