"""Directories of Hugging Face's libraries: what they give, and what is refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from compress.errors import CompressError, NetworkError, UnavailableError, UntrustedFileError
from compress.language.config import FAMILIES
from compress.network.formats.detection import sniff
from compress.network.formats.directory import directory_of
from compress.network.formats.image_settings import image_settings
from compress.network.network import load_network

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install -e '.[language]'"
)

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
NAMES = {0: "cat", 1: "dog", 2: "eel"}


def vit() -> Any:
    config = transformers.ViTConfig(**SMALL, image_size=16, patch_size=8, id2label=NAMES)
    return transformers.ViTForImageClassification(config)


def resnet() -> Any:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3, layer_type="basic"
    )
    return transformers.ResNetForImageClassification(config)


def bert(kind: str = "BertForSequenceClassification") -> Any:
    config = transformers.BertConfig(**SMALL, vocab_size=50, max_position_embeddings=24, num_labels=4)
    return getattr(transformers, kind)(config)


def spectrogram() -> Any:
    config = transformers.ASTConfig(**SMALL, max_length=32, num_mel_bins=24, num_labels=4, patch_size=8)
    return transformers.ASTForAudioClassification(config)


IMAGES = {"pixel_values": np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)}
TOKENS = {
    "input_ids": np.random.default_rng(0).integers(1, 50, (3, 24)),
    "attention_mask": np.repeat(np.arange(24)[None] < np.array([[24], [9], [3]]), 1, 0).astype(np.int64),
}
SOUND = {"input_values": np.random.default_rng(0).standard_normal((2, 32, 24)).astype(np.float32)}


def saved(model: Any, path: Path) -> Path:
    torch.manual_seed(0)
    model.eval().save_pretrained(path)
    return path


def edited(path: Path, **changes: Any) -> Path:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | changes))
    return path


@pytest.mark.parametrize(
    ("make", "samples", "output"),
    [
        (vit, IMAGES, "logits"),
        (resnet, IMAGES, "logits"),
        (bert, TOKENS, "logits"),
        (lambda: bert("BertModel"), TOKENS, "last_hidden_state"),
        (spectrogram, SOUND, "logits"),
    ],
    ids=["vit", "resnet", "text classifier", "text encoder", "audio classifier"],
)
def test_a_directory_gives_what_its_model_gives(
    make: Any, samples: dict[str, Any], output: str, tmp_path: Path
) -> None:
    model = make()
    network = load_network(saved(model, tmp_path / "model"), example=samples)
    assert [spec.name for spec in network.inputs] == list(samples)
    assert [spec.name for spec in network.outputs] == [output]
    tensors = {name: torch.from_numpy(array) for name, array in samples.items()}
    with torch.no_grad():
        wanted = model(**tensors)[output]
        torch.testing.assert_close(network.graph(*tensors.values()), wanted, rtol=1e-4, atol=1e-5)
    assert network.origin.format == "hugging_face"


def test_types_of_tokens_are_taken_where_the_data_has_them(tmp_path: Path) -> None:
    types = (TOKENS["input_ids"] % 2).astype(np.int64)
    network = load_network(saved(bert(), tmp_path), example={**TOKENS, "token_type_ids": types})
    assert [spec.name for spec in network.inputs] == ["input_ids", "attention_mask", "token_type_ids"]


def test_without_data_the_settings_tell_the_size(tmp_path: Path) -> None:
    assert load_network(saved(vit(), tmp_path / "a")).inputs[0].shape == ("batch", 3, 16, 16)
    assert load_network(saved(bert(), tmp_path / "b")).inputs[0].shape == ("batch", 24)


def test_identity_covers_settings_and_weights(tmp_path: Path) -> None:
    path = saved(vit(), tmp_path)
    before = load_network(path).origin.sha256
    edited(path, layer_norm_eps=1e-3)
    assert load_network(path).origin.sha256 != before


def test_weights_in_several_files(tmp_path: Path) -> None:
    model = vit()
    model.save_pretrained(tmp_path, max_shard_size="3KB")
    assert len(directory_of(tmp_path).files) > 3
    assert load_network(tmp_path).outputs[0].shape == ("batch", 3)
    next(tmp_path.glob("model-*-of-*.safetensors")).unlink()
    assert "no such file" in refusal(tmp_path).found


def refusal(path: Path, **options: Any) -> CompressError:
    with pytest.raises(CompressError) as caught:
        load_network(path, **options)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_network_that_generates_text_is_refused(tmp_path: Path) -> None:
    config = transformers.GPT2Config(
        n_layer=1, n_head=2, n_embd=16, vocab_size=50, bos_token_id=1, eos_token_id=2
    )
    error = refusal(saved(transformers.GPT2LMHeadModel(config), tmp_path))
    assert "GPT2LMHeadModel: a network that generates text" in error.found
    assert all(family in error.todo for family in FAMILIES)


def test_a_part_without_weights_is_refused(tmp_path: Path) -> None:
    path = edited(saved(bert("BertModel"), tmp_path), architectures=["BertForSequenceClassification"])
    assert "without 2 of them (classifier.bias, classifier.weight)" in refusal(path).found


def test_code_of_the_directory_is_not_run(tmp_path: Path) -> None:
    path = edited(
        saved(vit(), tmp_path),
        model_type="mine",
        auto_map={"AutoModelForImageClassification": "modeling_mine.Mine"},
    )
    (path / "modeling_mine.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    assert "needs code of its own, which is not run" in refusal(path).found
    edited(path, model_type="vit")
    load_network(path)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"architectures": ["ViTForMaskedImageModeling"]}, "ViTForMaskedImageModeling"),
        ({"architectures": None}, "none in"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantization_config"),
        ({"hidden_size": 18}, "vit.embeddings.cls_token"),
    ],
)
def test_other_directories_are_refused(changes: dict[str, Any], found: str, tmp_path: Path) -> None:
    assert found in refusal(edited(saved(vit(), tmp_path), **changes)).found


def test_settings_of_a_far_larger_network_take_no_memory(tmp_path: Path) -> None:
    error = refusal(edited(saved(vit(), tmp_path), hidden_size=2_000_000, intermediate_size=8_000_000))
    assert "parameters" in error.wanted
    assert "bytes in" in error.found


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    (saved(vit(), tmp_path) / "adapter_config.json").write_text("{}")
    assert "merge" in refusal(tmp_path).todo


def test_settings_that_are_no_json_are_refused(tmp_path: Path) -> None:
    saved(vit(), tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "config.json" in refusal(tmp_path).found


def test_pickled_weights_need_trust(tmp_path: Path) -> None:
    model = vit()
    path = saved(model, tmp_path)
    (path / "model.safetensors").unlink()
    torch.save(model.state_dict(), path / "pytorch_model.bin")
    error = refusal(path)
    assert isinstance(error, UntrustedFileError)
    assert "--trust-pickle" in error.todo
    assert load_network(path, trust_pickle=True).outputs[0].shape == ("batch", 3)


def test_flags_of_other_files_are_refused(tmp_path: Path) -> None:
    assert "a Hugging Face directory" in refusal(saved(vit(), tmp_path), factory="a:b").found


def test_without_transformers_the_way_to_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(vit(), tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    error = refusal(path)
    assert isinstance(error, UnavailableError)
    assert "pip install" in error.todo
    assert "language" in error.todo


def test_nothing_but_settings_and_weights_is_a_directory_of_a_model(tmp_path: Path) -> None:
    assert directory_of(tmp_path) is None
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    assert directory_of(tmp_path) is None  # no weights
    with pytest.raises(NetworkError, match="a directory"):
        sniff(tmp_path)


# --- how images are prepared --------------------------------------------------------------------------------


def prepared(path: Path, told: dict[str, Any]) -> dict[str, Any] | None:
    if not (path / "config.json").exists():
        (path / "config.json").write_text('{"model_type": "vit"}')
        (path / "model.safetensors").touch()
    (path / "preprocessor_config.json").write_text(json.dumps(told))
    return image_settings(directory_of(path))


def test_preparations_are_read(tmp_path: Path) -> None:
    plain = {
        "size": {"height": 32, "width": 48},
        "resample": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.2] * 3,
    }
    assert prepared(tmp_path, plain) == {
        "interpolation": "bilinear",
        "size": [32, 48],
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
    }
    cropped = {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224, "resample": 3}
    assert prepared(tmp_path, cropped) == {
        "interpolation": "bicubic",
        "size": [224, 224],
        "resize": "center-crop",
        "shorter": 256,
    }
    unscaled = {"size": 32, "do_rescale": False, "do_normalize": False}
    assert prepared(tmp_path, unscaled) == {"interpolation": "bilinear", "size": [32, 32], "scale": 1.0}
    convnext = {"size": {"shortest_edge": 224}, "crop_pct": 0.875}
    assert prepared(tmp_path, convnext)["shorter"] == 256


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"size": {"longest_edge": 9}},
        {"size": []},
        {"size": 4, "resample": 99},
        {"size": 4, "do_pad": True},
    ],
)
def test_other_preparations_are_left_to_the_user(told: dict[str, Any], tmp_path: Path) -> None:
    assert prepared(tmp_path, told) is None


def test_the_same_pixels_as_the_image_processor(tmp_path: Path) -> None:
    from compress.data.image_options import ImageOptions
    from compress.data.images import decode

    processor = transformers.ViTImageProcessorPil(size={"height": 16, "width": 16}, image_mean=[0.4] * 3)
    processor.save_pretrained(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    told = json.loads((tmp_path / "preprocessor_config.json").read_text())
    ours = decode(tmp_path / "a.png", ImageOptions.read(tmp_path, prepared(tmp_path, told)))
    theirs = processor(Image.open(tmp_path / "a.png"), return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


# --- the command --------------------------------------------------------------------------------------------


def test_a_command_takes_the_preparation_and_the_classes_of_the_directory(tmp_path: Path) -> None:
    saved(vit(), tmp_path / "model")
    prepared(
        tmp_path / "model",
        {"size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    )
    random = np.random.default_rng(0)
    for name in ("eel", "cat"):
        (tmp_path / "val" / name).mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "val" / name / f"{number}.png")
    command = ["quantize", "model", "--data", "val", "--out", "q.onnx"]
    done = subprocess.run(
        [sys.executable, "-m", "compress", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert (
        'images are prepared as model tells: interpolation = "bilinear", size = [16, 16], mean = [0.5' in told
    )
    assert "the classes are in the order of model" in told
    assert (tmp_path / "q.onnx").is_file()
