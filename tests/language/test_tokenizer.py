"""Tokenizers of directories and of GGUF files: they give texts back, or are refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.errors import NetworkError
from compress.language.tokenizer import SAMPLE, back, chat_template, open_tokenizer
from compress.language.weights import LanguageModel, open_language_model
from tests.language.gguf_files import smollm2, write_gguf
from tests.language.tiny import Tiny, tiny
from tests.language.tokens import write_tokenizer

tokenizers = pytest.importorskip("tokenizers")

#: Texts with what tokenizers stumble over.
TEXTS = [
    SAMPLE,
    "café – naïve Ångström",
    "你好,世界! こんにちは",
    "🙂👩‍👩‍👧 tabs\tand\r\nlines\n\n\n  indented",
    "1234567890 3.14 1e-5 2024-01-01",
    "don't we'll THEY'RE x_y --flag=1 <|im_end|> <|nothing|>",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def model(made: Tiny, tmp_path: Path) -> LanguageModel:
    """A model whose tokenizer lies in a directory of the test's own."""
    found = open_language_model(made.path)
    write_tokenizer(tmp_path)
    return LanguageModel(tmp_path, found.config, found.weights)


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_tokenizer_of_a_directory(model: LanguageModel):
    tokenizer = open_tokenizer(model)
    assert tokenizer.encode("the th").tokens == ["th", "e", "Ġth"]
    assert back(tokenizer, SAMPLE) == SAMPLE


@pytest.mark.parametrize("named", ["<begin>", {"content": "<begin>", "special": True}])
def test_the_beginning_is_added_where_its_config_asks_for_it(model: LanguageModel, named: object):
    path = model.path / "tokenizer_config.json"
    path.write_text(json.dumps({"add_bos_token": True, "bos_token": named}))
    tokenizer = open_tokenizer(model)
    assert tokenizer.encode("the").tokens == ["<begin>", "th", "e"]
    tokenizer.save(str(model.path / "tokenizer.json"))
    assert open_tokenizer(model).encode("the").tokens == ["<begin>", "th", "e"]  # and not twice
    path.write_text(json.dumps({"add_bos_token": True, "bos_token": "<start>"}))
    with pytest.raises(NetworkError, match=r"'bos_token'; found .*it is '<start>'"):
        open_tokenizer(model)


def test_no_tokenizer(model: LanguageModel):
    (model.path / "tokenizer.json").unlink()
    with pytest.raises(NetworkError, match=r"wanted a tokenizer\.json; found .*: no such file"):
        open_tokenizer(model)
    (model.path / "tokenizer.model").touch()
    with pytest.raises(NetworkError, match=r"tokenizer\.model alone; write one: AutoTokenizer"):
        open_tokenizer(model)


@pytest.mark.parametrize("content", ["", "{}", "[]", "x", '{"model": {"type": "BPE"}}'])
def test_a_damaged_tokenizer(model: LanguageModel, content: str):
    (model.path / "tokenizer.json").write_text(content)
    with pytest.raises(NetworkError, match=r"wanted a tokenizer\.json") as error:
        open_tokenizer(model)
    assert "\n" not in str(error.value)


def test_more_tokens_than_rows(model: LanguageModel):
    path = model.path / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["more"])
    tokenizer.save(str(path))
    with pytest.raises(NetworkError, match=r"tokens below 101, the number of rows .*'more' is token 101"):
        open_tokenizer(model)


def test_a_tokenizer_that_loses_text(model: LanguageModel):
    change(model.path / "tokenizer.json", normalizer={"type": "Lowercase"})
    with pytest.raises(NetworkError, match=r"gives back the text that it takes apart; found .*the quick"):
        open_tokenizer(model)
    change(model.path / "tokenizer.json", normalizer=None, decoder=None)
    with pytest.raises(NetworkError, match=r"gives back the text .*Ġ"):
        open_tokenizer(model)


def test_the_tokenizer_of_a_gguf_file(made: Tiny, tmp_path: Path):
    tokenizer = open_tokenizer(open_language_model(write_gguf(made, tmp_path / "tiny.gguf")))
    assert tokenizer.encode("the th 12<stop>").tokens == ["th", "e", "Ġth", "Ġ", "1", "2", "<stop>"]
    begins = write_gguf(made, tmp_path / "begins.gguf", tokenizer__ggml__add_bos_token=True)
    assert open_tokenizer(open_language_model(begins)).encode("th").tokens == ["<begin>", "th"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"smollm", b"smollw", "gpt-2, smollm, .*'smollw' in 'tokenizer.ggml.pre'; did you mean smollm"),
        (b"gpt2", b"bert", "a byte-level BPE; found .*'bert'; give the model's directory"),
        (b"t h", b"t\nh", r"pairs of tokens in 'tokenizer\.ggml\.merges'"),
        (b"t h", b"t \xc2", "a whole GGUF file"),
    ],
)
def test_a_gguf_tokenizer_that_cannot_be_read(
    made: Tiny, tmp_path: Path, old: bytes, new: bytes, message: str
):
    path = write_gguf(made, tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(NetworkError, match=message):
        open_tokenizer(open_language_model(path))


def test_merges_of_tokens_that_are_not_there(made: Tiny, tmp_path: Path):
    path = write_gguf(made, tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes().replace(b"\x03\0\0\0\0\0\0\0t h", b"\x03\0\0\0\0\0\0\0q z"))
    with pytest.raises(NetworkError, match="merges of its tokens"):
        open_tokenizer(open_language_model(path))


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (None, None),
        ("{{ x }}", "{{ x }}"),
        ([{"name": "tool", "template": "a"}, {"name": "default", "template": "b"}], "b"),
        ([{"name": "tool", "template": "a"}], None),
        ([3], None),
    ],
)
def test_the_template_of_conversations_is_read(model: LanguageModel, found: object, wanted: str | None):
    (model.path / "tokenizer_config.json").write_text(json.dumps({"chat_template": found}))
    assert chat_template(model) == wanted
    (model.path / "chat_template.jinja").write_text("{{ own }}")
    assert chat_template(model) == "{{ own }}"


def test_a_template_that_is_none(model: LanguageModel):
    assert chat_template(model) is None
    (model.path / "tokenizer_config.json").write_text('{"chat_template": 3}')
    with pytest.raises(NetworkError, match=r"a text in 'chat_template'; found .*it is 3"):
        chat_template(model)
    (model.path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(NetworkError, match="a template of conversations; found"):
        chat_template(model)


def test_the_template_of_a_gguf_file(made: Tiny, tmp_path: Path):
    path = write_gguf(made, tmp_path / "tiny.gguf")
    assert chat_template(open_language_model(path)) is None
    path = write_gguf(made, tmp_path / "chat.gguf", tokenizer__chat_template="{{ x }}")
    assert chat_template(open_language_model(path)) == "{{ x }}"


@pytest.mark.parametrize("text", TEXTS)
def test_the_real_tokenizer_gives_back_what_it_takes_apart(text: str):
    tokenizer = open_tokenizer(open_language_model(smollm2()))
    assert back(tokenizer, text) == text
    tokens = tokenizer.encode(text).tokens
    assert sum(each.isdigit() for each in tokens) == sum(each.isdigit() for each in text)
    assert tokens.count("<|im_end|>") == text.count("<|im_end|>")
