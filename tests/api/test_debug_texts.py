"""``compress debug`` on texts: the directory's own tokenizer reads them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import compress
from compress.errors import UsageError
from tests.language.documents import json_lines, sentences, small_model

pytest.importorskip("tokenizers")


def test_a_decoder_is_compared_with_its_rounded_form_on_texts(tmp_path: Path) -> None:
    model, texts = small_model(tmp_path / "model"), tmp_path / "texts"
    json_lines(texts, sentences(5))
    recipe = tmp_path / "int4.toml"
    recipe.write_text('name = "int4"\n[[technique]]\nname = "weight_only"\nalgorithm = "rtn"\n', "utf-8")
    rounded = tmp_path / "rounded.onnx"
    compress.quantize(model, recipe=recipe, out=rounded)
    result = compress.debug(model, rounded, data=texts, samples=3)
    assert result.samples == 3
    by_name = {tensor.tensor: tensor for tensor in result.tensors}
    assert 0 < by_name["logits"].all_db < 60
    assert result.worst is not None
    again = compress.debug(model, model, data=texts, samples=2)
    assert again.worst is None


def test_an_encoder_is_compared_at_the_length_of_its_other_form(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    length, vocabulary = 12, 64
    small_model(tmp_path / "decoder")
    model = tmp_path / "encoder"
    config = transformers.BertConfig(
        vocab_size=512,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        num_labels=3,
    )
    transformers.BertForSequenceClassification(config).eval().save_pretrained(model)
    (model / "tokenizer.json").write_bytes((tmp_path / "decoder" / "tokenizer.json").read_bytes())
    random = np.random.default_rng(0)
    ids = random.integers(1, vocabulary, (24, length))
    arrays = tmp_path / "arrays.npz"
    np.savez(arrays, input_ids=ids, attention_mask=np.ones_like(ids))
    quantized = tmp_path / "int8.onnx"
    compress.quantize(model, data=arrays, out=quantized)
    texts = tmp_path / "texts"
    json_lines(texts, sentences(6))
    result = compress.debug(model, quantized, data=texts, samples=4)
    assert result.samples == 4
    assert result.worst is not None
    assert {tensor.tensor: tensor for tensor in result.tensors}["logits"].all_db > 5


def test_an_encoder_decoder_wants_arrays(tmp_path: Path) -> None:
    model = tmp_path / "model"
    small_model(model)
    path = model / "config.json"
    config = json.loads(path.read_text()) | {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
    }
    path.write_text(json.dumps(config))
    from compress.api.debug_texts import reads_texts, text_batches

    assert reads_texts(model, tmp_path)
    with pytest.raises(UsageError, match="arrays of an encoder–decoder"):
        text_batches(model, tmp_path, (), 1)
