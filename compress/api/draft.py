"""The draft of ``compress optimize --draft``: a smaller language model that writes ahead for what is shipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.api.decoder_files import timed_model
from compress.core.decoder_texts import CONTEXT_KEY, EOS_KEY, PARTS_KEY
from compress.errors import UsageError
from compress.language.decoder_network import DecoderNetwork
from compress.language.network import is_decoder, load_decoder

if TYPE_CHECKING:
    import onnx

    from compress.network.network import Network

#: Precision of the weights of a draft that comes as a model: fewer bytes make it fast, and its text is only proposed.
_PRECISION = "int4"


@dataclass(frozen=True)
class Draft:
    """A draft, read and checked.

    Attributes:
        path: Path that the user gave.
        graph: Content of its ONNX file.
        vocabulary: Number of its tokens.
    """

    path: str
    graph: bytes
    vocabulary: int


def open_draft(given: Any, network: Network) -> Draft:
    """Read a draft, and hold it against the model that it writes ahead for.

    Args:
        given: Directory of a language model, a GGUF file, or an ONNX decoder that compress wrote.
        network: The model.

    Raises:
        UsageError: One of the two is no decoder of text, or the draft has another vocabulary, or is not smaller.
        NetworkError: The draft cannot be read.
    """
    if not isinstance(network, DecoderNetwork):
        raise UsageError("a decoder of text, for --draft", network.origin.path, "leave --draft out")
    path, parts = Path(given), network.parts
    if path.suffix == ".onnx" and path.is_file():
        graph = _read(path)
        vocabulary = int(graph.graph.output[0].type.tensor_type.shape.dim[2].dim_value)
        _check_vocabulary(path, is_same=vocabulary == parts.config.vocabulary)
        sizes = graph.ByteSize(), 4 * parts.config.parameters
        _check_smaller(path, *sizes, unit="bytes of weights in float32")
        return Draft(str(given), graph.SerializeToString(), vocabulary)
    if not is_decoder(path):
        raise UsageError(
            "a language model as --draft: its directory, or an ONNX decoder that compress wrote",
            f"{path}, which is none" if path.exists() else f"no {path}",
            "make one: compress prune MODEL, then compress distill MODEL --student",
        )
    draft = load_decoder(path).network
    if not isinstance(draft, DecoderNetwork):
        raise UsageError("a decoder of text as --draft", f"{path}, an encoder–decoder", "give another one")
    theirs = draft.parts
    _check_vocabulary(path, is_same=theirs.tokenizer.get_vocab() == parts.tokenizer.get_vocab())
    _check_vocabulary(path, is_same=theirs.config.vocabulary == parts.config.vocabulary)
    _check_smaller(path, theirs.config.parameters, parts.config.parameters, unit="weights")
    graph = timed_model(draft, _PRECISION)
    return Draft(str(given), graph.SerializeToString(), theirs.config.vocabulary)


def _check_vocabulary(path: Path, *, is_same: bool) -> None:
    if not is_same:
        raise UsageError(
            "a draft with the vocabulary of the model",
            f"{path}, with another one",
            "distill one from the model",
        )


def _check_smaller(path: Path, size: int, most: int, *, unit: str) -> None:
    if size >= most:
        raise UsageError(
            f"a draft that is smaller than the model's {most} {unit}", f"{path}: {size}", "prune it first"
        )


def _read(path: Path) -> onnx.ModelProto:
    """Read an ONNX decoder with its weights.

    Raises:
        UsageError: It is another network, or cannot be read.
    """
    import onnx

    try:
        graph = onnx.load(path)
    except Exception as error:
        raise UsageError(
            "an ONNX decoder as --draft", f"{path}, which cannot be read: {error}", "give another"
        ) from error
    keys = {entry.key for entry in graph.metadata_props}
    shape = graph.graph.output[0].type.tensor_type.shape.dim if graph.graph.output else ()
    if not {CONTEXT_KEY, EOS_KEY} <= keys or PARTS_KEY in keys or len(shape) != 3:
        raise UsageError(
            "a decoder that compress wrote, as --draft", f"{path}, another network", "give its directory"
        )
    return graph
