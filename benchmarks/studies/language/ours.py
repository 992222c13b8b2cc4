"""Our builds of the language model: by the recipes that the search tries for one, as files."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np

from benchmarks.studies.language.peers import Build
from compress.language.document_calls import beginnings
from compress.language.traffic import weight_bytes
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe, Step
from compress.target.target import load_target
from compress.techniques import apply_recipe
from compress.techniques.base import Context

if TYPE_CHECKING:
    from compress.data.task import Task
    from compress.language.network import LoadedDecoder

_FAST = {"algorithm": "rtn", "compute": "int8"}

#: The name of the build that all others are held against.
FLOAT = "fp32"

#: Steps of the recipe of each build.
RECIPES: dict[str, tuple[Step, ...]] = {
    FLOAT: (),
    "int8": (Step("weight_only", {**_FAST, "bits": 8}),),
    "int4": (Step("weight_only", _FAST),),
    "int4, searched grids": (Step("weight_only", {**_FAST, "algorithm": "search"}),),
    "int4, GPTQ": (Step("weight_only", {**_FAST, "algorithm": "gptq"}),),
    "int4, groups of 64, all": (
        Step("weight_only", {**_FAST, "tied_bits": 4, "group_size": 64, "symmetric": True}),
    ),
    "mixed, 5.5 bits": (Step("weight_only_mixed", {"average_bits": 5.5}),),
    "mixed, 6 bits": (Step("weight_only_mixed", {"average_bits": 6.0}),),
}


def our_builds(
    decoder: LoadedDecoder, texts: Sequence[Sequence[int]], work: Path, names: Sequence[str]
) -> list[Build]:
    """Return our builds, made where they are missing; what a choice of bits predicted and cost lies beside it.

    Args:
        decoder: The model.
        texts: Ids of the tokens of texts to calibrate on.
        work: Directory of the builds.
        names: Names of the builds, of :data:`RECIPES`.
    """
    found = []
    for name in names:
        folder = work / "ours" / name.replace(", ", "-").replace(" ", "-")
        path = folder / "model.onnx"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            documents = [np.array(ids, np.int64) for ids in texts]
            split = beginnings(documents, {}, decoder.network)  # type: ignore[arg-type]
            task = cast("Task", SimpleNamespace(calibration=split))
            context = Context(task, load_target("cpu"), cache=work / "costs")
            made = apply_recipe(Recipe(name, RECIPES[name]), decoder.network, context)
            (folder / "reports.json").write_text(json.dumps(context.reports))
            save_model(made.to_onnx(), path)
        size = sum(each.stat().st_size for each in folder.glob("model.onnx*"))
        found.append(Build(name, "ours", path, sys.executable, size, weight_bytes(path), {}))
    return found
