"""The report in a real Chromium: phone and desktop, light and dark, by keyboard."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compress.errors import UnavailableError
from compress.reports.browser import find_browser, run_browser, screenshot
from compress.reports.html import plot_svg, render
from compress.reports.run import read_run
from compress.reports.writing import write_png
from tests.reports.runs import candidates, estimated, written

browser = [
    pytest.mark.browser,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome is installed"),
]

#: A frame as wide as a phone, since a window cannot be; what the script of a test finds is written into the page.
_FRAME = """<!doctype html><meta charset="utf-8"><style>body {{ margin: 0 }} iframe {{ border: 0 }}</style>
<iframe width="{width}" height="{height}" srcdoc="{page}"></iframe><pre id="found"></pre>
<script>
onload = () => {{
  const view = document.querySelector("iframe").contentWindow, page = view.document;
  document.getElementById("found").textContent = JSON.stringify((() => {{ {script} }})());
}};
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    # Long names and reasons are what would push a page apart.
    entries = estimated(candidates("int8-with-a-name-that-is-longer-than-any-phone-is-wide_" * 2))
    return render(written(tmp_path_factory.mktemp("run"), entries, "jetson"))


#: What a reader does, and what is then to be seen.
_VISIT = """
  const root = page.documentElement, tooltip = page.getElementById("tooltip");
  const all = (selector) => [...page.querySelectorAll(selector)];

  all("details").forEach((entry) => { entry.open = true; });
  const sizes = {
    page: root.scrollWidth,
    window: root.clientWidth,
    widest: Math.max(...all("table").map((table) => table.offsetWidth)),
    drawings: all("figure:not([hidden]) .drawing").filter((drawing) => drawing.offsetWidth).length,
  };

  const before = tooltip.offsetHeight;
  const points = all(".point").filter((point) => point.getBoundingClientRect().width);
  const boxes = points.map((point) => {
    point.focus();
    const box = tooltip.getBoundingClientRect();
    return [box.left, box.right, tooltip.innerText];
  });
  page.dispatchEvent(new view.KeyboardEvent("keydown", { key: "Escape" }));
  const after = tooltip.offsetHeight;

  const shown = () => all("figure").filter((figure) => figure.offsetHeight).map((figure) => figure.id);
  const first = shown();
  all(".switch input")[1].click();
  const batches = [first, shown()];

  const table = page.querySelector("#tried table");
  const heading = [...table.tHead.rows[0].cells].find((cell) => cell.textContent === "drop, points");
  const sorted = () => {
    heading.querySelector("button").click();
    const names = [...table.tBodies[0].rows].map((row) => row.cells[0].textContent.slice(0, 4));
    return [names, heading.getAttribute("aria-sort")];
  };
  const up = sorted(), down = sorted();
  return { ...sizes, before, boxes, after, batches, up, down };
"""


@pytest.fixture(scope="module", params=[360, 1280])
def seen(
    page: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """A visit at one width: a phone's, a desktop's."""
    told = found(page, tmp_path_factory.mktemp("visit"), request.param, _VISIT)
    return {"width": request.param, **told}


def framed(page: str, tmp_path: Path, width: int, script: str = "", height: int = 900) -> Path:
    path = tmp_path / f"frame{width}.html"
    path.write_text(_FRAME.format(width=width, height=height, page=html.escape(page), script=script))
    return path


def found(page: str, tmp_path: Path, width: int, script: str, *options: str) -> Any:
    told = run_browser(
        ["--dump-dom", "--virtual-time-budget=2000", *options],
        framed(page, tmp_path, width, script),
        tmp_path,
    )
    match = re.search(r'<pre id="found">(.+?)</pre>', told)
    assert match is not None, told[-500:]
    return json.loads(html.unescape(match[1]))


class TestInChromium:
    pytestmark = browser

    def test_nothing_is_wider_than_the_page(self, seen: dict[str, Any]) -> None:
        assert seen["window"] == seen["width"]
        assert seen["page"] == seen["width"]
        assert seen["widest"] > 360  # Tables are wider than a phone, and scroll.
        assert seen["drawings"] == 1

    def test_a_point_in_focus_shows_its_figures_inside_the_page(self, seen: dict[str, Any]) -> None:
        assert seen["before"] == seen["after"] == 0
        assert len(seen["boxes"]) == 3
        for left, right, text in seen["boxes"]:
            assert left >= 0
            assert right <= seen["width"]
            assert "estimated 1 ms (0.5 to 2) at batch 1" in text

    def test_the_switch_shows_one_batch_size(self, seen: dict[str, Any]) -> None:
        assert seen["batches"] == [["batch-0"], ["batch-1"]]

    def test_a_click_sorts_by_number_and_what_is_missing_stays_last(self, seen: dict[str, Any]) -> None:
        assert seen["up"] == [["int8", "int4", "fp32", "prun"], "ascending"]
        assert seen["down"] == [["int4", "int8", "fp32", "prun"], "descending"]

    def test_contrast_of_text_in_light_and_dark(self, page: str, tmp_path: Path) -> None:
        script = """
          const style = view.getComputedStyle(page.documentElement);
          return ["--paper", "--tint", "--text", "--muted", "--accent"].map((name) => style.getPropertyValue(name));
        """
        papers = set()
        for scheme in (0, 1):
            told = found(page, tmp_path, 1280, script, f"--blink-settings=preferredColorScheme={scheme}")
            paper, tint, *inks = map(_luminance, told)
            papers.add(told[0])
            for ink in inks:
                assert _contrast(ink, paper) >= 4.5
                assert _contrast(ink, tint) >= 4.5
        assert len(papers) == 2

    @pytest.mark.parametrize("dark", [False, True])
    @pytest.mark.parametrize("width", [360, 1280])
    def test_its_picture_is_not_blank(self, page: str, tmp_path: Path, width: int, dark: bool) -> None:
        out = tmp_path / "picture.png"
        screenshot(framed(page, tmp_path, width), out, max(width, 500), 900, dark=dark)
        pixels = np.asarray(Image.open(out).convert("L"))[:, :width]
        assert pixels.shape == (900, width)
        paper = int(np.bincount(pixels.ravel()).argmax())
        assert (paper < 60) == dark
        ink = np.abs(pixels.astype(int) - paper) > 100
        assert 0.01 < ink.mean() < 0.4

    def test_the_plot_as_png(self, tmp_path: Path) -> None:
        write_png(tmp_path / "front.png", plot_svg(read_run(written(tmp_path))))
        picture = Image.open(tmp_path / "front.png").convert("RGB")
        assert picture.size == (928, 470)
        colours = {colour for _, colour in picture.getcolors(1 << 20) or ()}
        assert {(255, 255, 255), (0, 114, 178)} <= colours  # The paper, and the star that is shipped.


def test_without_a_browser_a_png_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="--svg"):
        write_png(tmp_path / "front.png", "<svg></svg>")
    assert not (tmp_path / "front.png").exists()


def _luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour.strip()[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
