"""Where images, boxes and masks come to lie in the network's input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.data import ImageOptions
from compress.data.images import decode
from compress.data.placement import Placement
from compress.errors import DataError

Image = pytest.importorskip("PIL.Image")


def _options(**values: Any) -> ImageOptions:
    return ImageOptions.read(Path("nowhere"), values)


@pytest.mark.parametrize(
    "options, placement",
    [
        ({"size": [50, 60]}, ((60, 50), (0, 0), (60, 50))),
        ({"size": [64, 64], "resize": "letterbox"}, ((64, 32), (0, 16), (64, 64))),
        ({"size": [64, 64], "resize": "letterbox", "pad_position": "top-left"}, ((64, 32), (0, 0), (64, 64))),
        ({"size": [20, 80], "resize": "letterbox"}, ((40, 20), (20, 0), (80, 20))),
        ({"size": [400, 400], "resize": "letterbox"}, ((400, 200), (0, 100), (400, 400))),
        ({"size": [50, 50], "resize": "center-crop"}, ((100, 50), (-25, 0), (50, 50))),
        ({"size": [50, 60], "resize": "center-crop", "shorter": 100}, ((200, 100), (-70, -25), (60, 50))),
        ({}, ((200, 100), (0, 0), (200, 100))),
    ],
)
def test_an_image_of_200_by_100_pixels(options: dict[str, Any], placement: Any) -> None:
    assert Placement.of(200, 100, _options(**options)) == Placement((200, 100), *placement)


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    size=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    position=st.sampled_from(["center", "top-left"]),
)
def test_a_letterbox_holds_the_whole_image(
    width: int, height: int, size: tuple[int, int], position: str
) -> None:
    options = _options(size=list(size), resize="letterbox", pad_position=position)
    placed = Placement.of(width, height, options)
    assert placed.frame == (size[1], size[0])
    assert placed.scaled[0] == size[1] or placed.scaled[1] == size[0]
    for offset, scaled, frame in zip(placed.offset, placed.scaled, placed.frame, strict=True):
        assert 0 <= offset <= offset + scaled <= frame
        before, after = offset, frame - offset - scaled
        assert after - before in ((0, 1) if position == "center" else range(frame))


@pytest.mark.parametrize("mode, value", [("RGB", 114), ("L", 7)])
def test_what_a_letterbox_leaves_free_is_filled(tmp_path: Path, mode: str, value: int) -> None:
    Image.fromarray(np.full((10, 40, 3), 200, np.uint8)).save(tmp_path / "a.png")
    options = {} if value == 114 else {"pad_value": value}
    pixels = decode(
        tmp_path / "a.png",
        _options(size=[20, 20], resize="letterbox", mode=mode, scale=1, mean=None, **options),
    )
    assert (pixels[:, 7:12] > 190).all()
    assert (pixels[:, :7] == value).all()
    assert (pixels[:, 12:] == value).all()


def test_padding_is_scaled_like_pixels(tmp_path: Path) -> None:
    Image.fromarray(np.full((10, 40), 255, np.uint8)).save(tmp_path / "a.png")
    options = _options(size=[20, 20], resize="letterbox", mode="L", pad_value=51, mean=[0.2], std=[0.5])
    assert decode(tmp_path / "a.png", options)[0, 0, 0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"size": [37, 51]},
        {"size": [60, 61], "resize": "letterbox"},
        {"size": [60, 61], "resize": "letterbox", "pad_position": "top-left"},
        {"size": [40, 40], "resize": "center-crop"},
        {"size": [40, 40], "resize": "center-crop", "shorter": 70},
        {},
    ],
)
def test_a_box_goes_where_its_pixels_go(tmp_path: Path, options: dict[str, Any]) -> None:
    """A white rectangle on black: its box encloses what is white in the network's input."""
    picture = np.zeros((90, 120), np.uint8)
    picture[40:60, 50:80] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    told = _options(mode="L", scale=1, pad_value=0, interpolation="nearest", **options)
    pixels = decode(tmp_path / "a.png", told)[0]
    (box,) = Placement.of(120, 90, told).boxes(np.array([[50 / 120, 40 / 90, 80 / 120, 60 / 90, 3, 0]]))
    rows, columns = np.nonzero(pixels == 255)
    assert box[:4] == pytest.approx([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], abs=1)
    assert box[4:].tolist() == [3, 0]


def test_boxes_are_cut_and_those_outside_are_left_out() -> None:
    placed = Placement.of(200, 100, _options(size=[50, 50], resize="center-crop"))
    boxes = np.array([[0, 0, 0.1, 0.5, 0], [0.2, 0.1, 0.5, 0.5, 1], [0.9, 0, 1, 1, 2]])
    assert placed.boxes(boxes).tolist() == [[0, 5, 25, 25, 1]]
    # beyond the image there is only padding, where no object can be
    placed = Placement.of(200, 100, _options(size=[64, 64], resize="letterbox"))
    assert placed.boxes(np.array([[0.0, -0.5, 1, 1.5, 0]])).tolist() == [[0, 16, 64, 48, 0]]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"resize": "letterbox"}, r"resize = 'letterbox' alone; add size = \[height, width\]"),
        ({"resize": "letterbox", "size": [4, 4], "pad_value": 256}, "pad_value"),
        ({"resize": "letterbox", "size": [4, 4], "pad_position": "left"}, "one of center, top-left"),
        ({"resize": "letter-box", "size": [4, 4]}, "did you mean letterbox"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        _options(**options)
