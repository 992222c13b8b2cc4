"""`compress optimize` with several targets: a bundle for each, and the work that they share is done once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import compress.techniques.quantize as technique
from compress import load_bundle, optimize_targets
from compress.cli import main
from compress.errors import UnavailableError, UsageError
from compress.onnx_graph.files import save_model
from compress.records.schemas import schema_text
from tests.graphs import classifier, samples

TARGETS = ("--target", "raspberry-pi-5", "--target", "other-pi.toml")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(classifier(), tmp_path / "model.onnx")
    np.savez(tmp_path / "val.npz", x=samples(60), y=np.arange(60) % 4)
    (tmp_path / "mine.toml").write_text('name = "mine"\n[[technique]]\nname = "quantize"\n')
    pi = Path(__file__).parents[2] / "targets" / "raspberry-pi-5.toml"
    (tmp_path / "other-pi.toml").write_text(pi.read_text().replace('["rpi5"]', "[]"))
    return tmp_path


def optimize(*arguments: str) -> int:
    quick = ("--seconds", "0.05", "--threads", "1", "--max-drop", "100", "--recipe", "mine.toml")
    code: int = main(["optimize", "model.onnx", "--data", "val.npz", *quick, *arguments])
    return code


def test_each_target_has_a_bundle_and_what_they_share_is_done_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quantized: list[int] = []
    whole = technique.quantize_static

    def counted(*arguments: Any) -> Any:
        quantized.append(1)
        return whole(*arguments)

    monkeypatch.setattr(technique, "quantize_static", counted)
    assert optimize(*TARGETS) == 0
    assert len(quantized) == 1
    for name in ("raspberry-pi-5", "other-pi"):
        assert load_bundle(place / "build" / name).profile.target == name
    out = capsys.readouterr().out
    assert out.index("raspberry-pi-5:\n") < out.index("other-pi:\n")
    last = out.splitlines()[-2:]
    assert last[0].startswith("raspberry-pi-5: shipped: ")
    assert last[1].startswith("other-pi: shipped: ")


def test_one_object_holds_all_results(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert optimize(*TARGETS, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(json.loads(schema_text("targets"))).validate(printed)
    results = printed["targets"]
    assert list(results) == ["raspberry-pi-5", "other-pi"]
    assert {record["target"] for record in results.values()} == set(results)


def test_the_worst_exit_code_counts_and_others_go_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import compress.api.optimize as verb

    whole = verb.optimize

    def failing(model: Any, **options: Any) -> Any:
        if options["target"] == "raspberry-pi-5":
            raise UnavailableError("a board", "none", "connect it")
        return whole(model, **options)

    monkeypatch.setattr(verb, "optimize", failing)
    assert optimize(*TARGETS) == UnavailableError.exit_code
    told = capsys.readouterr()
    assert "error: raspberry-pi-5: wanted a board; found none; connect it" in told.err
    assert (place / "build" / "other-pi" / "manifest.json").exists()


def test_results_and_errors_in_python(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import compress.api.optimize as verb

    whole = verb.optimize

    def failing(model: Any, **options: Any) -> Any:
        if options["target"] == "other-pi.toml":
            raise UnavailableError("a board", "none", "connect it")
        return whole(model, **options)

    monkeypatch.setattr(verb, "optimize", failing)
    quick = {"seconds": 0.05, "threads": 1, "max_drop": 100.0, "recipes": ("mine.toml",), "data": "val.npz"}
    outcomes = optimize_targets("model.onnx", targets=["raspberry-pi-5", "other-pi.toml"], **quick)
    assert list(outcomes) == ["raspberry-pi-5", "other-pi"]
    result = outcomes["raspberry-pi-5"].result
    assert result is not None
    assert result.bundle is not None
    assert result.bundle.path == Path("build") / "raspberry-pi-5"
    assert outcomes["other-pi"].result is None
    assert isinstance(outcomes["other-pi"].error, UnavailableError)


@pytest.mark.parametrize(
    ("targets", "more", "words"),
    [
        ([], {}, "wanted one target or more; found none"),
        (["cpu", "cpu"], {}, "'cpu' twice"),
        (["cpu"], {"target": "jetson"}, "wanted targets alone; found target as well"),
        (["cpu"], {"max_latancy": 1}, "max_latancy"),
    ],
)
def test_wrong_arguments_in_python(place: Path, targets: list[str], more: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        optimize_targets("model.onnx", targets=targets, data="val.npz", **more)
    assert not (place / "build").exists()


def test_a_plan_for_each_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert optimize(*TARGETS, "--dry-run", "--json") == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), json.loads(schema_text("targets")))
    assert optimize(*TARGETS, "--dry-run") == 0
    assert capsys.readouterr().out.count("nothing was measured or written") == 2
    assert not (place / "build").exists()


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (("--target", "cpu", "--target", "nowhere"), "nowhere"),
        (("--target", "raspberry-pi-5", "--target", "rpi5"), "'raspberry-pi-5' twice"),
    ],
)
def test_a_wrong_target_is_told_before_the_first_is_tried(
    place: Path, capsys: pytest.CaptureFixture[str], targets: tuple[str, ...], words: str
) -> None:
    assert optimize(*targets) == 2
    assert words in capsys.readouterr().err
    assert not (place / "build").exists()


def test_no_bundle_is_buried_in_another(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "build").mkdir()
    (place / "build" / "manifest.json").write_text("{}")
    assert optimize(*TARGETS) == 2
    assert "build, which is a bundle" in capsys.readouterr().err
