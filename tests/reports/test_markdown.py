from __future__ import annotations

from dataclasses import replace

from compress.recipe import Recipe, Step
from compress.records.layer_time import LayerTime
from compress.reports.markdown import report
from compress.search.decision import choose
from compress.search.limits import Limits
from compress.search.run_directory import Candidate
from tests.records import candidate

MANIFEST = {
    "name": "int8",
    "target": {"name": "jetson-orin-nano-super"},
    "network": {"path": "model.pt2", "format": "pt2", "sha256": "ab" * 32},
    "data": {"metric": "top-1"},
    "artifact": {"file": "model.onnx", "sha256": "cd" * 32, "options": {"intra_op_threads": 1}},
    "versions": {"python": "3.11"},
}


def rendered(source: str = "measured", layers: tuple[LayerTime, ...] = ()) -> str:
    fp32, int8 = candidate("fp32"), candidate("int8", ratio=0.5, drop=(0.0, 0.2, 0.5))
    assert int8.profile is not None
    latency = tuple(replace(figure, source=source) for figure in int8.profile.latency)
    int8 = replace(int8, profile=replace(int8.profile, latency=latency, layers=layers))
    failed = Candidate(Recipe("odd | name", (Step("cast"),)), failure="two\nlines")
    candidates = [fp32, int8, failed]
    return report(MANIFEST, choose(candidates, Limits()), candidates)


def test_every_candidate_is_one_row_of_as_many_cells() -> None:
    rows = [line for line in rendered().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert any("shipped" in row and row.startswith("| int8 ") for row in rows)


def test_estimates_say_so_and_measurements_do_not() -> None:
    assert "*estimated*" in rendered("estimated")
    assert "estimated" not in rendered("measured")


def test_slowest_layers_come_first() -> None:
    layers = tuple(
        LayerTime(f"conv{ms}", "Conv", ms=ms, precision="int8", bound="memory") for ms in (1.0, 3.0, 2.0)
    )
    text = rendered("estimated", layers)
    assert text.index("conv3.0") < text.index("conv2.0") < text.index("conv1.0")
