"""What `python -m benchmarks run quantization` concludes from what it measured."""

import sys
from pathlib import Path

import pytest

from benchmarks.studies.quantization.contest import Look, Row
from benchmarks.studies.quantization.rivals import _built
from benchmarks.studies.quantization.table import recorded, summary
from compress.records.profile import Accuracy, Drop, Interval


def looked_at(ratio: float, bound: float) -> Look:
    drop = Drop(bound / 2, Interval(0.0, bound, 0.9), churn=0.0)
    accuracy = Accuracy("top-1", 0.9, Interval(0.8, 1.0, 0.95), 100, "", True, True, drop)
    return Look(Row("a rival", 1, inside=bound <= 1, accuracy=accuracy), ratio)


def standing(**changed):
    against = [{"batch": 1, "rival": "another", "ratio": 1.2, "interval": {"low": 1.1, "high": 1.3}}]
    usual = {"threads": 1, "inside": True, "error": None, "slower_than_fp32_at": [], "against": against}
    return {"standings": [{**usual, **changed}]}


def line(**changed) -> str:
    (told,) = summary("net", standing(**changed))
    return told


def against(low: float, high: float) -> list[dict]:
    return [
        {"batch": 1, "rival": "another", "ratio": (low + high) / 2, "interval": {"low": low, "high": high}}
    ]


def test_the_fastest_inside_the_margin_is_chosen():
    slow, fast, outside = looked_at(0.8, 0.5), looked_at(0.5, 0.9), looked_at(0.1, 1.1)
    assert min([slow, outside, fast], key=Look.rank) is fast


def test_where_none_is_inside_the_lowest_bound_is_chosen():
    worse, better = looked_at(0.1, 5.0), looked_at(0.9, 2.0)
    assert min([worse, better], key=Look.rank) is better


@pytest.mark.parametrize(
    "low, high, told",
    [
        (1.1, 1.3, "fastest"),
        (0.9, 1.1, "as fast as"),
        (0.98, 0.99, "as fast as"),
        (1.01, 1.02, "as fast as"),
        (0.7, 0.9, "SLOWER than the best rival"),
    ],
)
def test_the_whole_interval_decides_who_is_fastest(low, high, told):
    assert told in line(against=against(low, high))


def test_what_is_not_reached_is_told():
    told = line(inside=False, slower_than_fp32_at=[32], against=[])
    assert "NOT inside the margin" in told
    assert "SLOWER than fp32 at batch 32" in told
    assert "no rival inside the margin" in told
    assert line(error="none was built") == "net, 1 thread: no build of ours: none was built"


def test_a_builder_that_fails_is_told_by_its_last_line(tmp_path: Path):
    broken = [sys.executable, "-c", "raise ValueError('no such thing')"]
    assert _built("x", tmp_path / "out", broken, {}).error == "ValueError: no such thing"
    missing = _built("x", tmp_path / "out", [str(tmp_path / "python")], {}).error
    assert missing is not None
    assert missing.endswith("No such file or directory")


def test_a_builder_that_answers_is_told_by_its_answer(tmp_path: Path):
    honest = [sys.executable, "-c", "print('noise'); print('{\"seconds\": 2}')"]
    made = _built("x", tmp_path / "out", honest, {})
    assert (made.error, made.path, made.found) == (None, tmp_path / "out", {"seconds": 2})


def test_what_is_recorded_has_the_ratios_of_each_build_and_what_making_it_took():
    accuracy = {
        "mean": 0.9,
        "interval": {"low": 0.88, "high": 0.92},
        "drop": {"interval": {"low": 0.0, "high": 0.5}},
    }

    def row(build: str, ratio: float | None, found: dict) -> dict:
        latency = [{"batch": batch, "ratio": ratio, "p50_ms": 2.0 * batch} for batch in (1, 32)]
        measured = {"accuracy": accuracy, "bytes": 12_345, "latency": latency, "settings": "int8"}
        return {"build": build, "threads": 1, "inside": True, "found": found, **measured}

    rows = [
        row("fp32, ONNX Runtime", None, {}),
        row("ONNX Runtime, defaults", 1.5, {}),
        row("ONNX Runtime, by hand", 0.8, {"seconds": 3.4, "peak_mib": 400.2}),
        {**row("NNCF + OpenVINO", None, {}), "latency": [], "accuracy": None, "bytes": None, "inside": False},
        row(
            "compress", 0.5, {"seconds": 90.0, "peak_mib": 600.0, "step": {"seconds": 7.0, "peak_mib": 500.0}}
        ),
    ]
    entry = {"net": {**standing(), "rows": rows}}
    found = recorded(entry, "latency")
    (ratios,) = found["ratios"]
    assert ratios["fp32"] == {"batch_1": 2.0, "batch_32": 64.0, "inside": True}  # ms
    assert ratios["defaults"] == {"batch_1": 1.5, "batch_32": 1.5, "inside": True}
    assert (ratios["nncf"], ratios["shipped"], ratios["rival_over_ours"]) == (None, "int8", {"batch_1": 1.2})
    (figures,) = found["accuracy"]
    assert figures["compress"] == {"top1": 90.0, "low": 88.0, "high": 92.0, "drop_at_most": 0.5, "kb": 12}
    assert figures["cost"] == {
        "by_hand": {"seconds": 3, "peak_mib": 400},
        "nncf": None,
        "compress_alone": {"seconds": 7, "peak_mib": 500},
        "compress_search": {"seconds": 90, "peak_mib": 600},
    }
    largest = [{"batch": 32, "rival": "another", "ratio": 1.2, "interval": {"low": 1.1, "high": 1.3}}]
    entry = {"net": {**standing(against=largest), "rows": rows}}
    (throughput,) = recorded(entry, "throughput")["throughput"]
    assert (throughput["by_hand"], throughput["nncf"], throughput["compress"]) == (0.8, None, 0.5)
    assert throughput["rival_over_ours"] == [1.2, 1.1, 1.3]
