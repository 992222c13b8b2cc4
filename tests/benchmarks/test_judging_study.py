"""How judges without labels are held against labels, on outputs that are made up to be known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from benchmarks.studies.judging import study
from benchmarks.studies.judging.scatter import scatter
from benchmarks.studies.judging.study import Judged


def test_what_ships_and_what_is_kept_out_is_counted_by_its_bound() -> None:
    def build(drop: float, high: float) -> Judged:
        return Judged("net", f"b{drop}", drop, {"loss": high / 2}, {"loss/None": high})

    found = [build(0.1, 0.8), build(0.2, 1.4), build(0.7, 3.0), build(2.0, 0.9), build(5.0, 9.0)]
    told = study.table(found, 1.0, None).splitlines()
    assert told[-1].split() == ["all", "-", "-", "1/2,", "1/2"]
    net, everything = study.recorded(found)
    assert (
        net["loss_all"]
        == {"bad_shipped": 1, "bad": 2, "good_kept_out": 1, "good": 2}
        == everything["loss_all"]
    )
    assert (net["network"], everything["network"], net["loss_500"]) == ("net", "all", None)


def test_builds_are_judged_by_what_compress_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.studies.judging.cache import write
    from benchmarks.studies.judging.truth import Found

    random = np.random.default_rng(0)
    y = 20 * random.standard_normal((600, 10)).astype(np.float32)
    labels = y.argmax(1)
    info = {
        "name": "spoken", "kind": "classes", "axis": 1, "form": "logits", "whole": {}, "metric": "top-1",
        "drop": 0.0, "drop_2": None,
    }  # fmt: skip
    write(
        tmp_path / "spoken" / "original.npz", y, Found((y.argmax(1) == labels) * 1.0, None, {}), info, labels
    )
    wrong = y.copy()
    wrong[:60] = -wrong[:60]
    for name, made, drop in (("same", y, 0.0), ("wrong", wrong, 10.0)):
        right = (made.argmax(1) == labels) * 1.0
        write(
            tmp_path / "spoken" / "builds" / f"{name}.npz",
            made,
            Found(right, None, {}),
            {**info, "drop": drop},
        )
    same, damaged = study.judged(["spoken"], tmp_path)
    assert same.told["loss"] == 0
    assert same.high["loss/500"] < 1 < damaged.high["loss/500"]
    assert damaged.told["agreement"] == pytest.approx(10.0, abs=0.5)
    assert damaged.told["loss"] == pytest.approx(10.0, abs=1.0)


def test_the_picture_has_a_point_for_each_build_and_judge() -> None:
    drawn = scatter([(0.5, {"agreement": 2.0, "loss": 0.7}), (3.0, {"loss": 4.0})], 1.0)
    assert drawn.count("h0") == 3
    assert drawn.startswith("<svg")
