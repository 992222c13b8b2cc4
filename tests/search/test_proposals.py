from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from compress.errors import RecipeError
from compress.recipe import Recipe, Step
from compress.records.coverage import Coverage
from compress.records.profile import Interval
from compress.search.limits import Limits
from compress.search.plan import checked_recipes
from compress.target.target import load_target
from compress.techniques import load_technique
from tests.records import candidate
from tests.searches import most, propose


def names(target: str) -> list[str]:
    found = list(propose(load_target(target), Limits(), SimpleNamespace(candidates=[])))
    for recipe in found:
        for step in recipe.steps:
            load_technique(step)
    assert len(found) <= most(load_target(target))
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


@pytest.mark.parametrize(
    ("operators", "limits", "proposed"),
    [
        ({"MatMul": 8, "FusedGemm": 1, "Conv": 1}, Limits(objective="size"), True),
        ({"MatMul": 8}, Limits(max_size_mb=1.0), True),
        ({"MatMul": 8}, Limits(), False),
        ({"MatMul": 1, "Conv": 20}, Limits(objective="size"), False),
        ({}, Limits(objective="size"), False),
    ],
)
def test_integer_weights_are_tried_for_size_on_networks_made_of_matrices(operators, limits, proposed) -> None:
    profile = SimpleNamespace(coverage=Coverage(float_compute=operators), accuracy=None)
    history = SimpleNamespace(
        candidates=[SimpleNamespace(profile=profile, recipe=Recipe("fp32"), reports={})]
    )
    found = list(propose(load_target("cpu"), limits, history))
    assert ("int4-weights" in {recipe.name for recipe in found}) is proposed
    assert len(found) <= most(load_target("cpu"), limits=limits)
    assert not any(
        recipe.name == "int4-weights" for recipe in propose(load_target("h100-sxm"), limits, history)
    )
    made_of_matrices = operators.get("MatMul", 0) > 1
    assert ("dynamic-int8" in {recipe.name for recipe in found}) is made_of_matrices
    load_technique(Step("weight_only", {"algorithm": "gptq", "compute": "int8"}))


RECOVERING = ["int8-recovered", "int8-min-max", "int8-percentile", "int8-mixed", "int8-mixed-careful"]


def test_layers_are_left_in_float_only_where_int8_lost_too_much() -> None:
    assert [
        name for name in names("cpu") if name in RECOVERING
    ] == RECOVERING  # nothing was inside the margin
    kept = Recorded({}, {"int8": 0.5})
    kept.proposed()
    assert not {entry.recipe.name for entry in kept.candidates} & set(RECOVERING)


needs_bf16 = pytest.mark.skipif(
    "bf16" not in load_target("cpu").further_backends["openvino"].precisions,
    reason="this processor has no bf16",
)


@pytest.mark.parametrize(
    ("ratios", "recovered"),
    [
        ({"int8": 0.8, "int8-matmul": 1.3}, True),
        ({"int8": 1.2, "int8-matmul": 0.9}, True),
        ({"int8": 1.2, "int8-matmul": 1.1}, False),
        pytest.param(  # another build is faster than int8 is
            {"int8": 0.8, "int8-matmul": 1.3, "bf16-openvino": 0.5}, False, marks=needs_bf16
        ),
        ({"int8": 0.8, "int8-matmul": 1.3, "int8-openvino": 0.4, "bf16-openvino": 0.5}, True),
    ],
)
def test_accuracy_is_won_back_only_where_int8_gains_time(ratios: dict[str, float], recovered: bool) -> None:
    lost = dict.fromkeys((*RECOVERING, "int8", "int8-matmul", "int8-openvino", "int8-matmul-openvino"), 9.0)
    found = Recorded(lost, ratios)
    found.proposed(backends=("onnxruntime", "openvino"))
    assert ("int8-recovered" in {entry.recipe.name for entry in found.candidates}) is recovered


def test_for_throughput_int8_gains_where_the_largest_batch_does() -> None:
    """Slower at the first batch size and faster at the last: worth winning back for throughput alone."""
    for objective, recovered in (("throughput", True), ("latency", False)):
        history = SimpleNamespace(candidates=[candidate("fp32")], find=lambda _: None)
        entry = candidate("int8", ratio=1.2, drop=(9.0, 9.0, 9.0))
        assert entry.profile is not None
        first, last = entry.profile.latency
        faster = replace(last, ratio=0.5, ratio_interval=Interval(0.48, 0.52, 0.95))
        history.candidates.append(replace(entry, profile=replace(entry.profile, latency=(first, faster))))
        found = propose(load_target("raspberry-pi-5"), Limits(objective=objective), history)
        assert ("int8-recovered" in {recipe.name for recipe in found}) is recovered


