"""Folders of class folders with images."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.data import ImageOptions, Split, open_data
from compress.data import images as images_module
from compress.data.images import decode
from compress.errors import DataError, UnavailableError

Image = pytest.importorskip("PIL.Image")


def _image(path: Path, height: int = 6, width: int = 8, seed: int = 0, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "val"
    for seed, name in enumerate(["dog/b.png", "dog/a.png", "cat/1.png", "10/x.png", "2/x.png"]):
        _image(root / name, seed=seed)
    return root


def _pixels(split: Split) -> np.ndarray[Any, Any]:
    return np.concatenate([batch.inputs["x"] for batch in split.batches(2)])


def test_labels_are_the_sorted_folders(folder: Path) -> None:
    split = open_data(folder)
    assert split.classes == ("10", "2", "cat", "dog")
    assert split.labels is not None
    assert split.labels.tolist() == [0, 1, 2, 3, 3]
    assert split.labelled
    targets = [batch.targets.tolist() for batch in split.batches(2) if batch.targets is not None]
    assert targets == [[0, 1], [2, 3], [3]]


def test_pixels_are_scaled_channels_first(folder: Path) -> None:
    pixels = _pixels(open_data(folder))
    with Image.open(folder / "10/x.png") as image:
        expected = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
    assert pixels.shape == (5, 3, 6, 8)
    assert pixels.dtype == np.float32
    assert np.array_equal(pixels[0], expected)


def test_torchvisions_order_and_pixels(folder: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    transforms = torchvision.transforms
    steps = [transforms.Resize(5), transforms.CenterCrop((4, 5)), transforms.ToTensor()]
    theirs = torchvision.datasets.ImageFolder(str(folder), transforms.Compose(steps))
    ours = _pixels(open_data(folder, {"size": [4, 5], "resize": "center-crop", "shorter": 5}))
    assert np.allclose(ours, np.stack([np.asarray(image) for image, _ in theirs]), atol=1e-6)


def test_the_toml_beside_the_images_and_options_that_win(folder: Path) -> None:
    (folder / "compress-data.toml").write_text(
        'size = [4, 4]\nmode = "L"\nscale = 2\nmean = [1]\nstd = [4]\nlayout = "NHWC"\n'
    )
    split = open_data(folder)
    assert _pixels(split).shape == (5, 4, 4, 1)
    assert _pixels(open_data(folder, {"size": [3, 5], "mode": None})).shape == (5, 3, 5, 1)
    plain = _pixels(open_data(folder, {"scale": 1, "mean": [0], "std": [1]}))
    assert np.allclose(_pixels(split), (plain / 2 - 1) / 4)
    assert split.origin["options"]["size"] == (4, 4)


def test_options_as_an_object_are_taken_as_they_are(folder: Path) -> None:
    (folder / "compress-data.toml").write_text("size = [4, 4]")
    assert _pixels(open_data(folder, ImageOptions(mode="L"))).shape == (5, 1, 6, 8)


def test_each_channel_has_its_own_mean(folder: Path) -> None:
    plain, shifted = _pixels(open_data(folder)), _pixels(open_data(folder, {"mean": [0.1, 0.2, 0.3]}))
    assert np.allclose(plain - shifted, np.reshape([0.1, 0.2, 0.3], (3, 1, 1)), atol=1e-6)


@pytest.mark.parametrize(
    "options, expected",
    [
        # A picture whose columns are 0, 1, … 39 and whose height is 10.
        ({"size": [10, 20], "resize": "center-crop"}, np.arange(10, 30)),
        ({"size": [5, 5], "resize": "center-crop", "shorter": 10}, np.arange(18, 23)),
        ({"size": [10, 20], "resize": "stretch", "interpolation": "nearest"}, np.arange(1, 40, 2)),
    ],
)
def test_what_is_cut_and_what_is_stretched(tmp_path: Path, options: dict[str, Any], expected: Any) -> None:
    columns = np.tile(np.arange(40, dtype=np.uint8), (10, 1))
    path = tmp_path / "columns.png"
    Image.fromarray(columns).save(path)
    pixels = decode(path, ImageOptions.read(tmp_path, {**options, "mode": "L", "scale": 1}))
    assert pixels.shape == (1, *options["size"])
    assert np.array_equal(pixels[0, 0], expected)


@pytest.mark.parametrize("height, width", [(7, 13), (13, 7), (5, 5), (3, 200), (1, 1)])
def test_a_crop_that_covers_always_has_the_size(tmp_path: Path, height: int, width: int) -> None:
    path = _image(tmp_path / "a.png", height, width)
    for options in ({"size": [5, 9]}, {"size": [9, 5], "shorter": 11}):
        read = ImageOptions.read(tmp_path, {**options, "resize": "center-crop"})
        assert decode(path, read).shape == (3, *options["size"])


def test_images_of_several_sizes_need_a_size(folder: Path) -> None:
    _image(folder / "dog/c.png", 9, 9)
    with pytest.raises(DataError, match=r"images of one size.*set size = \[height, width\]"):
        list(open_data(folder).batches(10))
    assert _pixels(open_data(folder, {"size": [4, 4]})).shape == (6, 3, 4, 4)


def test_a_subset_decodes_its_own_files_only(folder: Path) -> None:
    whole = open_data(folder)
    (folder / "cat/1.png").write_bytes(b"")
    assert np.array_equal(_pixels(whole.take([4, 0])), _pixels(whole.take([0, 4]))[::-1])


def test_the_hash_is_of_files_labels_and_options(folder: Path) -> None:
    digest = open_data(folder).sha256
    assert open_data(folder).sha256 == digest
    assert open_data(folder, {"size": [4, 4]}).sha256 != digest
    (folder / "dog/a.png").rename(folder / "dog/aa.png")
    assert open_data(folder).sha256 == digest
    (folder / "dog/aa.png").rename(folder / "cat/aa.png")
    assert open_data(folder).sha256 != digest


def test_links_and_hidden_files_are_skipped(folder: Path) -> None:
    (folder / ".cache").mkdir()
    (folder / "bird").symlink_to(folder / "dog")
    (folder / "cat/2.png").symlink_to(folder / "dog/a.png")
    _image(folder / "cat/.3.png")
    (folder / "cat/notes.txt").write_text("not an image")
    split = open_data(folder)
    assert len(split) == 5
    assert split.classes == ("10", "2", "cat", "dog")


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "cat/pipe.png")
    assert len(open_data(folder)) == 5


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", None])
def test_a_broken_image_names_its_file(folder: Path, content: bytes | None) -> None:
    path = folder / "dog/a.png"
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(DataError, match=r"dog/a\.png, which cannot be decoded"):
        list(open_data(folder).batches(10))


def test_images_that_vanish_are_told(folder: Path) -> None:
    split = open_data(folder)
    (folder / "dog/a.png").unlink()
    with pytest.raises(DataError, match=r"dog/a\.png: No such file"):
        _ = split.sha256
    with pytest.raises(DataError, match="a folder that can be read"):
        images_module.entries(folder / "gone")


def test_postscript_never_reaches_ghostscript(folder: Path) -> None:
    path = folder / "dog/a.png"
    with Image.open(path) as image:
        image.save(path, format="EPS")
    with pytest.raises(DataError, match="cannot be decoded"):
        list(open_data(folder).batches(10))


def test_a_decompression_bomb_is_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "MAX_PIXELS", 47)
    with pytest.raises(DataError, match=r"at most 47 pixels.*8x6 in"):
        list(open_data(folder).batches(10))
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(DataError, match="cannot be decoded"):
        list(open_data(folder).batches(10))


def test_sixteen_bits_are_not_clipped_silently(folder: Path) -> None:
    Image.fromarray(np.full((6, 8), 40_000, np.uint16)).save(folder / "dog/a.png")
    with pytest.raises(DataError, match="8 bits a channel"):
        list(open_data(folder).batches(10))


def test_the_layout_wanted_is_shown(tmp_path: Path) -> None:
    _image(tmp_path / "flat/1.png")
    with pytest.raises(DataError, match=r"1 files and no folder.*flat/cat/1\.jpg"):
        open_data(tmp_path / "flat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"found no folder in .*links are skipped"):
        open_data(tmp_path / "empty")


def test_a_folder_with_an_npz_points_to_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "val.npz", x=np.zeros((3, 3)))
    with pytest.raises(DataError, match=r"give .*/val\.npz"):
        open_data(tmp_path)


def test_one_level_too_high_is_told(folder: Path) -> None:
    with pytest.raises(DataError, match=f"one level down: {folder}"):
        open_data(folder.parent)


def test_a_class_without_images_is_told(folder: Path) -> None:
    (folder / "ant").mkdir()
    with pytest.raises(DataError, match=r"no image in .*ant"):
        open_data(folder)


@pytest.mark.parametrize(
    "toml, message",
    [
        ("size = 224", "size in .* as a list of 2 items"),
        ("size = [0, 224]", "from 1 to 16384"),
        ("sise = [4, 4]", "did you mean size"),
        ('resize = "crop"', "center-crop"),
        ("scale = 0", "scale"),
        ("mean = [0.5]", "mean with a value for each of the 3 channels"),
        ("std = [1, 0, 1]", "std above 0"),
        ('mode = "CMYK"', "RGB"),
        ('size = [4, 4]\nresize = "center-crop"\nshorter = 3', "shorter of at least the size"),
        ("shorter = 8\nsize = [4, 4]", "center-crop"),
        ('resize = "center-crop"', r"add size = \[height, width\]"),
        ("size = [4, 4", "valid TOML"),
    ],
)
def test_wrong_options_are_told(folder: Path, toml: str, message: str) -> None:
    (folder / "compress-data.toml").write_text(toml)
    with pytest.raises(DataError, match=message):
        open_data(folder)


def test_without_pillow_the_way_to_install_it_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UnavailableError, match="pip install pillow"):
        open_data(folder)


def test_small_files_of_large_images_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images_module, "_HARMLESS_BYTES", 1 << 20)
    monkeypatch.setattr(images_module, "decode_placed", lambda *_: pytest.fail("it was decoded"))
    (tmp_path / "cat").mkdir()
    for name in ("a", "b"):
        Image.new("L", (1000, 1000)).save(tmp_path / "cat" / f"{name}.png")
    with pytest.raises(DataError, match="times as large as their files"):
        next(open_data(tmp_path).batches(2))


def test_large_images_that_are_scaled_down_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "_HARMLESS_BYTES", 1 << 20)
    (tmp_path / "cat").mkdir()
    Image.new("L", (1000, 1000)).save(tmp_path / "cat" / "a.png")
    (batch,) = open_data(tmp_path, {"size": (8, 8)}).batches(2)
    assert batch.inputs["x"].shape == (1, 3, 8, 8)
