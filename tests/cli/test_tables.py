"""Tables on a terminal that is too narrow for them, and where there is no terminal."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from compress.cli.terminal import _latency_cell, plain_table, print_whole
from tests.records import latency


@pytest.mark.parametrize("width", [20, 80, 200])
def test_no_cell_is_cut_however_narrow_the_terminal_is(width: int) -> None:
    cells = [
        ["pruned-0.7x-int8-matmul-openvino", "0.006315 ± 0.00033"],
        ["0.0422 ms (0.0182–0.0827)", "84.6 kB"],
    ]
    table = plain_table()
    for heading in ("build", "a heading of some length"):
        table.add_column(heading, no_wrap=True)
    for row in cells:
        table.add_row(*row)
    written = StringIO()
    print_whole(Console(file=written, width=width, force_terminal=width == 80, no_color=True), table)
    text = written.getvalue()
    assert "…" not in text
    assert all(cell in text for row in cells for cell in row)


@pytest.mark.parametrize(
    ("ratio", "told"), [(1.0, " 1.00×"), (9.99, " 9.99×"), (12.34, " 12.3×"), (345.6, " 346×")]
)
def test_a_large_ratio_takes_no_more_room_than_a_small_one(ratio: float, told: str) -> None:
    """On a busy machine a build may take many times as long as fp32."""
    assert _latency_cell(latency(ratio, p50_ms=0.0213)).rstrip() == f"0.0213{told}"
    assert len(_latency_cell(latency(ratio, p50_ms=0.0213))) == 12
