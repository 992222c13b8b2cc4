"""The account of a search, from made-up measurements."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import compress
from compress.cli import main
from compress.errors import BundleError
from compress.recipe import Recipe, Step
from compress.records.schemas import schema_text
from compress.reports.explanation import Explanation, explanation_of
from compress.reports.explanation_text import gain_text, sections
from compress.reports.html import render
from compress.search.decision import choose
from compress.search.limits import Limits
from compress.search.run_directory import Candidate
from tests.records import candidate
from tests.reports.runs import LAYER, candidates, written
from tests.search.choices import INSIDE, with_accuracy, with_profile

FP32 = candidate("fp32", size=4000)
UNDECIDED = (-0.5, 0.5, 1.5)
PRUNE, QUANTIZE = Step("prune", {"ratio": 0.5}), Step("quantize")
MANIFEST: dict[str, Any] = {
    "options": {"max-drop": 1.0, "objective": "latency"},
    "target": {"name": "cpu", "precisions": ["fp32", "fp16", "bf16", "int8", "fp8"]},
}


def build(
    recipe: Recipe, ratio: float, drop: tuple[float, float, float] = INSIDE, size: int = 1000
) -> Candidate:
    return replace(candidate(recipe.name, ratio=ratio, drop=drop, size=size), recipe=recipe)


PRUNED = build(Recipe("pruned", (PRUNE,)), 0.6, (0.1, 0.3, 0.5), 2000)
BOTH = build(Recipe("pruned-int8", (PRUNE, QUANTIZE)), 0.3, (0.2, 0.5, 0.8), 500)
INT8 = build(Recipe("int8", (QUANTIZE,)), 0.5)


def explained(entries: list[Candidate], **more: Any) -> Explanation:
    choice = choose(entries, Limits())
    assert choice.candidate is not None
    return explanation_of({**MANIFEST, "name": choice.candidate.recipe.name, **more}, choice, entries)


def test_a_chain_of_recipes_shows_what_each_step_bought() -> None:
    account = explained([FP32, INT8, PRUNED, BOTH])
    assert [(gain.over, gain.name, gain.added) for gain in account.steps] == [
        ("fp32", "pruned", ("prune",)),
        ("pruned", "pruned-int8", ("quantize",)),
    ]
    first, second = account.steps
    assert first.lost is not None
    assert (first.lost.value, first.lost.low, first.lost.high) == (0.3, 0.1, 0.5)
    # Between two builds the bounds are what both intervals allow.
    assert second.lost is not None
    assert (second.lost.value, second.lost.low, second.lost.high) == pytest.approx((0.2, -0.3, 0.7))
    assert second.time is not None
    assert (second.time.value, second.time.low, second.time.high) == pytest.approx(
        (0.5, 0.28 / 0.62, 0.32 / 0.58)
    )
    assert second.size == 0.25
    assert [gain.name for gain in account.rejected] == ["int8"]
    assert account.rejected[0].verdict == "slower than pruned-int8"
    assert gain_text(second) == (
        "pruned-int8, over pruned with quantize: 0.20 points (−0.30 to 0.70) lost, 0.50× (0.45 to 0.55) the time, "
        "0.25× the size"
    )


def test_steps_whose_parts_were_not_measured_are_told_together() -> None:
    (gain,) = explained([FP32, INT8, BOTH]).steps
    assert (gain.over, gain.added) == ("fp32", ("prune", "quantize"))


def test_another_back_end_is_compared_with_the_same_steps_in_the_first() -> None:
    there = build(Recipe("int8-openvino", (QUANTIZE,), "openvino", {"precision": "bf16"}), 0.4)
    account = explained([FP32, INT8, there])
    assert account.steps[-1].over == "int8"
    assert account.steps[-1].added == ("back end openvino", "session options precision bf16")


def test_an_original_that_is_shipped_has_no_steps() -> None:
    account = explained([FP32, build(INT8.recipe, 1.2)])
    assert (account.shipped, account.steps) == ("fp32", ())
    assert next(iter(sections(account))) == (
        "What each technique bought, in order:",
        ["nothing: fp32 is shipped"],
    )


def test_a_build_that_drops_by_more_than_the_margin_asks_for_no_more_data() -> None:
    over = (0.4, 1.2, 2.0)  # of a margin of 1 point
    entry = with_accuracy(build(Recipe("int4", (Step("quantize", {"bits": 4}),)), 0.2, over), samples=400)
    assert not explained([FP32, INT8, entry]).more_data


def test_a_faster_build_whose_drop_is_undecided_asks_for_more_data() -> None:
    undecided = with_accuracy(
        build(Recipe("int4", (Step("quantize", {"bits": 4}),)), 0.2, UNDECIDED), samples=400
    )
    slower = build(Recipe("slow", (Step("other"),)), 0.9, UNDECIDED)
    account = explained([FP32, INT8, undecided, slower])
    (sentence,) = account.more_data
    assert sentence.startswith(
        "int4 takes 0.20× the time of fp32, and its drop is undecided on 400 samples: about "
    )
    assert int(sentence.split("about ")[1].split()[0]) > 400


def test_more_time_would_try_the_rest_and_prove_what_may_be_faster() -> None:
    unproven = build(Recipe("maybe", (Step("other"),)), 0.99)
    account = explained([FP32, unproven], untried=["int8-qat", "pruned"])
    tries, proves = account.more_time
    assert tries == "a larger --time-budget tries what was not: int8-qat, pruned"
    assert (
        proves
        == "maybe may be faster than fp32 (0.99×, between 0.97 and 1.01): about 4 times the --seconds would decide"
    )


def test_another_target_is_told_by_what_bounds_the_layers_and_by_precisions() -> None:
    layers = (replace(LAYER, ms=0.3, bound="memory"), replace(LAYER, ms=0.7, bound="compute"))
    target = {"name": "cpu", "precisions": ["fp32", "int8"]}
    account = explained([FP32, with_profile(INT8, layers=layers)], target=target)
    assert account.another_target == (
        "30 % of the layers' time is bound by bandwidth of memory, by estimate: twice of it takes "
        "the time to 0.85× at best",
        "70 % of the layers' time is bound by arithmetic, by estimate: twice of it takes the time to "
        "0.65× at best",
        "cpu does not compute in fp16, bf16, fp8: a target that does may be faster",
    )


def test_the_error_of_what_pruning_predicted_is_told() -> None:
    pruned = replace(PRUNED, reports={"prune": {"latency": {"predicted": 0.52, "measured": 0.55}}})
    untimed = replace(BOTH, reports={"prune": {"latency": {"predicted": 0.52, "measured": None}}})
    assert explained([FP32, pruned, untimed]).predictions == (
        "pruned: the times of its layers predicted 0.52× the time of the network, whole calls took 0.55×: off by 0.03",
    )
    odd = [
        replace(PRUNED, reports={"prune": report})
        for report in ([], {"latency": 3}, {"latency": {"predicted": "x"}})
    ]
    assert all(explained([FP32, entry]).predictions == () for entry in odd)


def test_the_command_the_page_and_the_report_tell_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = written(tmp_path)
    assert main(["explain", str(bundle), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(json.loads(schema_text("explain"))).validate(data)
    assert data["unmeasured"] == {"pruned": "failed: an operator it cannot prune"}
    assert main(["explain", str(bundle)]) == 0
    text = capsys.readouterr().out
    page, report = render(bundle), (bundle / "report.md").read_text()
    for account in (text, page, report):
        assert "0.10 points (−0.20 to 0.40)" in account
        assert "What each technique bought" in account
    assert compress.explain(bundle).steps[0].name == "int8"


def test_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        compress.explain(tmp_path)


def test_made_up_candidates_are_all_told_of() -> None:
    account = explained(candidates())
    told = {
        account.original,
        *(gain.name for gain in (*account.steps, *account.rejected)),
        *account.unmeasured,
    }
    assert told == {entry.recipe.name for entry in candidates()}