def test_every_recipe_says_who_proposed_it() -> None:
    target, nothing = load_target("cpu"), SimpleNamespace(candidates=[], find=lambda _: None)
    everything = {"trains": True, "prunable": True, "backends": ("onnxruntime", "openvino")}
    origins = [recipe.origin for recipe in propose(target, Limits(), nothing, **everything)]
    assert origins == ["network"] + ["search"] * (len(origins) - 1)
    assert len(origins) > 10
    own = [Recipe("int8", (Step("quantize"),)), Recipe("plain", origin="network")]
    found = list(propose(target, Limits(), nothing, own))
    assert [(recipe.name, recipe.origin) for recipe in found] == [
        ("fp32", "network"),
        ("int8", "user"),
        ("plain", "user"),
    ]


def test_the_recipe_of_a_build_that_ships_the_original_is_no_second_one(tmp_path: Path) -> None:
    target, nothing = load_target("cpu"), SimpleNamespace(candidates=[], find=lambda _: None)
    (tmp_path / "recipe.toml").write_text(Recipe("fp32", origin="network").to_toml(), encoding="utf-8")
    recipes = checked_recipes([tmp_path / "recipe.toml"])
    assert [recipe.name for recipe in propose(target, Limits(), nothing, recipes)] == ["fp32"]
    with pytest.raises(RecipeError, match="'fp32' twice"):
        checked_recipes([Recipe("fp32", (Step("quantize"),))])


def test_nothing_is_won_back_where_the_data_could_not_show_it() -> None:
    nothing = SimpleNamespace(candidates=[])
    given = {"trains": True, "prunable": True, "provable": False}
    found = {recipe.name for recipe in propose(load_target("cpu"), Limits(), nothing, **given)}
    assert {"fp32", "int8", "int8-matmul"} <= found
    assert not {
        name for name in found if name.startswith(("pruned", "int8-mixed", "int8-recovered", "int8-qat"))
    }


def test_what_takes_seconds_is_tried_in_every_back_end_before_what_takes_minutes() -> None:
    found = Recorded({"int8": 9.0, "int8-matmul": 9.0}, {"int8": 0.5})
    found.proposed(backends=("onnxruntime", "openvino"))
    order = [entry.recipe.name for entry in found.candidates]
    assert order.index("int8-matmul-openvino") < order.index("int8-recovered")


def test_a_recipe_that_won_accuracy_back_is_built_in_the_other_back_end_too() -> None:
    lost = ("int8", "int8-matmul", "int8-openvino", "int8-matmul-openvino", "int8-recovered")
    ratios = {"int8": 0.5, "int8-openvino": 0.4, "int8-min-max": 0.5}
    found = Recorded(dict.fromkeys(lost, 9.0), ratios)
    found.proposed(backends=("onnxruntime", "openvino"))
    assert [entry.recipe.name for entry in found.candidates][-2:] == ["int8-min-max", "int8-min-max-openvino"]
    assert found.candidates[-1].recipe.steps == found.candidates[-2].recipe.steps
    assert [entry.recipe.backend for entry in found.candidates[-2:]] == [None, "openvino"]


def test_nothing_is_won_back_in_a_back_end_where_plain_int8_kept_the_accuracy() -> None:
    ratios = {"int8": 0.5, "int8-openvino": 0.4}
    found = Recorded({"int8": 9.0, "int8-matmul": 9.0}, ratios)
    found.proposed(backends=("onnxruntime", "openvino"))
    order = [entry.recipe.name for entry in found.candidates]
    assert "int8-recovered" in order
    assert "int8-recovered-openvino" not in order


def test_a_plain_build_that_lost_accuracy_in_the_other_back_end_is_not_proposed_again() -> None:
    found = Recorded({"int8-openvino": 9.0, "int8-matmul-openvino": 9.0}, {"int8": 0.5, "int8-openvino": 0.4})
    found.proposed(backends=("onnxruntime", "openvino"))
    order = [entry.recipe.name for entry in found.candidates]
    assert order.count("int8-openvino") == 1


