"""A decoder with a trimmed vocabulary: its embedding and its head with the rows of the tokens that stay."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from compress.language.matrices import EMBEDDING, HEAD

if TYPE_CHECKING:
    from compress.language.decoder_network import Parts
    from compress.language.spelling import Spelling
    from compress.language.vocabulary import Trimmed


def with_vocabulary(parts: Parts, found: Trimmed) -> Parts:
    """Return a decoder with a trimmed vocabulary, and its tokenizer.

    Args:
        parts: The decoder.
        found: The vocabulary.
    """
    return replace(with_spelling(parts, found.spelling), tokenizer=found.tokenizer)


def with_spelling(parts: Parts, spelling: Spelling) -> Parts:
    """Return a decoder with the tokens that a spelling keeps, its tokenizer unchanged."""
    kept_ids = np.array(spelling.kept, np.int64)
    renumbered = {int(old): new for new, old in enumerate(kept_ids)}
    config = parts.config
    smaller = replace(
        config,
        vocabulary=len(kept_ids),
        bos=None if config.bos is None else renumbered[config.bos],
        eos=tuple(renumbered[token] for token in config.eos),
    )
    arrays = parts.arrays()
    for name in (f"{EMBEDDING}.weight", f"{HEAD}.weight"):
        if name in arrays:
            arrays[name] = arrays[name][kept_ids]
    removed = config.vocabulary - len(kept_ids)
    return parts.changed(
        smaller, arrays, f"{removed} of {config.vocabulary} tokens removed", spelling=spelling
    )
