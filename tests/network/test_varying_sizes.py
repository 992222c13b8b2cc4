"""Networks of torch whose samples differ in height, width or length stay open in what is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from compress import quantize
from compress.api.inputs import load_bound
from compress.data.task import load_task

RANDOM = np.random.default_rng(0)


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.attention(self.table(x)).mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrence, self.head = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.recurrence(x)[0])


def batches(*shapes: tuple[int, ...], tokens: bool = False) -> list[dict[str, np.ndarray]]:
    """Four samples of each shape, several times."""
    return [
        {
            "x": RANDOM.integers(0, 20, (4, *shape))
            if tokens
            else RANDOM.standard_normal((4, *shape)).astype(np.float32)
        }
        for _ in range(3)
        for shape in shapes
    ]


@pytest.mark.parametrize(
    ("module", "data", "unseen"),
    [
        (Images(), batches((3, 12, 16), (3, 10, 14)), (2, 3, 18, 9)),
        (Recurrent(), batches((9, 4), (13, 4)), (3, 21, 4)),
    ],
    ids=["images", "recurrent"],
)
@pytest.mark.parametrize("scripted", [False, True], ids=["module", "torchscript"])
def test_other_sizes_than_those_of_the_example_run(module, data, unseen, scripted, tmp_path: Path):
    given = torch.jit.script(module.eval()) if scripted else module.eval()
    result = quantize(given, data=data, out=tmp_path / "q.onnx")
    session = onnxruntime.InferenceSession(str(result.path))
    x = RANDOM.standard_normal(unseen).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    assert found.shape == wanted.shape
    assert np.square(found - wanted).sum() < 0.01 * np.square(wanted).sum()


def test_tokens_of_any_length_are_taken():
    network, task = load_bound(load_task(batches((7,), (11,), tokens=True)), Tokens().eval())
    (name, length) = network.inputs[0].shape
    assert name == "batch"
    assert isinstance(length, str)
    assert sum(len(batch) for batch in task.evaluation.batches(4)) == len(task.evaluation)


def test_axes_in_which_samples_agree_stay_fixed():
    network, _ = load_bound(
        load_task({"x": RANDOM.standard_normal((20, 3, 8, 8)).astype(np.float32)}), Images().eval()
    )
    assert network.inputs[0].shape == ("batch", 3, 8, 8)


def test_axes_in_which_no_two_samples_differ_at_once_are_all_opened():
    data = batches((3, 8, 8), (3, 8, 12), (3, 12, 8))
    network, task = load_bound(load_task(data), Images().eval())
    assert [isinstance(size, str) for size in network.inputs[0].shape] == [True, False, True, True]
    assert sum(len(batch) for batch in task.evaluation.batches(4)) == len(task.evaluation)


def test_another_example_is_the_datas_own_where_one_sample_differs_along_every_axis():
    task = load_task(batches((3, 8, 8), (3, 8, 12), (3, 10, 14)), calibrates=False)
    other = task.other_example()
    assert other is not None
    assert other["x"].shape == (1, 3, 10, 14)
    assert any(
        np.array_equal(other["x"][0], batch.inputs["x"][0])
        for batch in task.evaluation.batches(1)
        if batch.inputs["x"].shape == other["x"].shape
    )
    assert load_task(batches((3, 8, 8)), calibrates=False).other_example() is None
