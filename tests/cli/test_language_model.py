"""A language model through `compress optimize`: from a directory and texts to a bundle that writes text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from compress.api.inputs import open_inputs
from compress.api.options import OptimizeOptions
from compress.backends.onnxruntime import OnnxRuntimeSession
from compress.bundle.bundle import Bundle, load_bundle
from compress.cli import main
from compress.core.progress import Reporter
from compress.errors import BundleError, DataError
from compress.language.generation import Generator
from compress.records.schemas import schema_text
from tests.graphs import classifier
from tests.language.documents import json_lines, sentences, small_model

pytest.importorskip("tokenizers")

RECIPE = """name = "four bits"

[[technique]]
name = "weight_only"
algorithm = "rtn"
compute = "int8"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("place")
    small_model(path / "model")
    json_lines(path / "texts", sentences(60))
    (path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return path


def optimize(place: Path, *arguments: str) -> int:
    given = [
        "optimize",
        str(place / "model"),
        "--data",
        str(place / "texts"),
        "--seconds",
        "0.02",
        "--threads",
        "1",
    ]
    code: int = main([*given, *arguments])
    return code


@pytest.fixture(scope="module")
def bundle(place: Path) -> Bundle:
    """The smallest build of a recipe with 4 bits; fp32 is too large, so that no time decides."""
    smallest = [
        "--objective",
        "size",
        "--max-size",
        "0.3",
        "--max-drop",
        "20",
        "--recipe",
        str(place / "recipe.toml"),
    ]
    assert optimize(place, *smallest, "--out", str(place / "build")) == 0
    return load_bundle(place / "build")


def test_a_bundle_holds_the_model_its_measurements_and_its_tokenizer(bundle: Bundle):
    accuracy = bundle.profile.accuracy
    assert bundle.recipe.name == "four bits"
    assert accuracy is not None
    assert accuracy.metric == "perplexity"
    assert accuracy.samples == 45  # a quarter is set apart for calibration
    assert accuracy.drop is not None
    assert accuracy.drop.relative
    assert accuracy.beside["divergence"] > 0
    assert 0 < accuracy.beside["token-agreement"] < 1
    assert {"tokenizer.json", "genai_config.json", "generation.py", "run.py"} <= set(bundle.manifest["files"])
    assert bundle.manifest["network"]["format"] == "decoder"
    sample = json.loads((bundle.path / "manifest.json").read_text(encoding="utf-8"))["sample"]
    shapes = {each["name"]: each["shape"] for each in sample["inputs"]}
    assert shapes["input_ids"] == [1, 1]  # a decoding step
    assert shapes["attention_mask"][1] == shapes["past_key_values.0.key"][2] + 1 > 10


def test_a_bundle_writes_text_and_its_program_the_same(bundle: Bundle):
    with bundle:
        pieces = list(bundle.generate("the old engineer", max_new_tokens=256))
    assert "".join(pieces)
    ran = subprocess.run(
        [sys.executable, str(bundle.path / "run.py"), "the old engineer"],
        capture_output=True,
        check=True,
        cwd=bundle.path.parent,
    )
    assert ran.stdout.decode("utf-8") == "".join(pieces) + "\n"


def test_a_bundle_loads_in_the_runtime_for_generation(bundle: Bundle):
    genai = pytest.importorskip("onnxruntime_genai")
    tokenizers = pytest.importorskip("tokenizers")
    model = genai.Model(str(bundle.path))
    prompt = tokenizers.Tokenizer.from_file(str(bundle.tokenizer)).encode("the old engineer").ids
    parameters = genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(prompt) + 8)
    generator = genai.Generator(model, parameters)
    generator.append_tokens(prompt)
    found: list[int] = []
    while not generator.is_done():
        generator.generate_next_token()
        found.append(int(generator.get_next_tokens()[0]))
    with bundle.open() as session:
        assert isinstance(session, OnnxRuntimeSession)
        decoder = Generator(session.native, tokenizers.Tokenizer.from_file(str(bundle.tokenizer)))
        assert list(decoder.tokens(prompt, max_new_tokens=8)) == found


def test_a_bundle_checks_itself(bundle: Bundle):
    ran = subprocess.run(
        [sys.executable, str(bundle.path / "selfcheck.py")], capture_output=True, text=True, check=False
    )
    assert ran.stdout.startswith("pass: ")


@pytest.mark.parametrize(
    ("prompt", "count", "said"),
    [
        ("", 4, "a prompt of 1 to 95 tokens"),
        ("word " * 200, 4, "a prompt of 1 to 95"),
        ("a", 0, "1 new token or more"),
    ],
)
def test_a_prompt_that_does_not_fit_is_told(bundle: Bundle, prompt: str, count: int, said: str):
    with load_bundle(bundle.path) as opened, pytest.raises(DataError, match=said):
        list(opened.generate(prompt, max_new_tokens=count))


