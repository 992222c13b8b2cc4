"""A tiny byte-level tokenizer: one token for each byte of ASCII that a text has, and a few more."""

from __future__ import annotations

from pathlib import Path

import pytest

#: Printable characters, line feed and space, by their byte, as byte-level tokenizers write them.
BYTES = {each: chr(each) for each in range(33, 127)} | {10: "Ċ", 32: "Ġ"}


def write_tokenizer(directory: Path) -> Path:
    """Write a tokenizer.json; the first three tokens are special."""
    tokenizers = pytest.importorskip("tokenizers")
    tokens = ["<end>", "<begin>", "<stop>", *BYTES.values(), "th", "Ġth"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[("t", "h"), ("Ġ", "th")]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(tokens[:3])
    made.save(str(directory / "tokenizer.json"))
    return directory / "tokenizer.json"
