"""A drawing of the package: every room as a box, every import as an arrow, made from the code.

MkDocs calls :func:`on_files` when it builds the documentation. The order of the rooms is the one that
``tests/test_rooms.py`` holds: a room imports only from rooms below it.
"""

from __future__ import annotations

import ast
import runpy
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = "explanation/house.md"

#: Size of a box, gaps between boxes and between rows, in pixels of the drawing.
WIDTH, HEIGHT, GAP, RISE = 104, 26, 46, 56

_rooms: dict[str, Any] = runpy.run_path(str(ROOT / "tests" / "rooms.py"))
ORDER: Sequence[Sequence[str]] = _rooms["ROOMS"]
#: Files at the top of the package that belong to no room; everything else lies in one.
ENTRANCES: Sequence[str] = _rooms["ENTRANCES"]

_INTRODUCTION = """# The house

`compress/` has {count} rooms, and imports go downhill only: a room imports from rooms that are drawn below it, never
from its own row or from above, and never in a circle. `tests/test_rooms.py` holds that, also for imports inside
functions. Modules that lie outside of a room: {loose} ({entrances} are the entrances).

Of {imports} pairs of rooms of which one imports the other, the drawing shows the {arrows} that do not follow from
others: where *api* imports *search* and *search* imports *data*, an arrow from *api* to *data* is left out. `errors`
and `recipe` count as *core*.

<div class="house-frame">
{drawing}
</div>

| room | modules | imports | what is in it |
|---|---|---|---|
{table}
"""


def page() -> str:
    """Return the page in Markdown, with the drawing in it."""
    imported = imports_of_rooms()
    arrows = shortened(imported)
    lines = [
        f"| `{room}` | {_count(room)} | {', '.join(sorted(imported[room])) or '–'} | {_told(room)} |"
        for row in reversed(ORDER)
        for room in row
    ]
    return _INTRODUCTION.format(
        count=len(imported),
        loose=len(loose()),
        entrances=", ".join(f"`{name}`" for name in ENTRANCES),
        imports=sum(map(len, imported.values())),
        arrows=sum(map(len, arrows.values())),
        drawing=drawing(arrows),
        table="\n".join(lines),
    )


def on_files(files: Any, config: Any) -> Any:
    """Add the page; MkDocs calls it."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=page()))
    return files


def loose() -> list[str]:
    """Return the names of files at the top of the package that are no entrances."""
    return sorted(
        path.name for path in (ROOT / "compress").iterdir() if path.is_file() and path.name not in ENTRANCES
    )


def imports_of_rooms() -> dict[str, set[str]]:
    """Return for each room the rooms that its modules import, the entry points of the package left out."""
    found: dict[str, set[str]] = {room: set() for row in ORDER for room in row}
    for module, imported in _rooms["GRAPH"].items():
        if module not in ("compress", "compress.__main__"):
            found[_rooms["room_of"](module)] |= {_rooms["room_of"](each) for each in imported}
    return {room: others - {room} for room, others in found.items()}


def shortened(imported: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the imports that do not follow from others: the transitive reduction."""
    reached: dict[str, set[str]] = {}

    def below(room: str) -> set[str]:
        if room not in reached:
            reached[room] = imported[room].union(*map(below, imported[room]))
        return reached[room]

    return {room: others - set().union(*map(below, others)) for room, others in imported.items()}


def drawing(arrows: Mapping[str, set[str]]) -> str:
    """Return the drawing as SVG without an empty line, so that Markdown takes it as it is."""
    width = (max(map(len, ORDER)) + 0.5) * (WIDTH + GAP)
    height = len(ORDER) * RISE
    places = _places(width)
    parts = [
        f'<svg class="house" viewBox="0 0 {width:g} {height}" role="img" xmlns="http://www.w3.org/2000/svg">',
        "<title>Rooms of compress, each above the rooms that it imports from</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="currentColor"/></marker></defs>',
        *(_arrow(places[room], places[each]) for room in arrows for each in sorted(arrows[room])),
        *(_box(room, place) for room, place in places.items()),
        "</svg>",
    ]
    return "\n".join(parts)


def _places(width: float) -> dict[str, tuple[float, float]]:
    """Return the middle of each box: the last room of the order on top, rows by turns left and right of the middle.

    Arrows between rows that are far apart then pass beside the boxes of the rows between them.
    """
    places = {}
    for row, rooms in enumerate(reversed(ORDER)):
        aside = (WIDTH + GAP) / 4 * (-1) ** row
        left = (width - len(rooms) * (WIDTH + GAP)) / 2 + aside
        for at, room in enumerate(rooms):
            places[room] = (left + (at + 0.5) * (WIDTH + GAP), (row + 0.5) * RISE)
    return places


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return a curve from the lower edge of a box to the upper edge of another."""
    (x, y), (to_x, to_y) = (start[0], start[1] + HEIGHT / 2), (end[0], end[1] - HEIGHT / 2)
    bend = RISE / 2
    path = f"M{x:g},{y:g} C{x:g},{y + bend:g} {to_x:g},{to_y - bend:g} {to_x:g},{to_y:g}"
    return (
        f'<path d="{path}" fill="none" stroke="currentColor" stroke-opacity="0.45" marker-end="url(#tip)"/>'
    )


def _box(room: str, place: tuple[float, float]) -> str:
    x, y = place
    return (
        f'<rect x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
        f'<text x="{x:g}" y="{y + 4:g}">{escape(room)}</text>'
    )


def _count(room: str) -> int:
    return sum(_rooms["room_of"](module) == room for module in _rooms["MODULES"] if module.count("."))


def _told(room: str) -> str:
    """Return the first line of what the room says about itself."""
    text = (ROOT / "compress" / room / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0].replace("|", "\\|")
