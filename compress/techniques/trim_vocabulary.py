"""Trimming of a language model's vocabulary to the tokens that the user's texts need.

Embedding and head lose the rows of all other tokens, and the tokenizer that is shipped loses the tokens: these texts
are taken apart as before, and any other text into smaller tokens.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from compress.errors import RecipeError
from compress.techniques.base import Context, Technique

if TYPE_CHECKING:
    from compress.network.network import Network
    from compress.records.technique_reports import TrimVocabularyReport


@dataclass(frozen=True)
class TrimVocabulary(Technique):
    """Remove tokens that neither the texts to train on nor those to calibrate on hold.

    Single bytes, special tokens, and the tokens of the template of conversations stay, so that any text can be read.

    Attributes:
        remove: Share of the tokens to remove, in (0, 1); more tokens then stay than the texts need, the first ones of
            the vocabulary. None removes all that can go.
    """

    remove: float | None = None

    def __post_init__(self) -> None:
        value = self.remove
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1
        ):
            raise RecipeError("remove, a share in (0, 1)", repr(value), "correct the recipe")

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("texts to calibrate on",)

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`.

        Raises:
            RecipeError: The network is no language model, or its graph was changed before; or more is to be removed
                than the texts allow.
            NetworkError: Its tokenizer is of a kind that cannot be trimmed.
        """
        from compress.language.decoder_network import changeable
        from compress.language.task_documents import calibration_documents, refitted, training_documents
        from compress.language.tokenizer import SAMPLE
        from compress.language.trimming import with_vocabulary
        from compress.language.vocabulary import needed_tokens, trimmed

        decoder = changeable(network, "trim_vocabulary")
        parts = decoder.parts
        if parts.spelling is not None:
            raise RecipeError("one trim_vocabulary in a recipe", "two", "remove one")
        documents = [*calibration_documents(context.task), *training_documents(context.task)]
        further = [SAMPLE, *([] if parts.template is None else [parts.template])]
        needed = needed_tokens(documents, parts.tokenizer, further)
        ends = {*parts.config.eos, *([] if parts.config.bos is None else [parts.config.bos])}
        trimmed_vocabulary = trimmed(parts.tokenizer, needed, ends, self.remove)
        before, smaller = parts.config, with_vocabulary(parts, trimmed_vocabulary)
        done = decoder.with_parts(smaller)
        context.task = refitted(context.task, done, lambda text: trimmed_vocabulary.spelling.spelled(text)[0])
        report: TrimVocabularyReport = {
            "settings": asdict(self),
            "tokens": [before.vocabulary, smaller.config.vocabulary],
            "parameters": [before.parameters, smaller.config.parameters],
            "texts": len(documents),
        }
        context.reports["trim_vocabulary"] = report
        return done
