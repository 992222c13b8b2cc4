"""The report for those who read by keyboard, by ear, in the dark, on a phone, or see fewer colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.records.profile import Drop, Interval, Slice
from compress.reports.browser import find_browser
from compress.reports.html import render
from tests.reports.devtools import Page, opened_browser
from tests.reports.runs import LAYER, candidates, estimated, written

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome is installed"),
]

PHONE, DESKTOP = 360, 1280
SECTIONS = [
    "accuracy-and-latency",
    "tried",
    "bought",
    "slices",
    "layers",
    "quantization",
    "provenance",
    "reproduce",
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every section, and layers enough to be cut short."""

    entries = estimated(candidates("int8-with-a-name-that-is-longer-than-any-phone-is-wide"))
    shipped = entries[1]
    assert shipped.profile is not None
    layers = tuple(replace(LAYER, name=f"layer{index}", ms=0.1 + index) for index in range(30))
    longest = Slice("a-class-whose-name-has-no-end_" * 3, 9, 0.5, Drop(1.0, Interval(-9, 30, 0.975), 0.1))
    profile = replace(shipped.profile, layers=layers, slices=(*shipped.profile.slices, longest))
    entries[1] = replace(shipped, profile=profile)
    directory = tmp_path_factory.mktemp("report")
    path = directory / "report.html"
    path.write_text(render(written(directory, entries, "jetson")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with opened_browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_every_section_is_seen_and_nothing_scrolls_sideways(browser: Page, file: Path, width: int) -> None:
    browser.open(file, width=width, phone=width == PHONE)
    told = browser.run("""
      document.querySelectorAll("details").forEach((entry) => { entry.open = true; });
      const root = document.documentElement;
      return {
        sections: [...document.querySelectorAll("main section")].map((each) => [each.id, each.innerText.length]),
        page: root.scrollWidth,
        dots: document.querySelector(".dots .mark").getBoundingClientRect().width,
      };
    """)
    assert [name for name, _ in told["sections"]] == SECTIONS
    assert all(length > 100 for _, length in told["sections"])
    assert told["page"] == width
    assert told["dots"] >= 8


#: Every element that shows text of its own: its ink, the paper behind it, and the text's beginning.
_INKS = """
  document.querySelectorAll("details").forEach((entry) => { entry.open = true; });
  document.querySelector(".point").focus();
  const opaque = (colour) => !/, 0\\)$|^transparent$/.test(colour);
  const paper = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (opaque(colour)) return colour;
    }
  };
  return [...document.querySelectorAll("body *")]
    .filter((each) => each.getClientRects().length)
    .filter((each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
    .map((each) => {
      const style = getComputedStyle(each);
      return [each instanceof SVGElement ? style.fill : style.color, paper(each), each.textContent.slice(0, 30)];
    });
"""


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_stands_out_from_its_paper(browser: Page, file: Path, dark: bool) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 to 1, which is what small text needs."""
    browser.open(file, width=DESKTOP, dark=dark)
    found = browser.run(_INKS)
    assert len(found) > 200
    assert (_luminance(_rgb(found[0][1])) < 0.1) == dark
    faint = {text: (ink, paper) for ink, paper, text in found if _contrast(_rgb(ink), _rgb(paper)) < 4.5}
    assert faint == {}


@pytest.mark.parametrize("dark", [False, True])
def test_marks_differ_for_every_kind_of_colour_vision(browser: Page, file: Path, dark: bool) -> None:
    """The accent against the plain marks and the paper (WCAG 2.2, 1.4.11: 3 to 1), as few cones as one has."""
    browser.open(file, width=DESKTOP, dark=dark)
    names = ["--accent", "--muted", "--paper"]
    style = "getComputedStyle(document.documentElement)"
    accent, muted, paper = (
        _hex(browser.run(f"return {style}.getPropertyValue('{name}').trim()")) for name in names
    )
    for seen in _VISIONS.values():
        one, other, ground = (_seen(colour, seen) for colour in (accent, muted, paper))
        assert _distance(one, other) > 15
        assert _contrast(one, ground) >= 3
        assert _contrast(other, ground) >= 3


def test_kinds_of_builds_and_findings_have_shapes_and_words_of_their_own(browser: Page, file: Path) -> None:
    browser.open(file, width=DESKTOP)
    shapes = browser.run("""
      return [...document.querySelectorAll(".legend li")].slice(0, 4).map((each) => {
        const mark = each.querySelector(".mark");
        return [mark.tagName, mark.tagName === "circle" ? getComputedStyle(mark).fill : "", each.innerText].join(" ");
      });
    """)
    assert len({shape.rsplit(" ", 1)[0] for shape in shapes}) == 4
    assert (
        browser.run('return document.querySelector("#slices strong").innerText')
        == "▲ 1 class: worse than fp32"
    )


#: What has the focus: what it is, and whether one can see that it has it.
_FOCUS = """
  const each = document.activeElement;
  if (each === document.body) return null;
  const style = getComputedStyle(each), room = each.querySelector(":scope > .room");
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return {
    index: [...document.querySelectorAll("body *")].indexOf(each),
    visible: ring || (room !== null && getComputedStyle(room).strokeOpacity === "1"),
    what: each.outerHTML.slice(0, 80),
  };
"""


def test_everything_is_reached_by_tab_and_shows_its_focus(browser: Page, file: Path) -> None:
    browser.open(file, width=DESKTOP)
    wanted = browser.run("""
      const all = [...document.querySelectorAll("body *")];
      const stops = 'a[href], button, summary, input[type="search"], input:checked, [tabindex="0"]';
      return all.filter((each) => each.matches(stops) && each.checkVisibility()).map((each) => all.indexOf(each));
    """)
    reached: list[int] = []
    for _ in range(2 * len(wanted)):
        browser.press("Tab")
        focus = browser.run(_FOCUS)
        if focus is None or focus["index"] in reached:
            break
        assert focus["visible"], focus["what"]
        reached.append(focus["index"])
    assert reached == sorted(reached)  # In the order in which they are read.
    assert set(wanted) <= set(reached)
    assert len(wanted) > 20


def test_a_long_table_is_cut_short_filtered_and_sorted_by_keyboard(browser: Page, file: Path) -> None:
    browser.open(file, width=DESKTOP)
    rows = """
      const table = document.querySelector("#layers details[open] table");
      return [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[0].innerText);
    """
    status = "return document.querySelector('#layers details[open] [role=status]').innerText"
    assert browser.run(rows) == [f"layer{index}" for index in range(29, 9, -1)]
    assert browser.run(status) == "20 of 32 rows"
    browser.run("document.querySelector('#layers details[open] .filter input').focus()")
    browser.type("LAYER2")
    assert browser.run(rows) == [f"layer{index}" for index in (29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 2)]
    browser.run("document.querySelector('#layers details[open] .filter input').select()")
    browser.type("layer")
    browser.press("Tab")
    browser.press("Enter")  # Show all.
    assert len(browser.run(rows)) == 30
    browser.run("document.querySelectorAll('#layers details[open] th button')[1].focus()")
    browser.press("Enter")
    assert browser.run(rows)[:2] == ["layer0", "layer1"]


def test_printed_it_has_all_rows_of_a_long_table(browser: Page, file: Path) -> None:
    browser.open(file, width=DESKTOP)
    browser.call("Emulation.setEmulatedMedia", media="print")
    shown = browser.run("""
      return [...document.querySelectorAll("#layers details[open] tbody tr")].filter((row) => row.offsetHeight).length;
    """)
    browser.call("Emulation.setEmulatedMedia", media="")
    assert shown == 32


def test_a_screen_reader_is_told_what_everything_is(browser: Page, file: Path) -> None:
    browser.open(file, width=DESKTOP)
    browser.run('document.querySelectorAll("details").forEach((entry) => { entry.open = true; })')
    tree = browser.accessible()
    of = lambda role: [name for each, name in tree if each == role]  # noqa: E731
    assert [len(of(role)) for role in ("banner", "navigation", "main", "contentinfo")] == [1, 1, 1, 1]
    assert len(of("table")) >= 7
    for role in ("table", "link", "button", "radio", "searchbox", "heading", "columnheader", "rowheader"):
        assert of(role), role
        assert all(name.strip() for name in of(role)), role
    assert any(name.startswith("Accuracy of int8") for name in of("table"))
    points = [name for name in of("listitem") if "fp32's time" in name]
    assert len(points) == 2
    assert all("drop" in name and "points" in name and "ms" in name for name in points)
    assert any("worse than fp32" in name for name in of("table"))


def test_it_asks_for_nothing_but_itself(browser: Page, file: Path) -> None:
    browser.requests.clear()
    browser.open(file, width=DESKTOP)
    browser.run("document.querySelector('.point').focus(); document.querySelector('th button').click()")
    assert set(browser.requests) == {file.resolve().as_uri()}


Colour = np.ndarray[Any, np.dtype[np.float64]]

#: Linear RGB as it is seen where a kind of cone is missing: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes,
#: 'A Physiologically-based Model for Simulation of Color Vision Deficiency', IEEE TVCG 15 (2009), severity 1.
_VISIONS = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def _rgb(told: str) -> Colour:
    parts = told[told.index("(") + 1 : told.index(")")].split(",")
    return _linear(np.array([float(part) for part in parts[:3]]) / 255)


def _hex(told: str) -> Colour:
    return _linear(np.array([int(told[at : at + 2], 16) for at in (1, 3, 5)]) / 255)


def _linear(srgb: Colour) -> Colour:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _seen(colour: Colour, vision: Colour) -> Colour:
    return np.clip(vision @ colour, 0, 1)


def _luminance(colour: Colour) -> float:
    return float(colour @ [0.2126, 0.7152, 0.0722])


def _contrast(one: Colour, other: Colour) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _distance(one: Colour, other: Colour) -> float:
    """CIE 1976 colour difference; about 2.3 can just be told apart."""
    return float(np.linalg.norm(_lab(one) - _lab(other)))


def _lab(colour: Colour) -> Colour:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ colour / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("width", [1280, 360])
def test_the_table_of_builds_is_whole_on_a_desktop_and_on_a_phone(
    browser: Page, file: Path, width: int
) -> None:
    browser.open(file, width=width)
    room, needed, label = browser.run("""
      const frame = document.querySelector("#tried .scroll");
      const cell = frame.querySelectorAll("tbody td")[1];
      return [frame.clientWidth, frame.scrollWidth, getComputedStyle(cell, "::before").content];
    """)
    assert needed <= room
    assert label == ('"accuracy"' if width == 360 else "none")


@pytest.mark.parametrize("width", [1280, 360])
def test_builds_side_by_side_are_whole_on_a_desktop_and_on_a_phone(
    browser: Page, tmp_path: Path, width: int
) -> None:
    from compress.reports.comparison import Comparison
    from compress.reports.html import comparison_page

    names = ("builds/of-yesterday/quantized", "builds/of-today/pruned-and-quantized")
    figures = ("0.0485 ms (0.0364 to 0.0645), 0.26× fp32", "0.0733 ms (0.0557 to 0.0965), 0.39× fp32")
    page = tmp_path / "sides.html"
    page.write_text(comparison_page(Comparison(names, (("batch 1", figures),), ())), encoding="utf-8")
    browser.open(page, width=width, phone=width == PHONE)
    room, needed, label = browser.run("""
      const frame = document.querySelector("#sides .scroll");
      const cell = frame.querySelectorAll("tbody td")[1];
      return [frame.clientWidth, frame.scrollWidth, getComputedStyle(cell, "::before").content];
    """)
    assert needed <= room
    assert label == (f'"{names[1]}"' if width == PHONE else "none")
