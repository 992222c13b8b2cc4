"""The tables of the documents are what the recorded results give."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import results, tables
from benchmarks.__main__ import benchmarks, main
from benchmarks.layouts import LAYOUTS
from benchmarks.tables import DOCUMENTS, Layout, markdown, rewritten

FILES = sorted(results.RESULTS.glob("*.json"))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    return tmp_path


def result(rows: list[dict[str, Any]]) -> results.Result:
    return results.Result("net", "recorded", "python", "2026-01-02", {}, {}, {"rows": rows})


def table(columns: dict[str, str], rows: list[dict[str, Any]], **options: Any) -> list[str]:
    result(rows).write()
    return markdown(Layout("net", "rows", columns, **options)).splitlines()[2:]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_committed_tables_are_what_the_results_give(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert rewritten(text, LAYOUTS) == text, "run python -m benchmarks tables"


def test_every_layout_and_every_result_is_used_once() -> None:
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    marks = [found["name"] for text in texts for found in tables._MARK.finditer(text)]
    assert sorted(marks) == sorted(LAYOUTS)
    assert {layout.result for layout in LAYOUTS.values()} == {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_result_says_where_it_comes_from(path: Path) -> None:
    found = results.read(path.stem)
    assert found.benchmark in benchmarks()
    assert found.origin in ("recorded", "transcribed")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found.date)
    assert found.command.startswith(("python -m benchmarks run ", "compress "))
    assert set(found.machine) == {"description"} if found.origin == "transcribed" else found.machine
    assert all(found.tables.values())
    assert path.read_text(encoding="utf-8") == results._text(found)  # a line for each row


def test_a_changed_result_changes_its_document(kept: Path) -> None:
    result([{"build": "int8", "top1": 93.5}]).write()
    layouts = {"net": Layout("net", "rows", {"build": "{build}", "top-1": "{top1:.2f} %"})}
    text = (
        "before\n\n<!-- table: net -->\n| old | table |\n|---|---|\n| of | before |\n\nafter | not a table\n"
    )
    anew = "before\n\n<!-- table: net -->\n| build | top-1 |\n|---|---|\n| int8 | 93.50 % |\n\nafter | not a table\n"
    assert rewritten(text, layouts) == anew
    result([{"build": "int8", "top1": 91.0}]).write()
    assert rewritten(anew, layouts) == anew.replace("93.50", "91.00")


def test_a_mark_without_a_layout_is_an_error() -> None:
    with pytest.raises(KeyError, match="unknown"):
        rewritten("<!-- table: unknown -->\n", {})


def test_what_was_not_measured_is_a_dash(kept: Path) -> None:
    columns = {"a": "{drop:-.2f} ({high:.2f})", "b": "{nncf[batch_1]:.2f}", "c": "{inside:yes|no}"}
    rows: list[dict[str, Any]] = [
        {"drop": None, "high": 1.0, "nncf": None, "inside": False},
        {"drop": -0.5, "high": 1.0, "nncf": {"batch_1": 0.25}, "inside": True},
    ]
    assert table(columns, rows) == ["| – | – | no |", "| −0.50 (1.00) | 0.25 | yes |"]


def test_rows_of_several_settings_share_a_line(kept: Path) -> None:
    settings = [("a", 1, 3), ("b", 1, 5), ("a", 32, 4)]
    rows = [{"network": network, "batch": batch, "time": time} for network, batch, time in settings]
    columns = {"network": "{network}", "times": "{b1[time]} / {b32[time]}"}
    lines = table(
        columns, rows, wide=("network", lambda row: f"b{row['batch']}"), keep=lambda line: "b32" in line
    )
    assert lines == ["| a | 3 / 4 |"]


def test_the_fastest_inside_the_margin_is_bold() -> None:
    lines = markdown(LAYOUTS["quantization.peers"]).splitlines()
    assert len(lines) == 2 + 6  # networks at one thread
    assert "| MobileNet | 1.42 / 1.28, outside | 0.82 / 0.65 | 1.11 / 0.65 | **0.81** / 0.46 |" in lines
    assert all(line.count("**") == 2 for line in lines[2:])


def test_only_the_runner_with_record_keeps_rows(kept: Path) -> None:
    results.record("rows", [{"a": 1}])  # nobody asked: nothing happens
    with results.recording() as found:
        results.record("rows", [{"a": 1}, {"a": 2}])
    results.record("rows", [{"a": 3}])
    assert found == {"rows": [{"a": 1}, {"a": 2}]}
    path = results.measured_here("net", "python -m benchmarks run net", found).write("here")
    assert path == kept / "net.here.json"
    assert results.read("net.here").tables == found
    content = json.loads(path.read_text())
    assert content["origin"] == "recorded"
    assert content["machine"]["cpu"]
    assert content["versions"]["onnxruntime"]


def test_a_benchmark_is_recorded_by_the_runner(kept: Path) -> None:
    done = CliRunner().invoke(
        main, ["run", "--record", "pruning_scale", "--depths", "3"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    found = results.read("pruning_scale")
    assert found.command == "python -m benchmarks run pruning_scale --depths 3"
    by_network = {(row["network"], row["layers"]): row for row in found.tables["networks"]}
    assert set(by_network) == {("cifar", 56), ("chain", 3), ("residual", 3)}
    assert (by_network["cifar", 56]["groups"], by_network["cifar", 56]["units"]) == (30, 1120)


def test_a_benchmark_without_rows_is_not_recorded() -> None:
    done = CliRunner().invoke(main, ["run", "--record", "lint_all"])
    assert done.exit_code == 2
    assert "lint_all keeps no rows" in done.output


def test_tables_tells_what_differs_and_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "page.md"
    document.write_text("<!-- table: fragile -->\n| build | top-1 |\n|---|---|\n| fp32 | 12 % |\n")
    monkeypatch.setattr("benchmarks.__main__.DOCUMENTS", (document,))
    monkeypatch.setattr("benchmarks.__main__.ROOT", tmp_path)
    done = CliRunner().invoke(main, ["tables", "--check"])
    assert (done.exit_code, done.output) == (1, "page.md: differs\n")
    assert "12 %" in document.read_text()
    assert CliRunner().invoke(main, ["tables"]).output == "page.md: written\n"
    assert document.read_text() == f"<!-- table: fragile -->\n{tables.markdown(LAYOUTS['fragile'])}"
    assert CliRunner().invoke(main, ["tables", "--check"]).exit_code == 0
