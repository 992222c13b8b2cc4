"""Inputs keep the names that the network's author gave them; networks that fix what torch leaves open."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from compress import prune
from compress.errors import DataError
from compress.network.network import load_network
from compress.network.onnx_export import _is_as_near

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((6, 8)).astype(np.float32)
MASK = RANDOM.random((6, 1)).astype(np.float32)


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, X: torch.Tensor, chain_M: torch.Tensor) -> torch.Tensor:  # noqa: N803
        return self.layer(X) * chain_M


class Counted(nn.Module):
    """Reads the number of its samples as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).view(len(x), 4)


class Gathered(nn.Module):
    """A size of one input cuts a tensor that was made of another."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rows = x.shape[0]
        places = self.layer(x).topk(4, -1)[1]
        chosen = torch.gather(mask.unsqueeze(-1), 1, places.reshape(rows, -1).unsqueeze(-1))
        return mask.unsqueeze(-1) * chosen.view(rows, 6, 4, -1).squeeze(-1)


class Boxes(NamedTuple):
    boxes: torch.Tensor
    scores: torch.Tensor


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.boxes, self.scores = nn.Linear(8, 32), nn.Linear(32, 4), nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> Boxes:
        hidden = self.stem(x).relu()
        return Boxes(self.boxes(hidden), self.scores(hidden))


class Unnamed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 4)

    def forward(self, *x: torch.Tensor) -> torch.Tensor:
        return self.inner(*x)


@pytest.mark.parametrize("form", ["module", "torchscript", "pt2"])
def test_capital_letters_stay(tmp_path: Path, form: str) -> None:
    module: nn.Module | Path = Masked().eval()
    path = tmp_path / "model"
    if form == "torchscript":
        torch.jit.script(module).save(path)
    elif form == "pt2":
        sizes = {name: {0: torch.export.Dim("n")} for name in ("X", "chain_M")}
        example = (torch.from_numpy(X), torch.from_numpy(MASK))
        torch.export.save(torch.export.export(module, example, dynamic_shapes=sizes), path)
    network = load_network(module if form == "module" else path, example={"X": X, "chain_M": MASK})
    assert [spec.name for spec in network.inputs] == ["X", "chain_M"]
    assert [value.name for value in network.to_onnx().graph.input] == ["X", "chain_M"]


def test_a_network_that_counts_its_samples_takes_one_at_a_time() -> None:
    torch.manual_seed(0)
    module = Counted().eval()
    network = load_network(module, example=[X])
    assert network.inputs[0].shape == (1, 8)
    session = onnxruntime.InferenceSession(network.to_onnx().SerializeToString())
    (found,) = session.run(None, {"x": X[3:4]})
    np.testing.assert_allclose(found, module(torch.from_numpy(X[3:4])).detach().numpy(), atol=1e-5)


def test_one_batch_of_all_inputs_is_exported() -> None:
    torch.manual_seed(0)
    module = Gathered().eval()
    x = RANDOM.standard_normal((5, 6, 8)).astype(np.float32)
    mask = RANDOM.random((5, 6)).astype(np.float32)
    network = load_network(module, example={"x": x, "mask": mask})
    session = onnxruntime.InferenceSession(network.to_onnx().SerializeToString())
    wanted = module(torch.from_numpy(x), torch.from_numpy(mask)).detach().numpy()
    for rows in (1, 3, 5):
        (found,) = session.run(None, {"x": x[:rows], "mask": mask[:rows]})
        np.testing.assert_allclose(found, wanted[:rows], atol=1e-5)


def test_a_named_tuple_is_written_as_a_plain_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = {"x": RANDOM.standard_normal((60, 8)).astype(np.float32)}
    out = tmp_path / "pruned.pt2"
    prune(Detector().eval(), data=data, out=out, ratio=0.3, threads=1, seconds=0.02)
    boxes, scores = torch.export.load(out).module()(torch.from_numpy(X))
    assert (boxes.shape, scores.shape) == ((6, 4), (6, 2))


def test_inputs_without_names_are_refused_with_a_way_out() -> None:
    with pytest.raises(DataError, match=r"any number of them \(\*args\); wrap the network"):
        load_network(Unnamed(), example=[X])


@pytest.mark.parametrize(
    ("model", "own", "near"),
    [(1e-4, 2e-4, True), (1.5e-4, 1e-4, True), (1e-3, 1e-4, False), (0.5, 0.4, False)],
    ids=["nearer", "as near", "further", "far from both"],
)
def test_float32_is_asked_for_no_more_than_it_holds(model: float, own: float, near: bool) -> None:
    exact = np.linspace(-1, 1, 8)
    results = [(exact + error).astype(np.float32) for error in (model, own)]
    assert _is_as_near(*results, exact) == near
