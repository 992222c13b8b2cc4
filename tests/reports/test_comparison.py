"""Builds side by side: every figure whole at any width, and a word about what cannot be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compress.bundle.profile_file import with_digest
from compress.cli import main
from compress.errors import BundleError, UsageError
from compress.reports.comparison import compare
from tests.records import candidate


def recorded(name: str, place: Path, metric: str = "top-1", **changed: object) -> Path:
    profile = candidate(name, drop=(0.5, 0.1, 0.9)).profile
    assert profile is not None
    assert profile.accuracy is not None
    count = profile.accuracy.samples
    right = round(profile.accuracy.mean * count)
    whole = replace(
        profile,
        outcomes=(1.0,) * right + (0.0,) * (count - right),
        accuracy=replace(profile.accuracy, mean=right / count, metric=metric),
        **changed,  # type: ignore[arg-type]
    )
    path = place / f"{name}.json"
    path.write_text(json.dumps(with_digest(whole)))
    return path


@pytest.fixture
def both(tmp_path: Path) -> list[str]:
    return [str(recorded("fp32", tmp_path)), str(recorded("int8", tmp_path))]


def test_every_figure_has_a_value_for_each_build(both: list[str]):
    found = compare(both)
    assert found.names == tuple(both)
    assert dict(found.rows)["recipe"] == ("fp32", "int8")
    assert all(len(values) == 2 for _, values in found.rows)
    assert any(name.startswith("batch ") for name, _ in found.rows)
    assert found.notes == ()


def test_one_build_is_compared_with_nothing(both: list[str]):
    with pytest.raises(UsageError, match="two builds or more"):
        compare(both[:1])


def test_a_network_is_to_be_measured_first(both: list[str], tmp_path: Path):
    (tmp_path / "net.onnx").write_bytes(b"\x08\x0a")
    with pytest.raises(
        BundleError, match=r"found a network, .*net\.onnx; measure it first: compress profile "
    ):
        compare([both[0], tmp_path / "net.onnx"])


def test_what_cannot_be_compared_is_told(both: list[str], tmp_path: Path):
    other = recorded("other", tmp_path, target="jetson", network="net", network_sha256="b" * 64)
    first = recorded("first", tmp_path, network="net", network_sha256="a" * 64)
    told = " ".join(compare([first, other]).notes)
    assert "different files of a network" in told
    assert "for different targets" in told


def test_each_metric_has_a_drop_of_its_own(both: list[str], tmp_path: Path):
    by_another = recorded("ranked", tmp_path, metric="top-5")
    found = compare([both[0], by_another])
    rows = dict(found.rows)
    assert rows["drop of top-1, points"][1] == "–"
    assert rows["drop of top-5, points"][0] == "–"
    assert rows["drop of top-1, points"][0] == rows["drop of top-5, points"][1] != "–"
    assert "drop (points)" not in rows
    assert any("were judged by different metrics: top-1 and top-5" in note for note in found.notes)


def test_session_options_that_differ_are_told(tmp_path: Path):
    one = recorded("one", tmp_path, options={"intra_op_threads": 1, "spinning": True})
    two = recorded("two", tmp_path, options={"intra_op_threads": 4, "spinning": True})
    three = recorded("three", tmp_path, options={"intra_op_threads": 1, "spinning": True, "arena": False})
    told = compare([one, two, three]).notes
    assert f"{one} and {two} were timed with different session options: intra_op_threads 1 and 4" in told
    assert f"{one} and {three} were timed with different session options: arena unset and False" in told
    assert not any("session options" in note for note in compare([one, one]).notes)


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_no_figure_is_cut_at_any_width(
    both: list[str], columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["compare", *both]) == 0
    printed = capsys.readouterr().out
    for _, values in compare(both).rows:
        for value in values:
            assert value in printed
    assert "…" not in printed


def test_the_page_and_the_json_hold_the_same(
    both: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["compare", *both, "--html", str(tmp_path / "c.html"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    page = (tmp_path / "c.html").read_text()
    assert told["builds"] == both
    for name, values in told["figures"].items():
        assert name in page
        for value in values:
            assert value in page
    assert "http" not in page.partition("<body")[2].partition("<script")[0]


def test_names_become_no_markup(tmp_path: Path):
    from compress.reports.html import comparison_page

    hostile = recorded("fp32", tmp_path, target="<script>alert(1)</script>")
    page = comparison_page(compare([hostile, hostile]))
    assert "<script>alert(1)" not in page


def test_a_bundle_shows_the_times_of_its_own_table(tmp_path: Path):
    import numpy as np

    import compress
    from compress.onnx_graph.files import save_model
    from compress.reports.figures import latency_figure
    from compress.reports.run import read_run
    from compress.testing.graphs import classifier, samples

    save_model(classifier(), tmp_path / "net.onnx")
    data = {"x": samples(60), "y": np.arange(60) % 4}
    built = compress.optimize(
        tmp_path / "net.onnx", data=data, out=tmp_path / "build", seconds=0.01, threads=1
    )
    assert built.bundle is not None
    shipped = read_run(tmp_path / "build").choice.candidate
    assert shipped is not None
    assert shipped.profile is not None
    figures = dict(compare([tmp_path / "build", tmp_path / "build"]).rows)
    assert str(latency_figure(shipped.profile.latency[0])) in figures["batch 1"][0]
