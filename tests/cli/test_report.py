from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.cli import main
from tests.records import resealed
from tests.reports.runs import written


def test_it_writes_each_form_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build = written(tmp_path)
    html, svg, markdown = (tmp_path / name for name in ("a.html", "b.svg", "c.md"))
    arguments = ["--html", str(html), "--svg", str(svg), "--markdown", str(markdown), "--json"]
    assert main(["report", str(build), *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"html": str(html), "svg": str(svg), "markdown": str(markdown)}
    assert html.read_text().startswith("<!doctype html>")
    assert svg.read_text().startswith("<svg ")
    assert markdown.read_text() == (build / "report.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"source", "build", "a.html", "b.svg", "c.md"}


def test_it_writes_html_where_nothing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = written(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(build)]) == 0
    assert capsys.readouterr().out == "wrote report.html\n"
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["nowhere"], "a directory with manifest.json"),
        (["build/profile.json"], "a directory with manifest.json"),
        (["build", "--html", "no/such/place.html"], "No such file"),
        (["build", "--html", "one", "--svg", "one"], "a file of its own"),
        (["--schema", "nonsense"], "profile"),
    ],
)
def test_what_cannot_be_done_is_usage(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    written(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("key", ["name", "reason", "target", "network", "data", "options", "versions"])
def test_a_bundle_that_does_not_tell_of_its_run_is_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    manifest = written(tmp_path) / "manifest.json"
    data = json.loads(manifest.read_text())
    del data[key]
    manifest.write_text(json.dumps(data))
    resealed(manifest.parent)
    assert main(["report", str(manifest.parent), "--html", str(tmp_path / "report.html")]) == 2
    assert f"no {key} in" in capsys.readouterr().err


def test_png_without_a_browser_is_not_available(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = written(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["report", str(build), "--png", str(tmp_path / "front.png")]) == 4
    assert "--svg" in capsys.readouterr().err