def test_a_text_is_no_sample_to_predict(bundle: Bundle, place: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["predict", str(bundle.path), str(place / "texts")]) == 2
    assert f'to write text: python {bundle.path / "run.py"} "a prompt"' in capsys.readouterr().err


def test_other_bundles_write_no_text(bundle: Bundle):
    without = {name: sha256 for name, sha256 in bundle.manifest["files"].items() if name != "tokenizer.json"}
    other = Bundle(bundle.path, {**bundle.manifest, "files": without}, bundle.profile, bundle.recipe)
    with pytest.raises(BundleError, match="a bundle of a language model"):
        other.generate("a")


def _saved(path: Path) -> Path:
    from compress.onnx_graph.files import save_model

    save_model(classifier(), path / "model.onnx")
    return path / "model.onnx"


def test_a_bundle_is_profiled_as_it_was_measured(bundle: Bundle, place: Path, tmp_path: Path):
    out = tmp_path / "profile.json"
    given = ["--data", str(place / "texts"), "--seconds", "0.02", "--batch", "1", "--out", str(out)]
    assert main(["profile", str(bundle.path), *given]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))["accuracy"]
    assert bundle.profile.accuracy is not None
    assert found["mean"] == pytest.approx(bundle.profile.accuracy.mean, rel=1e-6)
    assert found["data_sha256"] == bundle.profile.accuracy.data_sha256


