"""The model card, read as a hub reads it, and the figures as CSV."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compress.cli import main
from compress.reports.card import card
from compress.reports.figures_csv import COLUMNS, figures_csv
from compress.reports.run import read_run
from tests.reports.runs import candidates, estimated, written

yaml = pytest.importorskip("yaml")


def test_the_front_matter_is_what_hubs_read(tmp_path: Path) -> None:
    build, path = written(tmp_path), tmp_path / "README.md"
    assert main(["report", str(build), "--card", str(path), "--csv", str(tmp_path / "figures.csv")]) == 0
    _, front, body = path.read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["library_name"] == "onnx"
    assert told["tags"] == ["compress-toolkit", "quantize"]
    assert told["metrics"] == ["accuracy"]
    (result,) = told["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "name": "top-1", "value": 0.9}]
    assert "| drop, points | 0.10 (−0.20 to 0.40) | – |" in body
    assert "| time over fp32&#x27;s, batch 1 |" in body or "| time over fp32's, batch 1 |" in body
    assert "- Classes that are worse than fp32 beyond doubt: dog." in body
    assert (tmp_path / "figures.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_estimates_are_said_to_be(tmp_path: Path) -> None:
    told = card(read_run(written(tmp_path, estimated(candidates()), "jetson")))
    assert "Times are **estimated** by a roofline" in told
    assert "| estimated median of a call, batch 1 |" in told


def test_no_name_becomes_a_key_or_a_formula(tmp_path: Path) -> None:
    first, *others = candidates('=1+1"\nlicense: mine')
    run = read_run(written(tmp_path, [first, *others]))
    told = yaml.safe_load(card(run).split("---\n", 2)[1])
    assert "license" not in told
    assert told["model-index"][0]["name"] == '=1+1"\nlicense: mine'
    rows = figures_csv(run).splitlines()
    assert rows[3].startswith('"\'=1+1""')
    assert len(rows) == 1 + 2 * 3 + 1


def test_a_run_without_data_says_that_nothing_is_known(tmp_path: Path) -> None:
    run = read_run(written(tmp_path))
    told = card(replace(run, profile=replace(run.profile, accuracy=None)))
    assert "model-index" not in told
    assert "nothing is known of its accuracy" in told
