from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.records.profile import Interval, Latency
from compress.reports.html import plot_svg
from compress.reports.pareto_plot import Axis, Point, draw, front_at, points_of
from compress.reports.run import read_run
from compress.search.run_directory import Candidate
from tests.records import candidate
from tests.reports.runs import written


def like(entries: list[Candidate], index: int) -> Latency:
    """The original's latency at one of its batch sizes."""
    assert entries[0].profile is not None
    return entries[0].profile.latency[index]


SVG = "{http://www.w3.org/2000/svg}"


def test_the_file_is_xml_that_names_itself_and_loads_nothing(tmp_path: Path) -> None:
    drawing = plot_svg(read_run(written(tmp_path)))
    root = ElementTree.fromstring(drawing)
    assert root.tag == f"{SVG}svg"
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == "Accuracy against latency at batch 1, relative to fp32, 3 builds"
    assert "prefers-color-scheme: dark" in drawing
    assert "href" not in drawing
    assert "tabindex" not in drawing


def test_points_are_relative_to_the_original_with_up_better() -> None:
    entries = [candidate("fp32"), candidate("int8", ratio=0.5, drop=(0.1, 0.2, 0.4))]
    original, build = points_of(entries, "int8", like(entries, 0), ["", ""])
    assert (original.time, original.gain, original.kind) == (1.0, 0.0, "original")
    assert original.time_interval is None
    assert original.gain_interval is None
    assert (build.time, build.gain, build.kind) == (0.5, -0.2, "shipped")
    assert build.time_interval == Interval(0.48, 0.52, 0.95)
    assert build.gain_interval == Interval(-0.4, -0.1, 0.9)


def test_the_front_is_of_its_own_batch_size() -> None:
    fast, slow = candidate("a", ratio=0.5, drop=(0, 0.1, 0.2)), candidate("b", ratio=0.6, drop=(0, 0.1, 0.2))
    assert fast.profile is not None
    first, second = fast.profile.latency
    fast = replace(fast, profile=replace(fast.profile, latency=(first, replace(second, ratio=0.9))))
    entries = [candidate("fp32"), fast, slow]
    assert front_at(entries, like(entries, 0)) == ("a", "fp32")
    assert front_at(entries, like(entries, 1)) == ("b", "fp32")


def test_bars_end_where_the_intervals_do() -> None:
    point = Point("int8", "shipped", 0.5, Interval(0.4, 0.6, 0.95), 1.0, Interval(-1.0, 3.0, 0.9), "told")
    root = ElementTree.fromstring(picture([point]))
    # 10 % margin around 0.4 to 1 and −1 to 3; the plot's area is x 58 to 372 and y 248 to 62.
    across = Axis(0.34, 1.06, 58, 372)
    up = Axis(-1.4, 3.4, 248, 62)
    bars = [group for group in root.iter("g") if group.get("class") == "bars shipped"]
    lines = [[float(line.get(key) or "") for key in ("x1", "x2", "y1", "y2")] for line in bars[0]]
    assert lines[0] == pytest.approx([across(0.4), across(0.6), up(1), up(1)])
    assert lines[3] == pytest.approx([across(0.5), across(0.5), up(-1), up(3)])


def test_names_do_not_hide_each_other() -> None:
    points = [Point(f"build-{at}", "other", 0.5, None, 0.1, None, "told") for at in range(40)]
    root = ElementTree.fromstring(picture(points))
    labels = [text for text in root.iter("text") if (text.get("class") or "").startswith("label")]
    places = [(float(text.get("x") or ""), float(text.get("y") or "")) for text in labels]
    assert 1 < len(labels) < 40
    assert len(set(places)) == len(places)


def test_the_shipped_name_is_written_even_where_bars_are_everywhere() -> None:
    bars = [
        Point(str(at), "other", 0.4 + at / 100, None, 0.0, Interval(-5.0, 5.0, 0.9), "") for at in range(20)
    ]
    shipped = replace(bars[10], name="shipped-name", kind="shipped", gain=1.0)
    root = ElementTree.fromstring(picture([shipped, *bars]))
    assert "shipped-name" in [text.text for text in root.iter("text")]


def test_builds_that_are_all_equal_are_drawn() -> None:
    points = [
        Point(name, "other", 1 + noise, None, 0.0, None, "") for name, noise in (("a", 0), ("b", 1e-15))
    ]
    root = ElementTree.fromstring(picture(points))
    assert len(root.findall(".//circle[@class='mark other']")) == 2


figures = st.floats(0.01, 50)
changes = st.floats(-100, 100)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(figures, changes, st.floats(0, 10)), min_size=1, max_size=12))
def test_everything_lies_inside_the_picture(values: list[tuple[float, float, float]]) -> None:
    points = [
        Point(
            str(at),
            "other",
            time,
            Interval(time, time + width, 0.95),
            gain,
            Interval(gain - width, gain, 0.9),
            "",
        )
        for at, (time, gain, width) in enumerate(values)
    ]
    root = ElementTree.fromstring(picture(points))
    for element in root.iter():
        for key, end in (
            ("x1", 400),
            ("x2", 400),
            ("cx", 400),
            ("x", 400),
            ("y1", 300),
            ("y2", 300),
            ("cy", 300),
        ):
            assert 0 <= float(element.get(key) or 0) <= end


@given(st.floats(-1e3, 1e3), st.floats(0.01, 1e3), st.integers(2, 10))
def test_ticks_are_round_inside_and_not_too_many(low: float, width: float, most: int) -> None:
    axis = Axis(low, low + width, 0, 100)
    ticks = axis.ticks(most)
    assert 1 <= len(ticks) <= most + 1
    assert all(low - 1e-9 * width <= tick <= low + width * (1 + 1e-9) for tick in ticks)


def picture(points: list[Point]) -> str:
    front = [points[0].name]
    return draw(points, front, width=400, height=300, title="t", accuracy="top-1", original_ms=2.0)


@pytest.mark.parametrize("width", [340, 928])
def test_times_on_the_upper_axis_leave_room_for_each_other(width: int) -> None:
    point = Point("int8", "shipped", 0.6, None, 0.0, None, "told")
    drawing = draw(
        [point], ["int8"], width=width, height=380, title="", accuracy="top-1", original_ms=0.060123
    )
    times = [text for text in ElementTree.fromstring(drawing).iter("text") if str(text.text).endswith(" ms")]
    halves = [6.7 * len(str(text.text)) / 2 for text in times]
    places = [float(str(text.get("x"))) for text in times]
    assert len(times) >= 2
    for at in range(len(times) - 1):
        assert places[at] + halves[at] <= places[at + 1] - halves[at + 1]


@pytest.mark.parametrize("estimated", [True, False])
def test_the_axes_say_that_times_are_estimated(estimated: bool) -> None:
    points = [
        Point("fp32", "original", 1.0, None, 0.0, None, ""),
        Point("int8", "front", 0.5, None, 0, None, ""),
    ]
    drawing = draw(
        points,
        ["int8"],
        width=400,
        height=300,
        title="t",
        accuracy="top-1",
        original_ms=2.0,
        estimated=estimated,
    )
    assert (
        "estimated time over fp32&#x27;s" in drawing or "estimated time over fp32's" in drawing
    ) is estimated
    assert ("≈ 2 ms" in drawing) is estimated