def test_what_it_writes_is_held_against_the_original(
    bundle: Bundle, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    greedy = bundle.profile.greedy
    assert greedy is not None
    assert greedy.same is not None
    assert len(greedy.same) == 16
    assert main(["explain", str(bundle.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["greedy"] == str(greedy)
    assert main(["explain", str(bundle.path)]) == 0
    assert "greedy answers to 16 beginnings of documents" in capsys.readouterr().out
    given = ["--data", str(place / "texts"), "--seconds", "0.02", "--batch", "1", "--context", "12"]
    assert main(["profile", str(bundle.path), *given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["greedy"] == greedy.to_dict()
    assert [(each["batch"], each["context"]) for each in found["decoding"]] == [(1, 12)]
    assert found["decoding"][0]["bandwidth"]["threads"] == 1
    jsonschema.validate(found, json.loads(schema_text("profile")))


def test_a_bundle_knows_how_fast_it_writes(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    speeds = bundle.profile.decoding
    assert [(each.batch, each.context) for each in speeds] == [(1, 16), (4, 16)]  # 96 tokens of context
    first, second = speeds
    assert first.cache_bytes_per_token == 2 * 2 * 2 * 16 * 4
    assert second.bytes_per_step - first.bytes_per_step == 3 * 16 * first.cache_bytes_per_token
    assert first.bandwidth_share is not None
    assert first.peak_memory_mb is not None
    assert main(["report", str(bundle.path), "--markdown", str(tmp_path / "report.md")]) == 0
    assert "Writing text, measured (95 % intervals):" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert main(["report", str(bundle.path), "--html", str(tmp_path / "report.html")]) == 0
    assert "Speed of writing text" in (tmp_path / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["profile", str(bundle.path), "--seconds", "0.02", "--batch", "2", "--context", "20"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Writing text, measured" in told
    assert "2 × 20" in told
    assert "keys and values take 512 B a token of a text" in told


def test_prompts_that_do_not_fit_are_told(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["profile", str(bundle.path), "--context", "96"]) == 2
    assert "--context below 96, the model's context; found 96" in capsys.readouterr().err
    assert main(["profile", str(_saved(tmp_path)), "--context", "8"]) == 2
    assert "a language model for ONNX Runtime on a processor, for --context" in capsys.readouterr().err


def test_a_bundle_passes_a_gate_against_itself(
    bundle: Bundle, place: Path, capsys: pytest.CaptureFixture[str]
):
    policy = place / "gate.toml"
    policy.write_text('checks = ["accuracy", "size"]\nmax_drop_points = 20\n', encoding="utf-8")
    sides = [str(bundle.path), "--baseline", str(bundle.path)]
    assert main(["gate", *sides, "--data", str(place / "texts"), "--policy", str(policy), "--json"]) == 0
    checks = {each["name"]: each for each in json.loads(capsys.readouterr().out)["checks"]}
    assert {each["verdict"] for each in checks.values()} == {"pass"}
    assert checks["accuracy"]["figures"]["drop_points"] == 0


def test_a_bundle_is_timed_without_data(bundle: Bundle, place: Path, tmp_path: Path):
    """Axes that are open have the sizes of the bundle's own sample."""
    out = tmp_path / "profile.json"
    quick = ["--seconds", "0.02", "--batch", "2", "--out", str(out)]
    assert main(["profile", str(bundle.path), *quick]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["accuracy"] is None
    assert [each["batch"] for each in found["latency"]] == [2]
    policy = place / "memory.toml"
    policy.write_text('checks = ["accuracy", "memory"]\n', encoding="utf-8")
    sides = [str(bundle.path), "--baseline", str(bundle.path)]
    assert main(["gate", *sides, "--policy", str(policy)]) in (
        0,
        3,
    )  # of the machine's memory it may not be sure


def test_a_bundle_is_reported_and_inspected(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["report", str(bundle.path), "--markdown", str(tmp_path / "report.md")]) == 0
    told = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "perplexity" in told
    assert "recorded beside the accuracy: divergence" in told
    assert "documents are cut to 96 tokens (--sequence-length), which leaves " in told
    capsys.readouterr()
    assert main(["inspect", str(bundle.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["op"] for each in found["layers"]} >= {"MatMulNBits", "GroupQueryAttention"}


def test_a_directory_is_inspected(place: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", str(place / "model"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == "decoder"
    assert found["totals"]["parameters"] > 50_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sequence-length", "97"], "--sequence-length of at most 96, the model's context; found 97"),
        (["--state", "a=b"], "another network, for --state"),
        (["--factory", "a:b"], "a state dict, for --factory"),
        (["--metric", "top-1"], "class labels for top-1"),
    ],
)
def test_options_of_other_networks_are_told(
    place: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    assert optimize(place, *arguments, "--out", str(place / "other")) == 2
    assert said in capsys.readouterr().err
    assert not (place / "other").exists()


def test_a_model_that_guesses_is_doubted(place: Path, capsys: pytest.CaptureFixture[str]):
    """Random weights are surer of wrong tokens than a guess is."""
    assert optimize(place, "--strict", "--out", str(place / "strict")) == 2
    told = capsys.readouterr().err
    assert "the original has a perplexity of " in told
    assert "and a guess among its 320 tokens has 320: likely causes: a tokenizer of another model" in told


def test_other_networks_have_no_sequence_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = [
        str(_saved(tmp_path)),
        "--data",
        "x.npz",
        "--sequence-length",
        "8",
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(["optimize", *arguments]) == 2
    assert "a language model, for --sequence-length" in capsys.readouterr().err


def test_agreement_is_that_of_tokens(place: Path):
    asked = OptimizeOptions.of({"data": str(place / "texts"), "metric": "agreement"})
    assert open_inputs(place / "model", asked, Reporter()).task.metric.name == "token-agreement"


def test_quantize_takes_a_recipe_for_a_language_model(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given = [str(place / "model"), "--data", str(place / "texts"), "--recipe", str(place / "recipe.toml")]
    assert main(["quantize", *given, "--out", str(tmp_path / "four.onnx"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"]["metric"] == "perplexity"
    assert found["agreement"]["metric"] == "token-agreement"
    assert found["agreement"]["mean"] == pytest.approx(
        found["accuracy"]["beside"]["token-agreement"], abs=0.02
    )


@pytest.mark.slow
def test_the_real_smollm2_keeps_its_perplexity_in_8_bits(tmp_path: Path):
    """Its GGUF file; English sentences that it was not given before are far from chance."""
    from tests.language.gguf_files import smollm2

    (tmp_path / "recipe.toml").write_text(RECIPE + "bits = 8\n", encoding="utf-8")
    json_lines(tmp_path / "texts", sentences(44))
    arguments = [
        str(smollm2()),
        "--data",
        str(tmp_path / "texts"),
        "--sequence-length",
        "24",
        "--seconds",
        "0.1",
    ]
    arguments += ["--recipe", str(tmp_path / "recipe.toml"), "--objective", "size", "--max-drop", "100"]
    arguments += ["--max-size", "200"]  # fp32 has 540 MB, so that no time decides
    assert main(["optimize", *arguments, "--out", str(tmp_path / "build")]) == 0
    with load_bundle(tmp_path / "build") as bundle:
        accuracy = bundle.profile.accuracy
        assert accuracy is not None
        assert accuracy.drop is not None
        assert accuracy.mean < 1000  # of 49,152 words
        assert abs(accuracy.drop.points) < 1
        assert accuracy.beside["divergence"] < 0.01
        assert bundle.artifact.size_bytes < 160_000_000
        assert "Paris" in "".join(bundle.generate("The capital of France is", max_new_tokens=8))
