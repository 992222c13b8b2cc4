"""Segmentation folders: images and the class of each pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.data import Split, open_data
from compress.data.masks import MaskSplit
from compress.errors import DataError

Image = pytest.importorskip("PIL.Image")

MASK = np.array([[0, 1, 2, 255], [3, 3, 0, 0]], np.uint8)


def _write(root: Path, mode: str = "L", mask: Any = MASK) -> Path:
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        pixels = np.random.default_rng(ord(name)).integers(0, 255, (2, 4, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"images/{name}.bmp")
        image = Image.fromarray(mask)
        if mode == "P":
            image = Image.frombytes("P", image.size, mask.tobytes())
            image.putpalette(list(range(255, -1, -1)) * 3)
        image.save(root / f"masks/{name}.png")
    return root


def _masks(split: Split) -> np.ndarray[Any, Any]:
    return np.concatenate([batch.targets for batch in split.batches(1) if batch.targets is not None])


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_pixels_value_is_its_class(tmp_path: Path, mode: str) -> None:
    split = open_data(_write(tmp_path, mode))
    assert isinstance(split, MaskSplit)
    masks = _masks(split)
    assert masks.dtype == np.int64
    assert masks.tolist() == [MASK.tolist()] * 2
    assert (split.labelled, split.labels) == (True, None)


def test_black_and_white_is_1_and_0(tmp_path: Path) -> None:
    root = _write(tmp_path, mask=np.array([[0, 255, 0, 255], [0, 0, 0, 255]], np.uint8))
    for path in (root / "masks").iterdir():
        with Image.open(path) as image:
            image.convert("1").save(path)
    assert _masks(open_data(root))[0].tolist() == [[0, 1, 0, 1], [0, 0, 0, 1]]


def test_masks_are_placed_as_images_by_the_nearest_pixel(tmp_path: Path) -> None:
    root = _write(tmp_path)
    larger = _masks(open_data(root, {"size": [4, 8]}))[0]
    assert larger.tolist() == MASK.repeat(2, axis=0).repeat(2, axis=1).tolist()
    boxed = _masks(open_data(root, {"size": [6, 4], "resize": "letterbox"}))[0]
    assert boxed.tolist() == [[-1] * 4] * 2 + MASK.tolist() + [[-1] * 4] * 2
    cropped = _masks(open_data(root, {"size": [2, 2], "resize": "center-crop"}))[0]
    assert cropped.tolist() == MASK[:, 1:3].tolist()


def test_a_subset_and_the_hash(tmp_path: Path) -> None:
    root = _write(tmp_path)
    before = open_data(root).digests
    Image.fromarray(MASK[::-1].copy()).save(root / "masks/b.png")
    split = open_data(root)
    assert [ours == theirs for ours, theirs in zip(before, split.digests, strict=True)] == [True, False]
    assert _masks(split.take([1])).tolist() == [MASK[::-1].tolist()]


def test_images_and_masks_belong_together(tmp_path: Path) -> None:
    root = _write(tmp_path / "1")
    (root / "masks/a.png").unlink()
    with pytest.raises(
        DataError, match=r"a file of the same name in .*masks; found none for .*images/a\.bmp"
    ):
        open_data(root)
    root = _write(tmp_path / "2")
    (root / "images/a.bmp").unlink()
    with pytest.raises(
        DataError, match=r"a file of the same name in .*images; found none for .*masks/a\.png"
    ):
        open_data(root)
    for part in ("images", "masks"):
        (tmp_path / "3" / part).mkdir(parents=True)
    with pytest.raises(DataError, match="images; found none"):
        open_data(tmp_path / "3")


def test_wrong_masks_are_told(tmp_path: Path) -> None:
    root = _write(tmp_path / "1")
    Image.new("RGB", (4, 2)).save(root / "masks/a.png")
    with pytest.raises(DataError, match=r"a mask of one channel .*mode RGB"):
        _masks(open_data(root))
    root = _write(tmp_path / "2")
    Image.new("L", (5, 2)).save(root / "masks/a.png")
    with pytest.raises(DataError, match=r"a mask of its image's 4x2 pixels; found 5x2"):
        _masks(open_data(root))
    (root / "masks/a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be decoded"):
        _masks(open_data(root))
