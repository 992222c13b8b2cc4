"""What a person sees of `compress optimize`: the result, and one line for everything that can be wrong."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compress.cli import main
from compress.onnx_graph.files import save_model
from tests.graphs import classifier, samples

Arrange = Callable[[Path], list[str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(classifier(), tmp_path / "model.onnx")
    np.savez(tmp_path / "val.npz", x=samples(60), y=np.arange(60) % 4)
    return tmp_path


def optimize(*arguments: str) -> int:
    alone = [] if {"--target", "--backend"} & set(arguments) else ["--backend", "onnxruntime"]  # for speed
    code: int = main(["optimize", *arguments, *alone, "--seconds", "0.05", "--threads", "1"])
    return code


def test_table_names_every_build_and_the_bundle(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert optimize("model.onnx", "--data", "val.npz", "--max-drop", "100") == 0
    printed = capsys.readouterr()
    for word in ("fp32", "int8", "top-1", "batch 1", "batch 32", "shipped:", "bundle: build"):
        assert word in printed.out
    rows = [line.split()[0] for line in printed.out.partition("times: ")[0].splitlines()[3:]]
    assert rows == sorted(
        set(rows), key=rows.index
    )  # without a terminal each build is one line, however long
    assert rows[0] == "fp32"
    told = printed.err.splitlines()  # without a terminal: a line for each build, and nothing that redraws
    assert sum("fp32 (1 of at most" in line and " ms at batch 1" in line for line in told) == 1
    assert "\x1b" not in printed.err
    assert "\r" not in printed.err


def test_too_few_samples_to_pass_are_told_before_the_work(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """40 samples are evaluated: none of them wrong would still leave a drop of several points possible."""
    optimize("model.onnx", "--data", "val.npz")
    told = capsys.readouterr().err.splitlines()
    few = [number for number, line in enumerate(told) if "cannot show a drop of at most 1 points" in line]
    first = next(number for number, line in enumerate(told) if "fp32 (1 of at most" in line)
    assert len(few) == 1
    assert few[0] < first
    optimize("model.onnx", "--data", "val.npz", "--max-drop", "100", "--out", "second")
    assert "cannot show" not in capsys.readouterr().err


def test_a_recipe_that_could_not_be_applied_is_no_success(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "mine.toml").write_text(
        'name = "mine"\n[[technique]]\nname = "quantize"\nexclude_nodes = ["no such node"]\n'
    )
    given = ("model.onnx", "--data", "val.npz", "--max-drop", "100", "--recipe", "mine.toml")
    assert optimize(*given) == 1
    printed = capsys.readouterr()
    assert "error: the recipe 'mine' could not be applied: " in printed.err
    assert "no such node" in printed.err
    assert (place / "build/manifest.json").is_file()  # what could be built is there


def test_json_is_one_object(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert optimize("model.onnx", "--data", "val.npz", "--max-drop", "100", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["shipped"] in [entry["recipe"]["name"] for entry in result["candidates"]]
    assert result["candidates"][0]["profile"]["latency"][0]["source"] == "measured"


def test_estimates_are_marked_in_every_form(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["model.onnx", "--data", "val.npz", "--target", "jetson", "--max-drop", "100"]
    assert optimize(*arguments) == 0
    assert "ESTIMATED" in capsys.readouterr().out
    assert "*estimated*" in (place / "build" / "report.md").read_text()
    assert optimize(*arguments, "--json") == 0
    for entry in json.loads(capsys.readouterr().out)["candidates"][:3]:
        assert {latency["source"] for latency in entry["profile"]["latency"]} == {"estimated"}


def test_own_recipes_replace_the_suggested(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "mine.toml").write_text(
        'name = "mine"\n[[technique]]\nname = "quantize"\nexclude_ops = ["Gemm"]\n'
    )
    assert optimize("model.onnx", "--data", "val.npz", "--recipe", "mine.toml", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [entry["recipe"]["name"] for entry in result["candidates"]] == ["fp32", "mine"]
    assert "excluded" in str(result["candidates"][1]["reports"]["quantize"]["float_nodes"])


def test_limit_that_nothing_meets_is_exit_code_1(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert optimize("model.onnx", "--data", "val.npz", "--max-size", "0.000001") == 1
    assert "--max-size" in capsys.readouterr().out
    assert not (place / "build").exists()


class Canary:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("pwned"),)  # type: ignore[return-value]


def model_file(name: str, content: bytes) -> Arrange:
    def arrange(place: Path) -> list[str]:
        (place / name).write_bytes(content)
        return [name, "--data", "val.npz"]

    return arrange


def data_file(**arrays: np.ndarray) -> Arrange:
    def arrange(place: Path) -> list[str]:
        np.savez(place / "other.npz", **arrays)
        return ["model.onnx", "--data", "other.npz"]

    return arrange


def options(*arguments: str) -> Arrange:
    return lambda place: ["model.onnx", "--data", "val.npz", *arguments]


def text_file(name: str, content: str, *arguments: str) -> Arrange:
    def arrange(place: Path) -> list[str]:
        (place / name).write_text(content)
        return ["model.onnx", "--data", "val.npz", *arguments]

    return arrange


def bomb(place: Path) -> list[str]:
    with zipfile.ZipFile(place / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    return ["bomb.pt", "--data", "val.npz"]


def nan_weights(place: Path) -> list[str]:
    model = classifier()
    values = np.full((8, 3, 3, 3), np.nan, np.float32)
    model.graph.initializer[0].raw_data = values.tobytes()
    save_model(model, place / "nan.onnx")
    return ["nan.onnx", "--data", "val.npz"]


def infinite_outputs(place: Path) -> list[str]:
    np.savez(place / "large.npz", x=np.sign(samples(60)) * np.float32(3e38), y=np.arange(60) % 4)
    return ["model.onnx", "--data", "large.npz"]


def occupied(place: Path) -> list[str]:
    (place / "out").mkdir()
    (place / "out" / "thesis.txt").write_text("mine")
    return ["model.onnx", "--data", "val.npz", "--out", "out"]


LABELS = np.arange(60) % 4

WRONG: dict[str, tuple[Arrange, int, str]] = {
    "missing file": (lambda place: ["modell.onnx", "--data", "val.npz"], 2, "model.onnx"),
    "empty file": (model_file("empty.pt", b""), 2, "empty"),
    "truncated file": (
        lambda place: model_file("cut.onnx", (place / "model.onnx").read_bytes()[:200])(place),
        2,
        "cut.onnx",
    ),
    "random file": (model_file("noise.pt", np.random.default_rng(0).bytes(4000)), 2, "noise.pt"),
    "zip bomb": (bomb, 2, "bomb.pt"),
    "pickle with code": (model_file("evil.pt", pickle.dumps(Canary())), 2, "--trust-pickle"),
    "NaN in weights": (nan_weights, 2, "w1"),
    "missing data": (options("--data", "vall.npz"), 2, "vall.npz"),
    "data of wrong shape": (data_file(x=samples(60)[:, :2], y=LABELS), 2, "shape"),
    "data of wrong dtype": (data_file(x=(samples(60) > 0).astype(np.uint8), y=LABELS), 2, "uint8"),
    "labels outside the classes": (data_file(x=samples(60), y=LABELS + 7), 2, "class"),
    "NaN in data": (data_file(x=np.full((60, 3, 8, 8), np.nan, np.float32), y=LABELS), 2, "NaN"),
    "NaN in outputs": (infinite_outputs, 2, "NaN or infinity"),
    "one sample": (data_file(x=samples(1), y=LABELS[:1]), 2, "sample"),
    "out is in use": (occupied, 2, "--out"),
    "out cannot be made": (options("--out", "/proc/nowhere/build"), 2, "another place"),
    "unknown target": (options("--target", "jetsn"), 2, "jetson"),
    "unknown metric": (options("--metric", "top1"), 2, "top-1"),
    "unknown technique": (
        text_file("r.toml", 'name = "r"\n[[technique]]\nname = "quantise"\n', "--recipe", "r.toml"),
        2,
        "quantize",
    ),
    "unknown recipe key": (
        text_file(
            "r.toml", 'name = "r"\n[[technique]]\nname = "quantize"\nmetod = 1\n', "--recipe", "r.toml"
        ),
        2,
        "method",
    ),
    "target with a wrong unit": (
        text_file(
            "b.toml", 'extends = "jetson"\ndescription = "b"\nmemory_mb = 8000\n', "--target", "b.toml"
        ),
        2,
        "memory_gb",
    ),
    "target with a wrong type": (
        text_file("b.toml", 'extends = "jetson"\ndescription = "b"\nmemory_gb = "8"\n', "--target", "b.toml"),
        2,
        "number",
    ),
    "negative margin": (options("--max-drop", "-1"), 2, "--max-drop"),
    "wrong option": (options("--max-drop", "much"), 2, "--max-drop"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_leaves_nothing(
    case: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrange, code, told = WRONG[case]
    arguments = arrange(place)
    before = set(place.rglob("*"))
    assert optimize(*arguments) == code
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert set(place.rglob("*")) == before


def test_cuda_without_a_gpu_is_not_available(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has an NVIDIA GPU")
    assert optimize("model.onnx", "--data", "val.npz", "--target", "cuda") == 4
    assert capsys.readouterr().err.startswith("error: wanted ")


def test_defect_is_told_with_where_to_find_its_log(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.api.search_inputs.check_replaceable", lambda out: 1 / 0)
    assert optimize("model.onnx", "--data", "val.npz") == 5
    error = capsys.readouterr().err
    assert error.startswith("error: internal: ZeroDivisionError")
    log = Path(next(word for word in error.split() if word.endswith(".log")))
    assert "check_replaceable" in log.read_text()
    log.unlink()
