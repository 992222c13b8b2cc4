"""The token that begins each text, as a part of the tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def begin_with(tokenizer: Tokenizer, token: str, number: int) -> None:
    """Let a tokenizer begin each text with a token.

    Args:
        tokenizer: The tokenizer; what it does after taking a text apart is kept.
        token: The token.
        number: Its id.
    """
    from tokenizers.processors import Sequence, TemplateProcessing

    # Under a name of its own in the template: names of tokens may hold colons, which mean something there.
    begin = TemplateProcessing(
        single=["begin", "$A"],
        special_tokens=[{"id": "begin", "ids": [number], "tokens": [token]}],
    )
    before = tokenizer.post_processor
    tokenizer.post_processor = begin if before is None else Sequence([before, begin])
