from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from compress.data.arrays import ArraySplit
from compress.data.task import load_task
from compress.gate import Check, GatePolicy, Verdict, gate
from compress.gate.corruptions import CORRUPTIONS, CorruptedSplit, image_like
from compress.onnx_graph.files import save_model


def corrupted(name: str, images: np.ndarray, size: int = 64) -> np.ndarray:
    split = CorruptedSplit(ArraySplit.from_arrays({"x": images}), CORRUPTIONS[name])
    return np.concatenate([batch.inputs["x"] for batch in split.batches(size)])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_are_the_same_on_every_reading(name: str) -> None:
    images = np.random.default_rng(0).standard_normal((20, 3, 8, 8)).astype(np.float32)
    whole = corrupted(name, images)
    assert whole.dtype == images.dtype
    assert whole.shape == images.shape
    assert not np.array_equal(whole, images)
    np.testing.assert_array_equal(whole, corrupted(name, images, size=7))


def test_strength_follows_the_scale_of_the_inputs() -> None:
    images = np.random.default_rng(0).standard_normal((64, 1, 16, 16))
    small, large = (np.std(corrupted("noise", scale * images) - scale * images) for scale in (1, 100))
    assert small == pytest.approx(0.3, rel=0.05)
    assert large == pytest.approx(30, rel=0.05)


def test_blur_is_the_mean_of_nine_pixels_in_either_layout() -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8))
    channels_first = corrupted("blur", images)
    assert channels_first[0, 1, 4, 5] == pytest.approx(images[0, 1, 3:6, 4:7].mean())
    channels_last = corrupted("blur", images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(channels_last, channels_first.transpose(0, 2, 3, 1))


def test_contrast_halves_the_distance_to_the_mean() -> None:
    images = np.random.default_rng(0).standard_normal((4, 1, 8, 8)) + 3
    found = corrupted("contrast", images)
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(found.std(axis=(1, 2, 3)), images.std(axis=(1, 2, 3)) / 2)


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [
        ((2, 3, 8, 8), (2, 3)),
        ((2, 8, 8, 3), (1, 2)),
        ((2, 8, 8, 1), (1, 2)),
        ((2, 8, 8, 4), (1, 2)),
        ((2, 4, 8, 4), (2, 3)),  # both may count channels: the first does
        ((2, 8, 8, 2), (2, 3)),  # neither is known to count channels
        ((2, 1, 8, 1), (2, 3)),
    ],
)
def test_the_axis_of_channels_is_not_blurred(shape: tuple[int, ...], pixels: tuple[int, int]) -> None:
    images = np.zeros(shape)
    middle = tuple(size // 2 for size in shape[1:])
    images[(0, *middle)] = 9.0
    touched = np.nonzero(corrupted("blur", images)[0])
    spread = tuple(axis + 1 for axis, places in enumerate(touched) if len(set(places)) > 1)
    assert spread == tuple(axis for axis in pixels if shape[axis] > 1)


def test_a_part_of_corrupted_samples_keeps_their_labels_and_origin() -> None:
    images = np.random.default_rng(0).standard_normal((20, 1, 8, 8))
    split = CorruptedSplit(ArraySplit.from_arrays({"x": images, "y": np.arange(20)}), CORRUPTIONS["contrast"])
    part = split.take(np.array([3, 5]))
    assert (len(split), len(part)) == (20, 2)
    assert part.labels is not None
    assert part.labels.tolist() == [3, 5]
    (batch,) = part.batches(4)
    mean = images[[3, 5]].mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(batch.inputs["x"], mean + (images[[3, 5]] - mean) / 2)
    assert batch.targets is not None
    assert batch.targets.tolist() == [3, 5]


def test_noise_takes_its_scale_from_the_first_samples() -> None:
    images = np.random.default_rng(0).standard_normal((200, 1, 8, 8))
    images[64:] *= 100
    noise = corrupted("noise", images) - images
    assert np.std(noise[:64]) == pytest.approx(0.3, rel=0.1)
    assert np.std(noise[64:]) == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize(
    ("inputs", "like"),
    [
        ({"x": np.zeros((40, 1, 8, 8), np.float32)}, True),
        ({"x": np.zeros((40, 8, 8), np.float32)}, False),
        ({"x": np.zeros((40, 1, 8, 8), np.uint8)}, False),
        ({"x": np.zeros((40, 1, 8, 8), np.float32), "z": np.zeros((40, 1, 8, 8), np.float32)}, False),
    ],
)
def test_images_are_one_input_of_numbers_with_four_axes(inputs: dict[str, np.ndarray], like: bool) -> None:
    assert image_like(load_task({**inputs, "y": np.arange(40) % 2}, calibrates=False)) is like


def brightest(threshold: float) -> onnx.ModelProto:
    """Class 1 where a pixel is above ``threshold``, else class 0: blur takes single bright pixels away."""
    nodes = [
        helper.make_node("ReduceMax", ["x", "axes"], ["top"], keepdims=0),
        helper.make_node("Reshape", ["top", "column"], ["score"]),
        helper.make_node("Sub", ["threshold", "score"], ["other"]),
        helper.make_node("Sub", ["score", "threshold"], ["one"]),
        helper.make_node("Concat", ["other", "one"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "brightest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
            helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1]),
            helper.make_tensor("threshold", TensorProto.FLOAT, [], [threshold]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def judged(tmp_path: Path, thresholds: tuple[float, float], images: np.ndarray, y: np.ndarray) -> list[Check]:
    paths = [save_model(brightest(each), tmp_path / f"{each}.onnx") for each in thresholds]
    policy = replace(GatePolicy(), checks=("accuracy", "corruptions"))
    return gate(*paths, task=load_task((images, y)), policy=policy)


def test_build_that_fails_on_blurred_images_alone_is_found(tmp_path: Path) -> None:
    """Half of the images have a bright pixel of 9, which blur makes 1: the candidate's threshold is above that."""
    random = np.random.default_rng(0)
    y = np.arange(600) % 2
    images = random.uniform(0, 0.01, (600, 1, 8, 8)).astype(np.float32)
    images[y == 1, 0, 4, 4] = 9
    accuracy, corruptions = judged(tmp_path, (3.0, 0.8), images, y)
    assert accuracy.verdict is Verdict.PASS
    assert corruptions.verdict is Verdict.FAIL
    assert "beyond the margin: blur" in corruptions.detail
    alike = judged(tmp_path, (3.0, 3.0), images, y)[1]
    assert alike.verdict is Verdict.PASS


def test_inputs_that_are_no_images_are_skipped(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["scores"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = save_model(model, tmp_path / "identity.onnx")
    x = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    (check,) = gate(path, path, task=load_task((x, x.argmax(1))), policy=GatePolicy(checks=("corruptions",)))
    assert check.verdict is Verdict.SKIPPED