def test_the_plain_build_is_recovered_even_where_a_slower_one_kept_its_accuracy() -> None:
    found = Recorded({"int8": 9.0}, {"int8": 0.5, "int8-matmul": 0.9})
    found.proposed()
    order = [entry.recipe.name for entry in found.candidates]
    assert "int8-recovered" in order
    assert "int8-mixed" not in order


def test_training_is_tried_where_there_is_data_for_it_and_nothing_else_kept_the_accuracy() -> None:
    target, nothing = load_target("cpu"), SimpleNamespace(candidates=[])
    without = [recipe.name for recipe in propose(target, Limits(), nothing)]
    found = [recipe.name for recipe in propose(target, Limits(), nothing, trains=True)]
    assert "int8-qat" not in without
    assert set(found) == {*without, "int8-qat"}
    assert found.index("int8-percentile") < found.index("int8-qat") < found.index("int8-mixed")
    assert len(found) <= most(target, trains=True)
    kept = Recorded({"int8": 9.0, "int8-matmul": 9.0, "int8-recovered": 9.0}, {"int8": 0.5})
    kept.proposed(trains=True)
    assert "int8-qat" not in {entry.recipe.name for entry in kept.candidates}
    load_technique(Step("qat"))


class Recorded:
    """A history in which each candidate is recorded with a drop and a time."""

    def __init__(self, drops: dict[str, float], ratios: dict[str, float] | None = None) -> None:
        self.drops, self.ratios = drops, ratios or {}
        original = candidate("fp32")
        assert original.profile is not None
        coverage = Coverage(float_compute={"Conv": 9})
        self.candidates = [replace(original, profile=replace(original.profile, coverage=coverage))]

    def proposed(self, target: str = "cpu", **settings) -> dict[str, Recipe]:
        found: dict[str, Recipe] = {}
        for recipe in propose(load_target(target), Limits(), self, **settings):
            drop = self.drops.get(recipe.name, 0.0)
            recorded = candidate(
                recipe.name, drop=(drop, drop, drop), ratio=self.ratios.get(recipe.name, 1.0)
            )
            self.candidates.append(replace(recorded, recipe=recipe))
            found[recipe.name] = recipe
        assert len(found) <= most(load_target(target), **settings)
        return {name: recipe for name, recipe in found.items() if name.startswith("pruned")}

    def find(self, recipe: Recipe):
        return next((entry for entry in self.candidates if entry.recipe == recipe), None)


@pytest.mark.parametrize(
    ("drops", "ratios", "proposed"),
    [
        ({}, {}, ["pruned-0.5x", "pruned-0.35x"]),
        (
            {},
            {"int8": 0.6},
            ["pruned-0.5x", "pruned-0.5x-int8", "pruned-0.35x", "pruned-0.35x-int8"],
        ),
        ({"pruned-0.5x": 5.0}, {"int8": 0.6}, ["pruned-0.5x", "pruned-0.7x", "pruned-0.7x-int8"]),
        (
            {"pruned-0.5x": 5.0, "pruned-0.7x": 2.0},
            {"int8": 0.6},
            ["pruned-0.5x", "pruned-0.7x"],
        ),
    ],
)
def test_a_network_that_can_be_trained_is_pruned_as_far_as_it_bears(drops, ratios, proposed) -> None:
    found = Recorded(drops, ratios).proposed(trains=True, prunable=True)
    assert list(found) == proposed
    for recipe in found.values():
        for step in recipe.steps:
            load_technique(step)
        assert [step.technique for step in recipe.steps][:2] == ["prune", "distill"]
        assert recipe.steps[0].settings["importance"] == "hessian_diagonal"


@pytest.mark.parametrize(
    ("steps", "backend", "precision"),
    [
        ((Step("quantize"),), None, "int8"),
        ((Step("qat"),), None, "int8"),
        ((Step("quantize_dynamic"),), None, "int8"),
        ((Step("quantize_mixed"), Step("cast", {"precision": "float16"})), None, "int8"),
        ((Step("cast", {"precision": "float16"}),), None, "fp32"),
        ((Step("quantize"),), "openvino", "fp32"),  # layers are timed in the target's own back end
    ],
)
def test_widths_are_chosen_for_the_precision_that_the_recipe_ends_in(steps, backend, precision) -> None:
    history = Recorded({})
    fastest = Recipe("fastest", steps, backend=backend)
    history.candidates.append(replace(candidate("fastest", drop=(0.0, 0.0, 0.0), ratio=0.4), recipe=fastest))
    found = history.proposed(trains=True, prunable=True)
    assert {recipe.steps[0].settings.get("timing_precision", "fp32") for recipe in found.values()} == {
        precision
    }
    # No training of its own: the plain build's steps come first.
    assert found["pruned-0.5x-fastest"].steps == (*found["pruned-0.5x"].steps, *steps)
    load_technique(found["pruned-0.5x"].steps[0])


