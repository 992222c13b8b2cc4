"""The recipe in a bundle makes the same build again from the original file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import compress
from compress.recipe import Recipe, Step
from tests.graphs import samples


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1152, 4),
    ).eval()
    x = samples(100)
    with torch.no_grad():
        answers = network(torch.from_numpy(x)).argmax(1).numpy()
    np.savez(place / "val.npz", x=x, y=answers)
    batch = torch.export.Dim("batch")
    exported = torch.export.export(network, (torch.from_numpy(x[:2]),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, place / "model.pt2")
    return place


def run(place: Path, out: Path, **settings: Any) -> Any:
    settings = {"backends": ["onnxruntime"], **settings}
    return compress.optimize(
        place / "model.pt2",
        data=place / "val.npz",
        out=out,
        seconds=0.02,
        threads=1,
        max_drop=100.0,
        max_size=0.04,  # fp32 is larger, so that no time decides
        **settings,
    )


@pytest.mark.parametrize(
    ("steps", "backend"),
    [
        ((Step("quantize", {"scope": "all"}),), None),
        ((Step("prune", {"ratio": 0.5}), Step("quantize")), None),
        ((Step("quantize"),), "openvino"),
    ],
    ids=["int8", "pruned", "openvino"],
)
def test_the_winners_recipe_makes_the_same_file_again(
    place: Path, tmp_path: Path, steps: tuple[Step, ...], backend: str | None
) -> None:
    if backend is not None:
        pytest.importorskip(backend)
    recipe = Recipe("best", steps, backend)
    names = ["onnxruntime", *([] if backend is None else [backend])]
    profiles = []
    out = tmp_path / "build"
    for recipes in ([recipe], [out / "recipe.toml"]):
        result = run(place, out, backends=names, recipes=recipes)
        assert result.unapplied == {}
        built = next(entry for entry in result.candidates if entry.recipe.name == "best")
        assert Recipe.from_file(out / "recipe.toml").identity == result.choice.candidate.recipe.identity
        assert result.choice.candidate.recipe.name == "best"
        profiles.append(built.profile)
    first, again = profiles
    assert first.artifact_sha256 == again.artifact_sha256
    assert first.outcomes == again.outcomes
