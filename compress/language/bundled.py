"""A decoder that a bundle holds: text from it, and texts taken apart as it was measured on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.backends.onnxruntime import OnnxRuntimeSession
from compress.backends.openvino_stateful import OpenVinoDecoderSession
from compress.core.decoder_texts import PARTS_KEY
from compress.data.opening import follow_reference
from compress.data.task import Task
from compress.errors import DataError, UnavailableError
from compress.language.pair_texts import open_pairs
from compress.language.texts import SEQUENCE_LENGTH, open_documents
from compress.language.tokenizer import check_installed

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.data.evaluation import MeasuredSamples
    from compress.language.generation import TextDecoder


def texts_for(data: Any, tokenizer: Path | None, measured: MeasuredSamples | None) -> Any:
    """Return texts as documents of tokens, cut as those that a bundle was measured on.

    Args:
        data: Data as the user gave it; a Task is returned as it is.
        tokenizer: Tokenizer of the bundle; None where it is of no language model, and data is returned as it is.
        measured: The samples that the bundle was measured on; None where they are not known.

    Raises:
        DataError: The data holds no texts.
        UnavailableError: The package ``tokenizers`` is not installed.
    """
    source = data if tokenizer is None else follow_reference(data)
    if tokenizer is None or isinstance(source, Task):
        return data
    check_installed()
    from tokenizers import Tokenizer

    length = None if measured is None else measured.sequence_length
    opened, length = Tokenizer.from_file(str(tokenizer)), length or SEQUENCE_LENGTH
    if measured is not None and measured.answer_start is not None:
        return open_pairs(data, opened, measured.answer_start, length)
    stride = None if measured is None else measured.stride
    return open_documents(data, opened, length, stride)


def answer(
    session: Session,
    tokenizer: Path,
    prompt: Any,
    max_new_tokens: int,
    draft: TextDecoder | None = None,
    ahead: int = 1,
) -> Iterator[str]:
    """Yield the answer to a prompt in pieces, as they come.

    Args:
        session: The opened decoder.
        tokenizer: File of its tokenizer.
        prompt: The prompt, as the network reads it; for an encoder–decoder the input.
        max_new_tokens: Largest number of tokens of the answer, 1 or more.
        draft: Smaller decoder that writes ahead; None for none.
        ahead: Number of tokens that it writes ahead.

    Raises:
        DataError: The prompt has no token, or the context has no room for it and one more.
        UnavailableError: The back end cannot generate text, or the package ``tokenizers`` is not installed.
    """
    check_installed()
    if not isinstance(session, OnnxRuntimeSession | OpenVinoDecoderSession):
        raise UnavailableError(
            "a build for ONNX Runtime or OpenVINO, to generate text",
            "one for another back end",
            "use that runtime's own",
        )
    if max_new_tokens < 1:
        raise DataError("1 new token or more", str(max_new_tokens), "correct max_new_tokens")
    from tokenizers import Tokenizer

    from compress.language import generation, text_to_text

    opened = Tokenizer.from_file(str(tokenizer))
    try:
        generator: generation.Generator | text_to_text.Generator
        if isinstance(session, OpenVinoDecoderSession):
            generator = generation.Generator(session.decoder, opened)
        elif PARTS_KEY in session.metadata:
            generator = text_to_text.Generator(session.native, opened)
        else:
            generator = generation.Generator(session.native, opened, draft, ahead)
        yield from generator.generate(prompt, max_new_tokens=max_new_tokens)
    except (generation.GenerationError, text_to_text.GenerationError) as error:
        wanted_text, _, after_wanted = str(error).removeprefix("wanted ").partition("; found ")
        found_text, _, todo = after_wanted.partition("; ")
        raise DataError(wanted_text, found_text, todo) from error
