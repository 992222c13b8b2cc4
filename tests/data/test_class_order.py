"""The order of class folders, from a file, the folder's own file, or Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.data import ImageOptions, open_data
from compress.data.class_order import with_classes
from compress.data.evaluation import load_evaluation
from compress.data.task import load_task
from compress.errors import DataError

Image = pytest.importorskip("PIL.Image")

ORDER = ["dog", "cat", "bird"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("bird", "cat", "dog")):
        (tmp_path / "val" / name).mkdir(parents=True)
        for each in range(2):
            pixels = np.full((4, 4, 3), 40 * number + each, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "val" / name / f"{each}.png")
    return tmp_path / "val"


def labels(split: Any) -> list[int]:
    return [int(each) for each in split.labels]


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "content",
    [
        "dog\ncat\n\nbird\n",
        "\ufeffdog\r\ncat\r\nbird",
        ORDER,
        {"0": "dog", "1": "cat", "2": "bird"},
        {"2": "bird", "0": "dog", "1": "cat"},
        {"dog": 0, "cat": 1, "bird": 2},
        {"id2label": {"0": "dog", "1": "cat", "2": "bird"}, "architectures": ["ResNet"]},
        {"0": ["n1", "dog"], "1": ["n2", "cat"], "2": ["bird", "tench"]},
    ],
    ids=str,
)
def test_every_form_of_file_gives_the_order(folder: Path, tmp_path: Path, content: Any) -> None:
    path = write(tmp_path / "names", content)
    split = open_data(folder, with_classes(None, str(path)))
    assert split.classes == ("dog", "cat", "bird")
    assert labels(split) == [2, 2, 1, 1, 0, 0]
    assert labels(split.take([5, 0])) == [0, 2]
    targets = [batch.targets.tolist() for batch in split.batches(4) if batch.targets is not None]
    assert targets == [[2, 2, 1, 1], [0, 0]]


def test_names_in_python_and_in_the_folders_own_file(folder: Path) -> None:
    assert labels(open_data(folder)) == [0, 0, 1, 1, 2, 2]
    given = open_data(folder, with_classes({"size": [2, 2]}, ORDER))
    assert labels(given) == [2, 2, 1, 1, 0, 0]
    assert next(given.batches(1)).inputs["x"].shape == (1, 3, 2, 2)
    assert labels(open_data(folder, with_classes(ImageOptions(), ORDER))) == labels(given)
    write(folder / "compress-data.toml", 'classes = ["cat", "dog", "bird"]\n')
    split = open_data(folder)
    assert labels(split) == [2, 2, 0, 0, 1, 1]
    assert split.origin["classes"] == ("cat", "dog", "bird")
    assert split.take([0]).origin == split.origin
    assert labels(open_data(folder, with_classes(None, ORDER))) == labels(given)  # what is given wins


def test_a_class_may_have_no_image(folder: Path) -> None:
    split = open_data(folder, with_classes(None, ["fish", *ORDER, "horse"]))
    assert labels(split) == [3, 3, 2, 2, 1, 1]
    assert split.classes == ("fish", *ORDER, "horse")


def test_names_that_two_classes_share_mean_neither(folder: Path, tmp_path: Path) -> None:
    path = write(
        tmp_path / "index.json", {"0": ["n1", "dog"], "1": ["n2", "dog"], "2": ["cat"], "3": ["bird"]}
    )
    with pytest.raises(DataError, match="val/dog"):
        open_data(folder, with_classes(None, path))


def test_data_in_another_order_are_other_data(folder: Path) -> None:
    hashes = {
        open_data(folder, with_classes(None, order)).sha256
        for order in (None, ORDER, ORDER[::-1], [*ORDER[::-1], "fish"])
    }
    assert len(hashes) == 2  # ORDER[::-1] is the order of the alphabet; what is recorded of it stays valid


def test_every_reader_of_a_task_takes_it(folder: Path) -> None:
    options = with_classes(None, ORDER)
    task, _ = load_evaluation(folder, image_options=options)
    assert labels(task.evaluation) == [2, 2, 1, 1, 0, 0]
    task = load_task(folder, train_data=folder, image_options=options, calibrates=False)
    assert task.training is not None
    assert labels(task.training) == labels(task.evaluation)
    assert task.provenance["evaluation"]["classes"] == ORDER
    with pytest.raises(DataError, match="image options"):
        load_task((np.zeros((9, 2), np.float32), np.arange(9) % 2), image_options=options)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["dog", "cta", "bird"], "val/cat; did you mean cta"),
        (["dog", "bird"], "val/cat; add its name"),
        (["dog", "cat", "bird", "dog"], "'dog' twice"),
        (["dog", 3], "3 as class 1"),
        ([], "list their names"),
        ([["cat", "dog"], ["bird"]], "'cat' and 'dog' in"),
    ],
)
def test_an_order_that_does_not_fit_the_folders(folder: Path, order: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(folder, with_classes(None, order))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"0": "dog", "2": "cat"}, "numbers are not 0 to 1"),
        ({"dog": 1, "cat": 2}, "numbers are not 0 to 1"),
        ({"dog": 0, "cat": 0}, "numbers are not 0 to 1"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("", "list their names"),
    ],
    ids=["gap", "from 1", "twice", "cut", "deep", "empty"],
)
def test_a_file_that_is_no_order(folder: Path, tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(folder, with_classes(None, write(tmp_path / "names", content)))
    with pytest.raises(DataError, match="check the file"):
        open_data(folder, with_classes(None, tmp_path / "nowhere"))
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match="check the file"):
        open_data(folder, with_classes(None, tmp_path / "latin"))


def test_annotations_number_their_classes_themselves(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name / "1.png")
    assert len(open_data(tmp_path)) == 1
    with pytest.raises(DataError, match="annotations number the classes"):
        open_data(tmp_path, with_classes(None, ORDER))


@pytest.mark.parametrize(
    ("key", "near"), [("clases", "classes"), ("sizes", "size"), ("interpolaton", "interpolation")]
)
def test_unknown_keys_of_the_file_get_the_nearest(folder: Path, key: str, near: str) -> None:
    write(folder / "compress-data.toml", f'{key} = "x"\n')
    with pytest.raises(DataError, match=f"did you mean {near}"):
        open_data(folder)