@needs_bf16
def test_a_pruned_network_is_built_as_the_fastest_unpruned_one_was() -> None:
    ratios = {"int8": 0.6, "bf16-openvino": 0.4}
    found = Recorded({}, ratios).proposed(trains=True, prunable=True, backends=("onnxruntime", "openvino"))
    recipe = found["pruned-0.5x-bf16-openvino"]
    assert (recipe.backend, dict(recipe.session)) == ("openvino", {"precision": "bf16"})
    assert recipe.steps == found["pruned-0.5x"].steps


def test_without_training_data_pruning_is_limited_to_the_margin() -> None:
    found = Recorded({}).proposed("jetson-orin-nano-super", prunable=True)
    assert list(found) == ["pruned"]
    (step,) = found["pruned"].steps
    assert step.settings["untrained_drop"] == Limits().max_drop
    assert step.settings["importance"] == "hessian_diagonal"
    load_technique(step)


@pytest.mark.parametrize("settings", [{"trains": True}, {"trains": True, "prunable": False}, {}])
def test_what_cannot_be_pruned_is_not(settings) -> None:
    assert not Recorded({}).proposed(**settings)


@pytest.mark.parametrize("trains", [False, True])
def test_a_pruned_network_is_built_in_a_back_end_that_competes(trains) -> None:
    settings = {"prunable": True, "trains": trains}
    alone = Recorded({}).proposed(backends=("openvino",), **settings)
    assert {recipe.backend for recipe in alone.values()} == {"openvino"}
    both = Recorded({}).proposed(backends=("onnxruntime", "openvino"), **settings)
    assert {recipe.backend for recipe in both.values()} == {None}


def of_a_decoder(*candidates, **known) -> list[str]:
    run = SimpleNamespace(candidates=list(candidates))
    return [each.name for each in propose(load_target("cpu"), Limits(), run, decodes=True, **known)]


def test_a_decoder_gets_integer_weights_and_nothing_of_convolutions() -> None:
    listed = of_a_decoder()
    assert listed[:3] == ["fp32", "int8-weights", "int4-weights"]
    assert "dynamic-int8" in listed
    assert not {name for name in listed if name.startswith(("int8-matmul", "pruned", "int8-qat"))}
    assert listed == of_a_decoder(prunable=True)


def test_a_decoder_competes_in_openvino_too() -> None:
    both = {"backends": ("onnxruntime", "openvino")}
    listed = of_a_decoder(**both)
    first = ["fp32", "fp32-openvino", "int8-weights", "int4-weights"]
    assert listed[:6] == [*first, "int8-weights-openvino", "int4-weights-openvino"]
    assert [name for name in listed if "openvino" not in name] == of_a_decoder()
    assert of_a_decoder(**both, encodes=True) == of_a_decoder()
    assert not [name for name in listed if name.endswith("-cache") and "openvino" in name]


def test_keys_and_values_are_rounded_with_the_fastest_build_of_openvino_that_keeps_its_accuracy() -> None:
    steps = (Step("weight_only", {"algorithm": "rtn", "compute": "int8", "bits": 8}),)
    recipe = Recipe("int8-weights-openvino", steps, backend="openvino")
    kept = replace(candidate("int8-weights-openvino", ratio=0.4, drop=(0.0, 0.1, 0.2)), recipe=recipe)
    plain = Recipe("fp32-openvino", backend="openvino")
    slower = replace(candidate("fp32-openvino", ratio=0.9, drop=(0.0, 0.0, 0.0)), recipe=plain)
    both = {"backends": ("onnxruntime", "openvino")}
    assert [
        name for name in of_a_decoder(slower, kept, **both) if "openvino-" in name and name.endswith("-cache")
    ] == [
        "int8-weights-openvino-fp16-cache",
        "int8-weights-openvino-int8-cache",
    ]
    assert not recipe.computes_the_same
    assert plain.computes_the_same
    assert not replace(plain, session={"cache": "int8"}).computes_the_same


