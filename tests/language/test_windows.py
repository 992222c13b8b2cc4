"""Documents longer than what is read at once: windows, in which each token is judged once, behind what is before it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from compress.cli import main
from compress.language.document_split import DocumentSplit
from compress.language.documents import Documents, empty_cache, fed
from compress.language.network import LoadedDecoder, load_decoder
from compress.language.texts import open_documents
from compress.language.windows import Windows
from compress.network.first_call import Opened
from tests.language.documents import json_lines, sentences, small_model

pytest.importorskip("tokenizers")

LENGTH, STRIDE = 24, 9


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("windows")
    small_model(path / "model")
    json_lines(path / "texts", sentences(40))
    return path


@pytest.fixture(scope="module")
def decoder(place: Path) -> LoadedDecoder:
    return load_decoder(place / "model")


@pytest.mark.parametrize("count", [1, 23, 24, 32, 33, 200])
@pytest.mark.parametrize("stride", [1, 9, 23])
def test_every_token_is_judged_once_and_behind_what_a_window_promises(count: int, stride: int):
    judged: list[int] = []
    for begin, first, stop in Windows(LENGTH, stride).over(count):
        assert 0 < stop - begin < LENGTH
        assert begin == 0 or first - begin + 1 >= LENGTH - stride
        judged += range(first, stop)
    assert judged == list(range(count))


def test_likelihoods_are_those_of_each_window_alone(decoder: LoadedDecoder):
    ids = np.random.default_rng(0).integers(0, 300, 70)
    opened = Opened(decoder.network)
    windows = Windows(LENGTH, STRIDE)
    nll, _ = Documents(1, windows=windows).over(opened).run({"input_ids": ids[None]})
    session = onnxruntime.InferenceSession(decoder.network.to_onnx().SerializeToString())
    for token in range(1, 70):
        number = max(0, -(-(token + 1 - LENGTH) // STRIDE))  # the first window that holds it
        before = ids[number * STRIDE : token]
        (logits,) = session.run(["logits"], fed(before[None], empty_cache(opened)))
        row = logits[0, -1].astype(np.float64)
        wanted = np.log(np.exp(row - row.max()).sum()) + row.max() - row[ids[token]]
        assert nll[0, token - 1] == pytest.approx(wanted, abs=1e-4)


def test_nothing_is_left_out_and_the_windows_are_part_of_the_data(decoder: LoadedDecoder):
    texts = sentences(6)
    whole, other, cut = (
        open_documents(texts, decoder.tokenizer, LENGTH, stride) for stride in (STRIDE, 3, None)
    )
    assert isinstance(whole, DocumentSplit)
    assert isinstance(cut, DocumentSplit)
    assert len(whole) == len(cut) == 6
    assert max(map(len, whole.documents)) > LENGTH >= max(map(len, cut.documents))
    assert whole.origin["tokens_left_out"] == 0
    assert len({whole.sha256, other.sha256, cut.sha256}) == 3


def test_a_build_is_judged_in_windows_and_profiled_as_it_was(place: Path, capsys: pytest.CaptureFixture[str]):
    (place / "four.toml").write_text(
        'name = "four"\n\n[[technique]]\nname = "weight_only"\nalgorithm = "rtn"\n', encoding="utf-8"
    )
    texts = ["--data", str(place / "texts")]
    given = ["optimize", str(place / "model"), *texts, "--recipe", str(place / "four.toml"), "--out"]
    windows = ["--sequence-length", str(LENGTH), "--stride", str(STRIDE)]
    quick = ["--seconds", "0.02", "--threads", "1", "--objective", "size", "--max-drop", "50"]
    assert main([*given, str(place / "build"), *windows, *quick]) == 0
    assert main(["report", str(place / "build"), "--markdown", str(place / "report.md")]) == 0
    assert "documents are read in windows of 24 tokens" in (place / "report.md").read_text()
    recorded = json.loads((place / "build/profile.json").read_text(encoding="utf-8"))["accuracy"]
    assert recorded["samples"] == 30  # documents, whatever the number of their windows
    capsys.readouterr()
    again = ["profile", str(place / "build"), *texts, "--batch", "1", "--seconds", "0.02", "--json"]
    assert main(again) == 0
    found = json.loads(capsys.readouterr().out)["accuracy"]
    assert found["mean"] == pytest.approx(recorded["mean"], rel=1e-6)
    assert found["data_sha256"] == recorded["data_sha256"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stride", "24", "--sequence-length", "24"], "--stride below 24, the length of a window"),
        (["--stride", "0"], "stride"),
    ],
)
def test_a_stride_that_leaves_tokens_unjudged_is_told(
    place: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    given = ["optimize", str(place / "model"), "--data", str(place / "texts"), "--out", str(place / "no")]
    assert main([*given, *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (place / "no").exists()
