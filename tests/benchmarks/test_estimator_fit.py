"""The committed efficiencies are what the fit gives, and reproduce the figures that are told about them."""

from __future__ import annotations

import csv
import tomllib
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tomli_w")

from benchmarks.data.published.points import (
    NETWORKS,
    PUBLISHED,
    Point,
    _network,
    layers_of,
    network_layers,
    points,
)
from benchmarks.studies.fit_estimator import LEVEL, run
from compress.onnx_graph.layers import totals
from compress.profiling.roofline import estimate
from compress.target.target import load_target

COMMITTED: dict[str, Any] = tomllib.loads(
    (files("compress.profiling") / "efficiency.toml").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def published() -> list[Point]:
    return points()


def test_every_network_has_the_arithmetic_that_is_published_with_it() -> None:
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        rows = {_network(row): row for row in csv.DictReader(file)}
    assert set(NETWORKS) < {*rows, None} | {"ViT-B/16 224"}
    for name, row in rows.items():
        if name is not None:
            found = totals(network_layers(name))
            assert found.uncounted == ()
            assert found.macs / 1e9 == pytest.approx(float(row["gmacs"]), rel=0.06), name
            # The tables of embeddings, 31.8 M, are looked up and not multiplied.
            parameters = float(row["params_m"]) - (31.8 if name.startswith("BERT") else 0)
            assert found.parameters / 1e6 == pytest.approx(parameters, rel=0.03), name


def test_each_row_is_used_or_left_out_for_a_reason(published: list[Point]) -> None:
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        assert len(published) + sum(COMMITTED["left_out"].values()) == len(list(csv.DictReader(file)))
    assert len(published) == COMMITTED["points"]


def test_the_shipped_estimate_is_as_far_off_as_it_says(published: list[Point]) -> None:
    """By the product's own path: a target of each family, layer by layer."""
    for family, told in COMMITTED["validation"].items():
        of = [point for point in published if point.target.family == family]
        errors = [
            estimate(layers_of(point), point.target, point.batch).total_ms / point.ms - 1 for point in of
        ]
        assert len(of) == told["points"]
        assert np.median(np.abs(errors)) == pytest.approx(told["median_error"]["fitted"], abs=0.005)


def test_the_fit_gives_the_committed_figures_again() -> None:
    again = run()
    for table in ("compute", "bandwidth", "launch_us", "time_factor", "interval", "ratio", "validation"):
        _same(again[table], COMMITTED[table], table)
    assert again["left_out"] == COMMITTED["left_out"]


def test_the_documentation_tells_these_figures() -> None:
    validation = [COMMITTED["validation"][family] for family in ("jetson", "datacenter")]
    page = PUBLISHED.parents[3] / "docs" / "explanation" / "figures.md"
    told_there = page.read_text(encoding="utf-8")
    for left_out, words in (
        ("network", "the network left out"),
        ("architecture", "its whole architecture left out"),
        ("architecture_and_device", "its architecture and the device left out"),
    ):
        cells = [
            f"{100 * told['median_error'][left_out]:.0f} % ({100 * told['inside'][left_out]:.0f} %)"
            for told in validation
        ]
        assert f"| {words} | {cells[0]} | {cells[1]} |" in told_there
    for told in validation:
        assert min(told["inside"].values()) >= LEVEL == COMMITTED["interval"]["level"]


@pytest.mark.parametrize("change", ["name", "family"])
def test_what_was_not_measured_has_the_wider_interval(change: str) -> None:
    from dataclasses import replace

    from compress.profiling.efficiency import efficiency

    target = load_target("t4")
    other = efficiency(replace(target, **{change: "own"}))
    known = efficiency(target)
    assert known.time_factor != 1 == other.time_factor
    assert other.interval[1] / other.interval[0] > known.interval[1] / known.interval[0]
    assert other.basis != known.basis


def _same(found: Any, told: Any, where: str) -> None:
    if isinstance(told, dict):
        assert found.keys() == told.keys(), where
        for key, value in told.items():
            _same(found[key], value, f"{where}.{key}")
    else:
        assert found == pytest.approx(told, rel=0.02), where