def test_a_decoder_with_text_to_train_on_gets_smaller_ones() -> None:
    further = of_a_decoder(trains=True)[len(of_a_decoder()) :]
    assert further == ["int4-weights-trimmed", "int4-weights-pruned-0.5x", "int4-weights-pruned-0.7x"]
    assert of_a_decoder(trains=True, provable=False)[-1] == "int4-weights-trimmed"


def test_finer_roundings_of_a_decoder_are_tried_where_four_bits_lose_too_much() -> None:
    fast = Step("weight_only", {"algorithm": "search", "compute": "int8"})
    plain = candidate("int4-weights", ratio=0.4, drop=(0.0, 0.2, 0.5))
    kept = replace(plain, recipe=Recipe("int4-weights", (fast,)))
    lost = replace(candidate("int4-weights", ratio=0.4, drop=(5.0, 6.0, 7.0)), recipe=kept.recipe)
    assert "int4-weights-gptq" in of_a_decoder(lost)
    assert "int4-weights-gptq" not in of_a_decoder(kept)
    assert "int4-weights-gptq" not in of_a_decoder(lost, provable=False)


@pytest.mark.parametrize(
    ("target", "twins"), [("jetson", True), ("h100", True), ("jetson-agx-xavier", False), ("cpu", False)]
)
def test_what_wins_accuracy_back_has_a_twin_with_fp16_between(target: str, twins: bool) -> None:
    """Only where the engine computes in the types of the graph, and only for what kept the accuracy."""
    lost = dict.fromkeys((*RECOVERING, "int8", "int8-matmul", "int8-fp16"), 9.0)
    for kept in ("int8-recovered", "int8-qat", "int8-mixed"):
        run = Recorded({**lost, "int8-qat": 9.0, kept: 0.0}, {"int8": 0.5, "int8-fp16": 0.5})
        run.proposed(target, trains=True)
        found = {entry.recipe.name: entry.recipe for entry in run.candidates}
        further = {name for name in found if name.endswith("-fp16")} - {"int8-fp16"}
        assert further == ({f"{kept}-fp16"} if twins else set())
        if twins:
            assert [step.technique for step in found[f"{kept}-fp16"].steps] == [
                *(step.technique for step in found[kept].steps),
                "cast",
            ]


def test_a_decoder_keeps_keys_and_values_in_fewer_bytes_where_four_bits_are_kept() -> None:
    recipe = Recipe("int4-weights", (Step("weight_only", {"algorithm": "search", "compute": "int8"}),))
    kept, lost = (
        replace(candidate("int4-weights", ratio=0.4, drop=drop), recipe=recipe)
        for drop in ((0.0, 0.2, 0.5), (5.0, 6.0, 7.0))
    )
    int8 = Step("kv_cache", {"precision": "int8"})
    cached = replace(kept, recipe=Recipe("int4-weights-int8-cache", (*recipe.steps, int8)))
    names = {"int4-weights-int8-cache", "int4-weights-fp16-cache"}
    assert names & set(of_a_decoder(kept)) == names
    assert not names & set(of_a_decoder(lost))
    assert "int4-weights-fp16-cache" not in of_a_decoder(kept, cached)
    assert not names & set(of_a_decoder(kept, provable=False))


def test_bits_of_a_decoder_differ_by_matrix_where_a_size_is_given_or_four_bits_say_so() -> None:
    recipe = Recipe("int4-weights", (Step("weight_only", {"algorithm": "search", "compute": "int8"}),))
    kept, lost = (
        replace(candidate("int4-weights", ratio=0.4, drop=drop), recipe=recipe)
        for drop in ((0.0, 0.2, 0.5), (5.0, 6.0, 7.0))
    )
    assert "mixed-weights-4.6" in of_a_decoder(kept)
    assert not {"mixed-weights-6", "mixed-weights-7"} & set(of_a_decoder(kept))
    assert {"mixed-weights-6", "mixed-weights-7"} <= set(of_a_decoder(lost))
    assert "mixed-weights-4.6" not in of_a_decoder(lost)
    limits = Limits(max_size_mb=100.0)
    run = SimpleNamespace(candidates=[lost])
    listed = {each.name: each for each in propose(load_target("cpu"), limits, run, decodes=True)}
    assert listed["mixed-weights"].steps[0].settings == {"max_size": 100.0}
