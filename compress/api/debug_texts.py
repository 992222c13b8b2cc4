"""Samples for ``debug`` from texts: a language model or an encoder of texts reads them with its own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.api.opened_model import InputShape
from compress.errors import UsageError
from compress.language.document_split import DocumentSplit
from compress.language.documents import PAST, fed
from compress.language.network import is_decoder
from compress.language.text_to_text_network import is_encoder_decoder
from compress.language.texts import SEQUENCE_LENGTH, open_documents
from compress.language.tokenizer import FILE, open_tokenizer, read_tokenizer
from compress.language.weights import open_language_model
from compress.network.formats.directory import directory_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from compress.core.tensor_spec import TensorSpec
    from compress.data.split import Split
    from compress.quantization.batches import Batch

#: Inputs of an encoder of texts, and what they hold: ids of tokens, 1 for each of these, and 0 for the only text.
_IDS, _MASK, _TYPES = "input_ids", "attention_mask", "token_type_ids"


def reads_texts(model: Path, data: Any) -> bool:
    """Whether a network's data are texts: a decoder's, or an encoder's with a tokenizer, that are no file of arrays.

    Args:
        model: The float network.
        data: The data as the user named it.
    """
    if not isinstance(data, str | Path) or Path(data).suffix == ".npz":
        return False
    if is_decoder(model):
        return True
    return directory_of(model) is not None and (model / FILE).is_file() and Path(data).exists()


def shapes_like(inputs: Sequence[TensorSpec]) -> tuple[InputShape, ...]:
    """Return shapes to read an encoder's directory with, of the length that another form of it takes.

    Args:
        inputs: Inputs of the other form.

    Returns:
        The shapes; empty where that form takes texts of any length.
    """
    sizes = [size for spec in inputs for size in spec.shape[1:]]
    if not all(isinstance(size, int) for size in sizes):
        return ()
    return tuple(InputShape(spec.name, (2, *map(int, spec.shape[1:])), spec.dtype) for spec in inputs)


def text_batches(model: Path, data: Any, inputs: Sequence[TensorSpec], samples: int) -> list[Batch]:
    """Return texts as inputs of a network, one text in each batch.

    Texts have the length that the network's inputs have; where it is open, their own, up to 512 tokens or the context
    of a decoder.

    Args:
        model: The float network, whose tokenizer is taken.
        data: The texts: JSON lines, or a folder.
        inputs: Inputs that fit both networks.
        samples: Largest number of texts.

    Raises:
        DataError: The data is no texts.
        NetworkError: The tokenizer cannot be read.
        UsageError: The network is an encoder–decoder, or has inputs that texts do not tell.
    """
    if is_decoder(model):
        return _of_decoder(model, data, inputs, samples)
    strange = sorted({spec.name for spec in inputs} - {_IDS, _MASK, _TYPES})
    if strange:
        raise UsageError(
            f"a network of {_IDS}, {_MASK} and {_TYPES}, for texts", ", ".join(strange), "give an .npz file"
        )
    length = next((spec.shape[1] for spec in inputs if spec.name == _IDS and len(spec.shape) == 2), None)
    fixed = length if isinstance(length, int) else None
    tokenizer = read_tokenizer(model)
    if fixed is not None:  # the token that ends a text is kept, as the tokenizer's own cutting does
        tokenizer.enable_truncation(fixed)
    filler = _filler(model)
    batches: list[Batch] = []
    for ids in _ids(open_documents(data, tokenizer, fixed or SEQUENCE_LENGTH), samples):
        row = np.full((1, fixed or len(ids)), filler, np.int64)
        row[0, : len(ids)] = ids
        mask = (np.arange(row.shape[1]) < len(ids)).astype(np.int64)[None]
        values = {_IDS: row, _MASK: mask, _TYPES: np.zeros_like(row)}
        batches.append({spec.name: values[spec.name].astype(spec.dtype) for spec in inputs})
    return batches


def _of_decoder(model: Path, data: Any, inputs: Sequence[TensorSpec], samples: int) -> list[Batch]:
    if model.is_dir() and is_encoder_decoder(model):
        raise UsageError(
            "an .npz file with arrays of an encoder–decoder's inputs",
            str(data),
            "on texts, compress optimize tells how far each build is from the original",
        )
    language_model = open_language_model(model)
    tokenizer: Tokenizer = open_tokenizer(language_model)
    length = min(SEQUENCE_LENGTH, language_model.config.context)
    empty = {
        spec.name: np.zeros((1, int(spec.shape[1]), 0, int(spec.shape[3])), spec.dtype)
        for spec in inputs
        if spec.name.startswith(PAST)
    }
    return [fed(ids[None], empty) for ids in _ids(open_documents(data, tokenizer, length), samples)]


def _ids(documents: Split, samples: int) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the ids of the first documents, each int64 [tokens]."""
    assert isinstance(documents, DocumentSplit)  # a Split that was given would be no path
    return [np.asarray(ids, np.int64) for ids in documents.documents[:samples]]


def _filler(model: Path) -> int:
    """Return the id of the token that fills up texts; 0 where the settings name none."""
    directory = directory_of(model)
    number = None if directory is None else directory.config.get("pad_token_id")
    return number if isinstance(number, int) and number >= 0 else 0
