"""A language model with a trimmed vocabulary: text in, text out as before, on the texts that it was trimmed to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.api.inputs import open_inputs
from compress.api.options import OptimizeOptions
from compress.core.progress import Reporter
from compress.errors import RecipeError
from compress.language.decoder_network import DecoderNetwork
from compress.language.documents import empty_cache, fed
from compress.onnx_graph.sessions import open_session
from compress.recipe import Recipe, Step
from compress.techniques import apply_recipe
from compress.techniques.base import Context
from tests.language.documents import json_lines, sentences, small_model

pytest.importorskip("tokenizers")

TRIM = Step("trim_vocabulary")


def opened(path: Path, texts: list[str]) -> tuple[DecoderNetwork, Context]:
    small_model(path / "model")
    asked = OptimizeOptions.of({"data": str(json_lines(path / "texts", texts))})
    inputs = open_inputs(path / "model", asked, Reporter())
    assert isinstance(inputs.network, DecoderNetwork)
    return inputs.network, Context(inputs.task.calls, inputs.target, original=inputs.network)


def logits(network: DecoderNetwork, ids: list[int]) -> np.ndarray:
    given = np.array([ids], np.int64)
    found: np.ndarray = open_session(network.to_onnx()).run(None, fed(given, empty_cache(network)))[0]
    return found[0]


def test_what_is_expected_behind_a_text_is_unchanged(tmp_path: Path):
    text = "the old engineer prunes what was given."
    network, context = opened(
        tmp_path, [f"{text} {text}", f"{text}\n", text, f"{text} nobody", text + text] * 2
    )
    done = apply_recipe(Recipe("trimmed", (TRIM,)), network, context)
    assert isinstance(done, DecoderNetwork)
    whole, smaller = network.parts.tokenizer, done.parts.tokenizer
    before, after = context.reports["trim_vocabulary"]["tokens"]
    assert (before, after) == (320, smaller.get_vocab_size())
    assert after < before
    ids, own = whole.encode(text), smaller.encode(text)
    assert own.tokens == ids.tokens
    kept = [whole.token_to_id(smaller.id_to_token(each)) for each in range(after)]
    assert logits(done, own.ids) == pytest.approx(logits(network, ids.ids)[:, kept], abs=1e-4)
    assert done.parts.config.eos == (smaller.token_to_id("<end>"),)
    assert done.companions["tokenizer.json"] == smaller.to_str()
    assert network.parts.config.vocabulary == 320  # the given one is not changed


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((TRIM, TRIM), "one trim_vocabulary in a recipe"),
        ((Step("weight_only", {"algorithm": "rtn"}), TRIM), "put trim_vocabulary before that one"),
        ((Step("trim_vocabulary", {"remove": 1.5}),), "a share in"),
    ],
)
def test_recipes_that_make_no_sense_are_told(steps: tuple[Step, ...], said: str, tmp_path: Path):
    network, context = opened(tmp_path, sentences(8))
    with pytest.raises(RecipeError, match=said):
        apply_recipe(Recipe("wrong", steps), network, context)
