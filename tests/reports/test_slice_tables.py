from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from compress.records.profile import Drop, Interval, Slice
from compress.reports.html import render
from compress.reports.markdown import worst_slices
from compress.reports.slices import finding, worst_first
from tests.reports.runs import SLICES, candidates, written


def section(tmp_path: Path, parts: tuple[Slice, ...]) -> str:
    entries = candidates()
    assert entries[1].profile is not None
    entries[1] = replace(entries[1], profile=replace(entries[1].profile, slices=parts))
    page = render(written(tmp_path, entries))
    return page[page.index('id="slices"') : page.index('id="layers"')]


def drop(points: float, low: float, high: float) -> Drop:
    return Drop(points, Interval(low, high, 0.99), 0.1)


def test_the_worst_come_first_and_what_is_unknown_last() -> None:
    unknown, wide = Slice("rare", 2, 0.5), Slice("wide", 9, 0.5, drop(4.0, -9, 90))
    names = [part.name for part in worst_first([unknown, *SLICES, wide])]
    assert names == ["dog", "wide", "fish", "cat", "bird", "rare"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("dog", "worse than fp32"), ("fish", "no difference shown"), ("bird", "better than fp32")],
)
def test_a_finding_needs_an_interval_off_0(name: str, told: str) -> None:
    assert finding(next(part for part in SLICES if part.name == name)) == told


def test_every_class_has_its_drop_with_both_ends_and_what_fp32_had(tmp_path: Path) -> None:
    told = section(tmp_path, SLICES)
    assert re.findall(r'<th scope="row">(\w+)</th>', told) == ["dog", "fish", "cat", "bird"]
    assert "22.00</span> <small>(9.00 to 36.00)" in told
    assert "<strong>▲ 1 class: worse than fp32</strong>" in told
    # Two classes have this finding: it stands above them, in the caption of their table and its frame.
    assert told.count("no difference shown") == 3
    row = told[told.index(">dog<") : told.index(">fish<")]
    assert all(text in row for text in (">70 %<", ">92 %<", ">50<"))


def test_it_says_that_the_intervals_hold_together(tmp_path: Path) -> None:
    told = section(tmp_path, SLICES)
    assert "The 4 intervals of a build hold together: each is at 97.5 %" in told
    assert "int8: 1 of 4 classes worse than fp32; the worst is dog, drop 22.00 (9.00 to 36.00) points" in told


def test_drawings_share_one_axis_that_holds_every_interval(tmp_path: Path) -> None:
    told = section(tmp_path, SLICES)
    drawn = [float(x) for x in re.findall(r'<line x1="([\d.]+)"', told)]
    assert len(drawn) == 4 * 4  # 0, the interval, and its two ends.
    assert min(drawn) == pytest.approx(12)
    assert max(drawn) == pytest.approx(208)
    # The proven one is a triangle, and not merely of another colour.
    assert told.count("<polygon") == 1
    assert told.count("<circle") == 3


def test_equal_builds_are_drawn_around_0(tmp_path: Path) -> None:
    same = tuple(replace(part, drop=drop(0.0, 0.0, 0.0)) for part in SLICES)
    assert 'cx="110.0"' in section(tmp_path, same)


def test_without_classes_it_says_so(tmp_path: Path) -> None:
    assert "the data has no class labels" in section(tmp_path, ())


def test_markdown_names_the_worst(tmp_path: Path) -> None:
    text = "\n".join(worst_slices(SLICES))
    assert "4 classes" in text
    assert "| dog | 22.00 (9.00 to 36.00) | worse than fp32 | 50 |" in text
    assert text.index("| dog |") < text.index("| fish |")
    assert worst_slices(()) == []
    assert "Accuracy class by class" in (written(tmp_path) / "report.md").read_text()
