from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress.records.layer_time import LayerTime
from compress.reports.html import render
from compress.reports.layers import layers_of, time_text
from compress.search.run_directory import Candidate
from tests.reports.runs import LAYER, candidates, written

#: As a runtime's own timer tells of it.
MEASURED = LayerTime("conv2", "QLinearConv", ms=1.5, source="measured", share=0.75, roofline_share=0.2)


def build(*layers: LayerTime, **reports: Any) -> Candidate:
    entry = candidates()[1]
    assert entry.profile is not None
    return replace(entry, profile=replace(entry.profile, layers=layers), reports=reports)


def section(tmp_path: Path, entry: Candidate) -> str:
    page = render(written(tmp_path, [candidates()[0], entry]))
    return page[page.index('id="layers"') : page.index('id="quantization"')]


def test_time_is_read_from_measured_and_from_estimated_layers() -> None:
    measured, estimated = layers_of(build(LAYER, MEASURED))
    assert (measured.name, measured.ms, measured.share, measured.roofline) == ("conv2", 1.5, 0.75, 0.2)
    assert (estimated.ms, estimated.estimated, measured.estimated) == (0.03, True, False)
    assert estimated.share == 0.03 / 1.53


def test_what_is_told_of_one_layer_stands_in_one_row() -> None:
    told = [{"layer": "conv2", "operator": "Conv", "drop_points": 0.5, "kept": "int8"}]
    (layer,) = layers_of(build(MEASURED, sensitivity={"layers": told}))
    assert (layer.operator, layer.precision, layer.sensitivity, layer.in_points) == (
        "QLinearConv",
        "int8",
        0.5,
        True,
    )


def test_the_slowest_come_first_and_of_untimed_ones_the_most_sensitive() -> None:
    told = [{"layer": name, "error": error, "kept": "int8"} for name, error in (("a", 0.1), ("b", 0.4))]
    names = [layer.name for layer in layers_of(build(LAYER, MEASURED, sensitivity={"layers": told}))]
    assert names == ["conv2", "conv1", "b", "a"]


def test_a_layer_that_stayed_in_float_says_why() -> None:
    (layer,) = layers_of(build(MEASURED, quantize={"float_nodes": {"conv2": "too sensitive"}}))
    assert layer.precision == "float: too sensitive"


def test_layers_of_one_name_are_told_apart() -> None:
    assert [layer.name for layer in layers_of(build(MEASURED, MEASURED))] == ["conv2", "conv2 (2)"]


def test_reports_of_another_form_are_left_out() -> None:
    for report in (None, "none", {"layers": None}, {"layers": ["a"]}, {}):
        assert layers_of(build(sensitivity=report, quantize=report)) == []


def test_columns_that_no_layer_fills_are_left_out(tmp_path: Path) -> None:
    told = section(tmp_path, build(MEASURED))
    headings = re.findall(r'<th scope="col">([^<]+)</th>', told)
    assert headings == ["layer", "time", "share of the time", "operator", "share of the roofline"]
    assert "int8: 1 layer, 1.5 ms" in told
    assert "estimated" not in told


def test_sensitivity_is_drawn_against_the_greatest(tmp_path: Path) -> None:
    told = [{"layer": name, "drop_points": drop} for name, drop in (("a", 0.5), ("b", -0.1), ("c", 2.0))]
    drawn = section(tmp_path, build(sensitivity={"layers": told}))
    assert "most sensitive first" in drawn
    assert re.findall(r'<rect width="([\d.]+)" height="8" class="part">', drawn) == ["100.0", "25.0", "0.0"]
    assert "−0.10 points" in drawn
    assert "quantizing a layer alone costs" in drawn


def test_times_have_the_unit_they_are_read_in() -> None:
    assert [time_text(value) for value in (0.0123, 1.5)] == ["12.3 µs", "1.5 ms"]


def test_without_layers_it_says_so(tmp_path: Path) -> None:
    assert "it measured whole calls" in section(tmp_path, build())
