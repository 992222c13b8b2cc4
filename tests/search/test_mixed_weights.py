"""Bits that differ by matrix are proposed for sizes that the network's matrices can have, and for no others."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compress.errors import RecipeError
from compress.language.document_calls import beginnings
from compress.language.network import load_decoder
from compress.quantization.weights import Settings, quantize_weights
from compress.recipe import Recipe, Step
from compress.search.limits import Limits
from compress.search.mixed_weights import Room, mixed_weights
from compress.target.target import load_target
from compress.techniques import apply_recipe
from compress.techniques.base import Context
from tests.language.documents import sentences, small_model
from tests.records import candidate

INT4 = Recipe("int4-weights", (Step("weight_only", {"algorithm": "search", "compute": "int8"}),))
KEPT, LOST = (0.0, 0.2, 0.5), (5.0, 6.0, 7.0)
NARROW = {"hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 3, "num_key_value_heads": 1}


def report(*shapes: tuple[int, int], table: tuple[int, int] | None = None) -> dict[str, Any]:
    """Return a report of 4 bits in groups of 32 with zero points, of matrices and of a table in 8 bits."""
    form = {"bits": 4, "group_size": 32, "symmetric": False}
    rows = [
        {"nodes": [f"product{number}"], "shape": list(shape), **form} for number, shape in enumerate(shapes)
    ]
    if table is not None:
        rows.append({"nodes": ["lookup", "head"], "shape": list(table), **form, "bits": 8})
    weights = sum(row["shape"][0] * row["shape"][1] for row in rows)
    return {"layers": rows, "bytes_before": 4 * weights + 10_000}


def proposed(
    drop: tuple[float, float, float], found: dict[str, Any] | None, size: float | None = None
) -> list[str]:
    reports = {} if found is None else {"weight_only": found}
    run = SimpleNamespace(
        candidates=[replace(candidate("int4", ratio=0.4, drop=drop), recipe=INT4, reports=reports)]
    )
    due = [each.due(run) for each in mixed_weights(Limits(max_size_mb=size), True, INT4)]
    return [recipe.name for recipe in due if recipe is not None]


def test_wide_matrices_can_have_few_bits() -> None:
    found = report((512, 512), (512, 2048), table=(4096, 512))
    assert proposed(KEPT, found) == ["mixed-weights-4.6"]
    assert proposed(LOST, found) == ["mixed-weights-6", "mixed-weights-7"]


def test_narrow_matrices_get_the_fewest_bits_that_they_can_have() -> None:
    found = report((96, 96), (256, 96), table=(2000, 96))  # groups of 64 do not divide the table's rows
    assert proposed(KEPT, found) == ["mixed-weights-5"]


def test_where_the_plain_build_has_the_fewest_bits_there_is_nothing_to_propose() -> None:
    assert proposed(KEPT, report((96, 96), (256, 96))) == []  # 5.125 bits, and no form has fewer than 5


def test_nothing_is_proposed_that_even_the_smallest_forms_exceed() -> None:
    found = report((8, 33), (16, 33))  # the second group of each row is filled up: nearly twice the bits
    assert proposed(LOST, found) == []
    assert proposed(LOST, None) == ["mixed-weights-6", "mixed-weights-7"]  # nothing is known


@pytest.mark.parametrize(("megabytes", "found"), [(0.3, ["mixed-weights"]), (0.1, [])])
def test_a_limit_on_the_size_is_tried_where_the_file_can_be_as_small(
    megabytes: float, found: list[str]
) -> None:
    assert proposed(LOST, report((512, 512), (512, 128)), megabytes) == found


def test_experts_of_a_mixture_have_no_form_of_their_own() -> None:
    found = report((128, 128))
    experts = [{"nodes": ["moe"], "shape": [64, 33], "bits": 4, "group_size": 32, "symmetric": False}] * 2
    both = {**found, "layers": [*found["layers"], *experts]}
    assert Room.of(both) == replace(Room.of(found), others=found["bytes_before"] - 4 * 128 * 128 + 1024)  # type: ignore[type-var]
    assert Room.of({**found, "layers": experts}) is None


def test_what_is_said_to_be_possible_is_what_the_technique_can_do(tmp_path) -> None:
    decoder = load_decoder(small_model(tmp_path / "model", **NARROW))
    documents = [np.array(decoder.tokenizer.encode(text).ids[:32], np.int64) for text in sentences(6)]
    given = Context(
        SimpleNamespace(calibration=beginnings(documents, {}, decoder.network)),
        load_target("cpu"),
        cache=tmp_path,
    )
    _, made = quantize_weights(decoder.network.to_onnx(), [], Settings("search"))
    room = Room.of(made.to_dict())
    assert room is not None

    def apply(bits: float) -> None:
        step = Step("weight_only_mixed", {"average_bits": bits, "algorithm": "search"})
        apply_recipe(Recipe("mixed", (step,)), decoder.network, given)

    apply(room.fewest_bits)
    assert given.reports["mixed_weights"]["average_bits"] == pytest.approx(room.fewest_bits)
    with pytest.raises(RecipeError, match="average_bits of"):
        apply(room.fewest_bits * 0.999)
