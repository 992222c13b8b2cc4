"""The drawing of the rooms shows what the code imports."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from xml.etree import ElementTree

import pytest

from tests.docs.markdown import ROOT
from tests.rooms import ROOMS


@pytest.fixture(scope="module")
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_house", ROOT / "docs" / "house.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_room_is_a_box_and_every_arrow_goes_down(house: ModuleType) -> None:
    arrows = house.shortened(house.imports_of_rooms())
    drawn = ElementTree.fromstring(house.drawing(arrows))
    space = "{http://www.w3.org/2000/svg}"
    names = [text.text for text in drawn.iter(f"{space}text")]
    assert sorted(names) == sorted(room for row in ROOMS for room in row)
    assert len({(box.get("x"), box.get("y")) for box in drawn.iter(f"{space}rect")}) == len(names)
    curves = [path.get("d", "") for path in drawn.iter(f"{space}path") if path.get("fill") == "none"]
    assert len(curves) == sum(map(len, arrows.values())) > 30
    for curve in curves:
        start, *_, end = (float(point.partition(",")[2]) for point in curve[1:].replace(" C", " ").split())
        assert start < end, curve


def test_what_a_room_imports_is_read_from_its_modules(house: ModuleType) -> None:
    imported = house.imports_of_rooms()
    assert imported["core"] == set()
    assert "records" in imported["gate"]
    assert "api" in imported["cli"]
    assert all("cli" not in others for others in imported.values())


def test_an_import_that_follows_from_others_is_left_out(house: ModuleType) -> None:
    imported = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set(), "d": {"c"}}
    assert house.shortened(imported) == {"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": {"c"}}


def test_the_page_tells_what_each_room_holds_and_that_nothing_lies_loose(house: ModuleType) -> None:
    assert house.loose() == []
    page = house.page()
    assert "room: 0 (" in page
    for row in ROOMS:
        for room in row:
            (line,) = (line for line in page.splitlines() if line.startswith(f"| `{room}` |"))
            _, _, modules, _, told, _ = (cell.strip() for cell in line.split("|"))
            assert int(modules) >= 1
            assert len(told.split()) > 2
    drawing = page.partition("<svg")[2].partition("</svg>")[0]
    assert "\n\n" not in drawing  # an empty line would end it in Markdown
