"""Encoder–decoders go through the search to a bundle that writes what the original writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import compress
from compress.backends.onnxruntime import OnnxRuntimeSession
from compress.errors import DataError, UsageError
from compress.language.documents import NLL
from compress.language.network import load_decoder
from compress.language.pair_split import PairSplit
from compress.language.pair_texts import open_pairs
from compress.language.pairs import PairRunner, Pairs, source_of
from compress.network.first_call import Opened

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

INT8 = 'name = "int8"\n\n[[technique]]\nname = "weight_only"\nalgorithm = "rtn"\nbits = 8\n'


class Made(NamedTuple):
    kind: str
    model: Path
    data: Path
    network: Any


@pytest.fixture(scope="module", params=["t5", "whisper"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A network that was trained for a few steps, and its data."""
    torch = pytest.importorskip("torch")
    from benchmarks.networks import text_to_text

    directory = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    train = {"t5": text_to_text.t5, "whisper": text_to_text.whisper}[request.param]
    network = train(directory / "model", 12)
    return Made(request.param, directory / "model", text_to_text.data(request.param, directory, 40), network)


@pytest.fixture(scope="module")
def build(made: Made) -> Path:
    recipe, out = made.data.with_name("int8.toml"), made.data.with_name("build")
    recipe.write_text(INT8, encoding="utf-8")
    given = {"data": made.data, "target": "cpu", "out": out, "recipes": [recipe], "seconds": 0.05}
    result = compress.optimize(made.model, **given, objective="size", max_drop=100)
    assert result.candidates[1].failure is None
    assert any("whole answer" in note for note in result.notes)
    return out


def test_likelihoods_are_those_of_the_network_in_torch(made: Made):
    import torch

    decoder = load_decoder(made.model)
    split = open_pairs(made.data, decoder.tokenizer, decoder.answer_start or 0, 512)
    assert isinstance(split, PairSplit)
    pairs = Pairs(0, source=source_of(decoder.network))  # type: ignore[arg-type]
    runner = PairRunner(Opened(decoder.network), pairs)
    batch = next(split.batches(5))
    found = runner.run(batch.inputs)[[spec.name for spec in runner.outputs].index(NLL)]
    for row, answer in enumerate(split.documents[:5]):
        source = torch.from_numpy(np.array(split.sources[row]))[None]
        name = "input_ids" if made.kind == "t5" else "input_features"
        with torch.no_grad():
            logits = made.network(
                **{name: source}, decoder_input_ids=torch.from_numpy(answer[None, :-1])
            ).logits
        wanted = torch.nn.functional.cross_entropy(logits[0], torch.from_numpy(answer[1:]), reduction="none")
        np.testing.assert_allclose(found[row, : len(answer) - 1], wanted.numpy(), atol=1e-4)
    assert batch.targets is not None
    begin = 0 if made.kind == "t5" else 1  # Whisper's tokenizer begins with a token that is given
    assert (batch.targets[:, :begin] == -1).all()
    assert (batch.targets[:, begin] >= 0).all()


def test_the_original_network_in_one_graph_writes_what_torch_writes(made: Made, tmp_path: Path):
    from benchmarks.networks import text_to_text
    from compress.language.text_to_text import Generator

    decoder, path = load_decoder(made.model), tmp_path / "model.onnx"
    path.write_bytes(decoder.network.to_onnx().SerializeToString())
    with OnnxRuntimeSession(path, {}) as session:
        generator = Generator(session.native, decoder.tokenizer)
        for source in text_to_text.inputs(made.kind, 6):
            found = "".join(generator.generate(source, max_new_tokens=16)).strip()
            wanted = text_to_text.original_answer(made.kind, made.network, decoder.tokenizer, source)
            assert found == wanted


def test_a_timed_call_makes_a_step_for_each_token(made: Made, tmp_path: Path):
    from compress.backends.whole_answer import whole_answer
    from compress.data.task import load_task

    decoder, path = load_decoder(made.model), tmp_path / "model.onnx"
    path.write_bytes(decoder.network.to_onnx().SerializeToString())
    task = load_task(open_pairs(made.data, decoder.tokenizer, decoder.answer_start or 0, 512))
    with OnnxRuntimeSession(path, {}) as session:
        bound = task.evaluation.in_calls(task, session)
        assert bound is not None
        feeds = next(bound.calls.evaluation.batches(1)).inputs
        session.run(feeds)
        calls: list[tuple[int, ...]] = []

        def run(names: Any, given: Any) -> Any:
            calls.append((len(given["input_ids"]), given["past_key_values.0.key"].shape[2]))
            return session.native.run(names, given)

        whole_answer(run, session.inputs, session.outputs, feeds)()
        assert calls == [(0, 0), *((1, at) for at in range(feeds["input_ids"].shape[1]))]


