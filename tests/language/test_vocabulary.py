"""A trimmed vocabulary takes the user's texts apart as before, and can write any other text."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.errors import BundleError, NetworkError, RecipeError
from compress.language.likeliest import divergence, likeliest, log_probabilities
from compress.language.spelling import Spelling
from compress.language.vocabulary import Trimmed, needed_tokens, trimmed, vocabulary_of
from tests.language.documents import sentences, small_model

tokenizers = pytest.importorskip("tokenizers")

#: Texts that no tokenizer of these tests was trained on.
OTHERS = ("Zwölf Boxkämpfer\tjagen Виктор", "def f(x):\n    return x ** 2", "日本語 🙂 <end>")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = small_model(tmp_path_factory.mktemp("whole") / "model")
    return tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))


def of_texts(tokenizer: Any, texts: list[str], **settings: Any) -> Trimmed:
    documents = [np.array(tokenizer.encode(text).ids) for text in texts]
    return trimmed(tokenizer, needed_tokens(documents, tokenizer), **settings)


def test_texts_whose_tokens_are_kept_are_taken_apart_as_before(whole: Any):
    texts = ["the old engineer prunes what was given.\n", "nobody waits for the board"]
    found = of_texts(whole, texts)
    assert vocabulary_of(found.tokenizer) < vocabulary_of(whole)
    for text in texts:
        before, after = whole.encode(text).tokens, found.tokenizer.encode(text).tokens
        assert after == before
        ids, starts = found.spelling.spelled(np.array(whole.encode(text).ids))
        assert ids.tolist() == found.tokenizer.encode(text).ids
        assert starts.tolist() == list(range(len(ids)))


@pytest.mark.parametrize("text", OTHERS)
def test_any_other_text_comes_back(whole: Any, text: str):
    found = of_texts(whole, ["the board"])
    encoded = found.tokenizer.encode(text, add_special_tokens=False)
    assert found.tokenizer.decode(encoded.ids, skip_special_tokens=False) == text


def test_a_token_that_went_is_spelled_with_those_that_stay(whole: Any):
    found = of_texts(whole, ["a"])
    text = "the old engineer never trusts the last release"
    ids, starts = found.spelling.spelled(np.array(whole.encode(text).ids))
    assert found.tokenizer.decode(ids.tolist()) == text
    assert len(ids) > len(starts)
    assert starts[0] == 0


def test_a_spelling_is_read_back(whole: Any):
    spelling = of_texts(whole, ["the board"]).spelling
    assert Spelling.from_text(spelling.to_text()) == spelling
    assert spelling.places[spelling.kept[3]] == 3
    assert (spelling.places < 0).sum() == spelling.whole - len(spelling.kept)


@pytest.mark.parametrize(
    "text",
    [
        "no base64",
        "aGFsbG8=",
        base64.b64encode(zlib.compress(b"[]")).decode(),
        base64.b64encode(zlib.compress(b'{"kept":[0,0],"spelled":{},"whole":3}')).decode(),
        base64.b64encode(zlib.compress(b'{"kept":[0],"spelled":{"1":[7]},"whole":3}')).decode(),
        base64.b64encode(zlib.compress(b'{"kept":[0],"spelled":{},"whole":99999999999}')).decode(),
        base64.b64encode(zlib.compress(b" " * (65 << 20))).decode(),
    ],
    ids=["text", "bytes", "list", "twice", "beyond", "large", "bomb"],
)
def test_a_damaged_spelling_is_told(text: str):
    with pytest.raises(BundleError, match="damaged metadata 'spelling'"):
        Spelling.from_text(text)


def test_more_tokens_stay_where_a_share_is_named(whole: Any):
    least = of_texts(whole, ["a"])
    assert len(least.spelling.kept) < 0.9 * vocabulary_of(whole)
    found = of_texts(whole, ["a"], remove=0.1)
    assert len(found.spelling.kept) in range(288, 292)  # of 320, closed under joins
    with pytest.raises(RecipeError, match="of the vocabulary to remove, as the texts allow"):
        of_texts(whole, ["a"], remove=0.9)


def test_numbers_that_a_text_begins_with_are_new_ones_too(tmp_path: Path):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.add_special_tokens(["<unk>"])
    tokenizer.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
        ]
    )
    tokenizer.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(40), trainer)
    tokenizer.add_special_tokens(["<begin>"])
    begin = tokenizer.token_to_id("<begin>")
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<begin> $A", special_tokens=[("<begin>", begin)]
    )
    found = of_texts(tokenizer, ["the board"])
    encoded = found.tokenizer.encode("the board")
    assert encoded.tokens[0] == "<begin>"
    assert encoded.ids[0] == found.tokenizer.token_to_id("<begin>") < begin
    assert encoded.tokens == tokenizer.encode("the board").tokens
    other = found.tokenizer.encode("Zwölf 🙂", add_special_tokens=False).ids
    assert found.tokenizer.decode(other, skip_special_tokens=False) == "Zwölf 🙂"


def test_a_unigram_model_keeps_its_likeliest_pieces():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=400,
        unk_token="<unk>",
        special_tokens=["<unk>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(60), trainer)
    found = of_texts(tokenizer, ["the old engineer prunes the network"])
    assert vocabulary_of(found.tokenizer) < vocabulary_of(tokenizer)
    text = "the old engineer prunes the network"
    assert found.tokenizer.encode(text).tokens == tokenizer.encode(text).tokens
    assert found.tokenizer.decode(found.tokenizer.encode("a board reads").ids) == "a board reads"


def test_a_tokenizer_of_words_is_refused():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    with pytest.raises(NetworkError, match="one of kind WordLevel"):
        trimmed(tokenizer, [0])


def test_joins_are_closed(whole: Any):
    """What makes a token stays with it, so that it is still made."""
    longest = max(whole.get_vocab(), key=len)
    found = trimmed(whole, [whole.token_to_id(longest)])
    merges = json.loads(found.tokenizer.to_str())["model"]["merges"]
    assert longest in {"".join(pair) for pair in merges}
    assert found.tokenizer.model.tokenize(longest)[0].value == longest


def test_a_choice_without_a_place_counts_to_the_rest():
    logits = np.random.default_rng(0).normal(size=(5, 9))
    logs = log_probabilities(logits)
    first = likeliest(logs, 4)
    places = first.ids.astype(np.int64)
    places[:, 1] = -1
    assert divergence(logs, first, places) == pytest.approx(np.zeros(5), abs=1e-6)
    assert (divergence(logs[:, ::-1], first, places) <= divergence(logs[:, ::-1], first) + 1e-9).all()
