from __future__ import annotations

from types import SimpleNamespace

import pytest

from compress.choice import Limits
from compress.search import most_candidates, propose
from compress.target import load_target
from compress.techniques import load_technique


def names(target: str) -> list[str]:
    found = list(propose(load_target(target), Limits(), SimpleNamespace(candidates=[])))
    for recipe in found:
        for step in recipe.steps:
            load_technique(step)
    assert len(found) <= most_candidates(load_target(target))
    assert len({recipe.name for recipe in found}) == len(found)
    return [recipe.name for recipe in found]


@pytest.mark.parametrize(
    ("target", "proposed", "not_proposed"),
    [
        ("cpu", {"int8", "int8-matmul"}, {"fp16", "int8-fp16", "fp8"}),
        ("jetson-orin-nano-super", {"fp16", "int8", "int8-fp16"}, {"fp8"}),
        ("h100-sxm", {"fp16", "int8-fp16", "fp8"}, set()),
        ("jetson-agx-xavier", {"fp16", "int8"}, {"int8-fp16"}),  # TensorRT 8.5 is told by its builder's flags
    ],
)
def test_what_a_target_computes_in_is_proposed(target, proposed, not_proposed) -> None:
    found = set(names(target))
    assert {"fp32"} | proposed <= found
    assert not found & not_proposed