def test_the_bundle_writes_alike_in_python_and_as_a_program(made: Made, build: Path):
    from benchmarks.networks import text_to_text

    source = text_to_text.inputs(made.kind, 1)[0]
    with compress.load_bundle(build) as bundle:
        text = "".join(bundle.generate(source, max_new_tokens=256))
        with pytest.raises(DataError, match="1 new token or more"):
            list(bundle.generate(source, max_new_tokens=0))
        if made.kind == "whisper":
            with pytest.raises(DataError, match=r"a \.npy file with a spectrum; found none\.npy"):
                list(bundle.generate("none.npy"))
        else:
            assert bundle.manifest["network"]["format"] == "encoder_decoder"
    argument = source
    if made.kind == "whisper":
        np.save(build.with_name("one.npy"), source)
        argument = str(build.with_name("one.npy"))
    ran = subprocess.run(
        [sys.executable, build / "run.py", argument], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == text.strip()
    lines = (build / "SHA256SUMS").read_text(encoding="utf-8")
    assert all(f"  {name}\n" in lines for name in ("model.onnx", "generation.py", "tokenizer.json"))


def test_a_profile_takes_the_bundle(made: Made, build: Path):
    accuracy = compress.load_bundle(build).profile.accuracy
    measured = compress.profile(build, data=made.data, batches=[1], seconds=0.05)
    assert accuracy is not None
    assert measured.accuracy is not None
    assert set(measured.parts_ms) == {"encoder", "step"}
    assert measured.accuracy.data_sha256 == accuracy.data_sha256
    assert measured.accuracy.mean == pytest.approx(accuracy.mean, rel=1e-6)


@pytest.mark.slow
def test_a_gate_takes_the_bundle(made: Made, build: Path):
    result = compress.gate_build(build, baseline=build, data=made.data, max_drop=100)
    assert {check.name: check.verdict for check in result.checks}["size"] == "pass"


def test_what_is_no_pair_is_told(made: Made, tmp_path: Path):
    decoder = load_decoder(made.model)
    start = decoder.answer_start or 0
    wrong = tmp_path / "wrong.jsonl"
    for line, message in (
        ({"input": "amber"}, "as 'target'"),
        ({"input": "amber", "target": [1, 10**6]}, "tokens of the tokenizer"),
        ({"input": 3, "target": "amber"}, "as 'input'"),
    ):
        wrong.write_text(json.dumps(line) + "\n", encoding="utf-8")
        with pytest.raises(DataError, match=message):
            open_pairs(wrong, decoder.tokenizer, start, 512)
    with pytest.raises(DataError, match=r"no features\.npy"):
        open_pairs(tmp_path, decoder.tokenizer, start, 512)
    pairs = tmp_path / "pairs.jsonl"
    words = ("c", "d", "e", "f")
    pairs.write_text(
        "".join(
            json.dumps({"input": f"{one} {two}", "target": two}) + "\n" for one in words for two in words
        ),
        encoding="utf-8",
    )
    if made.kind == "whisper":
        with pytest.raises(DataError, match="spectra as inputs, which this network reads"):
            compress.optimize(made.model, data=pairs, target="cpu", out=tmp_path / "build")
    with pytest.raises(UsageError, match="a decoder, for --stride"):
        compress.optimize(made.model, data=made.data, target="cpu", out=tmp_path / "build", stride=4)


def test_a_folder_holds_what_an_npz_file_holds(made: Made, tmp_path: Path):
    if made.kind == "t5":
        pytest.skip("of spectra")
    decoder = load_decoder(made.model)
    with np.load(made.data) as arrays:
        np.save(tmp_path / "features.npy", arrays["features"])
        lines = [json.dumps({"target": str(each)}) for each in arrays["targets"]]
    (tmp_path / "targets.jsonl").write_text("\n".join(lines), encoding="utf-8")
    one, other = (open_pairs(each, decoder.tokenizer, 1, 512) for each in (made.data, tmp_path))
    assert one.sha256 == other.sha256
