"""Keys of the texts that a language model's graph carries in its metadata, for whoever runs it."""

from __future__ import annotations

#: How long a text may be, in tokens, and the tokens that end an answer, as a JSON list.
CONTEXT_KEY, EOS_KEY = "context_length", "eos_token_ids"

#: What was changed in the language model that a graph was made of, in words, and how the tokens of its vocabulary are
#: written with those that were kept (:mod:`compress.language.spelling`).
MADE_OF_KEY, SPELLING_KEY = "made_of", "spelling"

#: Of an encoder–decoder in one graph: that it is one, and the token that begins every answer.
PARTS_KEY, START_KEY = "parts", "decoder_start_token_id"

#: What the names of the encoder's inputs and outputs begin with in such a graph.
SOURCE = "source."

KEYS = (CONTEXT_KEY, EOS_KEY, MADE_OF_KEY, SPELLING_KEY, PARTS_KEY, START_KEY)
