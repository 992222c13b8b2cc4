"""What is said of a network on data that is wrong in one of five ways, and of one on the right data."""

from __future__ import annotations

from benchmarks.studies import broken_originals


def test_the_cause_of_each_is_named() -> None:
    told: list[str] = []
    broken_originals.main(told.append)
    lines = dict(line.split(": ", 1) for line in told)
    assert lines["as in training"] == "nothing"
    for name, cause in (
        ("no normalisation", "with ImageNet's mean and std"),
        ("BGR", "with colours in the other order (RGB or BGR)"),
        ("folder order", "class folders are in the order of the alphabet"),
        ("labels from 1", "labels seem to begin at 1"),
    ):
        assert lines[name].startswith("warning: the original is right on ")
        assert cause in lines[name]
        assert lines[name].count("it would be right on") == 1
    assert lines["one-hot"].startswith("error: ")
    assert "one-hot" in lines["one-hot"]
    assert "y.argmax(1)" in lines["one-hot"]
