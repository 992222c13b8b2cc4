"""Texts become documents of tokens, whatever they lie in; what cannot be one is told in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compress.errors import DataError
from compress.language.document_split import DocumentSplit
from compress.language.documents import cut_notes
from compress.language.texts import open_documents
from tests.language.documents import json_lines, sentences
from tests.language.tokens import write_tokenizer

tokenizers = pytest.importorskip("tokenizers")

TEXTS = ["first document", "the second\none", "a third"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return tokenizers.Tokenizer.from_file(str(write_tokenizer(tmp_path_factory.mktemp("tokens"))))


def folder(path: Path) -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "b.md").write_text(TEXTS[1], encoding="utf-8")
    (path / "a.txt").write_text(TEXTS[0], encoding="utf-8")
    (path / "inner" / "c.py").write_text(TEXTS[2], encoding="utf-8")
    (path / ".hidden").write_text("not a document", encoding="utf-8")
    return path


def test_every_source_gives_the_same_documents(tmp_path: Path, tokenizer):
    expected = [tokenizer.encode(text).ids for text in TEXTS]
    for source in (
        TEXTS,
        iter(TEXTS),
        json_lines(tmp_path / "any.name", TEXTS),
        str(folder(tmp_path / "folder")),
        "tests.language.test_texts:yields",
    ):
        split = open_documents(source, tokenizer, 512)
        assert isinstance(split, DocumentSplit)
        assert [document.tolist() for document in split.documents] == expected


def yields():
    yield from TEXTS


def test_long_documents_are_cut_with_a_note(tokenizer):
    split = open_documents(["abcdefgh" * 2, "abcd"], tokenizer, 12)
    assert [len(document) for document in split.documents] == [12, 4]
    assert split.origin["tokens_left_out"] == 4
    assert cut_notes(split.origin) == (
        "documents are cut to 12 tokens (--sequence-length), which leaves 20 % of all tokens out",
    )
    assert cut_notes(open_documents(TEXTS, tokenizer, 64).origin) == ()


def test_targets_are_the_next_tokens(tokenizer):
    (batch,) = open_documents(["abcd", "ab"], tokenizer, 12).batches(2)
    ids = batch.inputs["input_ids"]
    assert ids.dtype == np.int64
    assert ids[1, 2:].tolist() == [-1, -1]
    assert batch.targets is not None
    np.testing.assert_array_equal(batch.targets, ids[:, 1:])


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["good text", ""], "found an empty text: text 2"),
        (["good text", "a"], "found a text of 1 token: text 2"),
        (["alone"], "two documents or more; found 1"),
        ([], "two documents or more; found none"),
        ([3, "text"], "a int as text 1"),
        (7, "found int"),
        ("nowhere", "nothing at nowhere"),
    ],
)
def test_what_is_no_document_is_told(texts, said: str, tokenizer):
    with pytest.raises(DataError, match=said):
        open_documents(texts, tokenizer, 512)


def test_files_of_other_kinds_are_told(tmp_path: Path, tokenizer):
    for name, content, said in (
        ("photo", b"\xff\xd8\xff\xe0", "text in UTF-8; found .*photo"),
        ("zeros", b"ab\0cd", "a file of another kind"),
        ("other-lines", b'{"txt": "good text"}\n{"txt": 1}\n', "'text'; found .*other-lines, line 1"),
        ("lines", json.dumps({"text": "good"}).encode() + b'\n{"txt": 1}\n', "lines, line 2"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=said):
            open_documents(str(tmp_path / name), tokenizer, 512)


def test_json_of_other_kinds_is_a_text_in_a_folder(tmp_path: Path, tokenizer):
    (tmp_path / "package.json").write_text('{"name": "a"}', encoding="utf-8")
    (tmp_path / "lines.jsonl").write_text('{"text": "good text"}\n', encoding="utf-8")
    split = open_documents(str(tmp_path), tokenizer, 512)
    assert [len(document) for document in split.documents] == [
        len(tokenizer.encode(text).ids) for text in ("good text", '{"name": "a"}')
    ]


def test_sentences_are_not_all_alike():
    assert len(set(sentences(20))) > 15
