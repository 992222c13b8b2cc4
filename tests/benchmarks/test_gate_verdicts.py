"""What `python -m benchmarks run verdicts` counts."""

from __future__ import annotations

from benchmarks.gate.verdicts import recorded
from compress.statistics.proportions import wilson


def test_failures_and_undecided_gates_are_counted_for_each_padding() -> None:
    verdicts = [
        ("convolutions", 0, "pass"),
        ("dense", 0, "inconclusive"),
        ("dense", 0, "fail"),
        ("dense", 5, "fail"),
    ]
    rows: list[dict[str, object]] = [
        {"network": network, "padding_percent": percent, "verdict": verdict}
        for network, percent, verdict in verdicts
    ]
    same, five, ten = recorded(rows)
    assert same["convolutions"] == {
        "found": 0, "gates": 1, "inconclusive": 0, "interval": [round(100 * each, 1) for each in wilson(0, 1)]
    }  # fmt: skip
    low, high = wilson(1, 3)
    assert same["both"] == {
        "found": 1, "gates": 3, "inconclusive": 1, "interval": [round(100 * low, 1), round(100 * high, 1)]
    }  # fmt: skip
    assert (five["candidate"], five["dense"]["found"]) == ("truly +5 %: found", 1)
    assert ten["both"] == {"found": 0, "gates": 0, "inconclusive": 0, "interval": [0.0, 100.0]}
