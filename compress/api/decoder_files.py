"""Language models in the verbs that write a network: where other networks are a file, these are a directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import NetworkError, UsageError
from compress.language.network import is_decoder, load_decoder
from compress.network.network import DECODER
from compress.network.saving import check_writable, save_network
from compress.onnx_graph.files import sha256_of

if TYPE_CHECKING:
    import onnx

    from compress.network.network import Network


def check_out(path: Path, model: Any, *others: Any) -> None:
    """Check, before any work is done, that a network may be written to a path.

    Args:
        path: File to write; for a language model, the directory.
        model: The network that is read, as the user gave it.
        others: Further networks that are read.

    Raises:
        OutputError: It may not.
    """
    if is_decoder(model):
        from compress.language.directory import check_directory

        check_directory(path, Path(model))
    else:
        check_writable(path, model, *others)


def saved(network: Network, path: Path) -> str:
    """Write a network, and return the sha256 of its file; of a language model, of the file of its weights.

    Raises:
        OutputError: It cannot be written.
        NetworkError: It cannot be written in that form.
    """
    if network.origin.format != DECODER:
        save_network(network, path)
        return sha256_of(path)
    from compress.language.decoder_network import changeable
    from compress.language.directory import write_directory

    return sha256_of(write_directory(changeable(network, "a directory"), path))


def student_of(student: Any, teacher: Network) -> Network:
    """Return the language model that is trained towards another one.

    Args:
        student: Directory of the student, or a GGUF file.
        teacher: The other one.

    Raises:
        UsageError: The student is no language model.
        NetworkError: It cannot be read, or has another vocabulary.
    """
    if not is_decoder(student):
        raise UsageError(
            "the directory of a language model as --student",
            str(student),
            "make one: compress prune MODEL --out smaller-model",
        )
    from compress.language.decoder_network import changeable

    network = changeable(load_decoder(Path(student)).network, "distill")
    wanted = changeable(teacher, "distill").parts
    if network.parts.tokenizer.get_vocab() != wanted.tokenizer.get_vocab():
        raise NetworkError(
            "a student with the vocabulary of its teacher",
            f"{student}, with another one",
            "trim the vocabulary in a recipe of compress optimize",
        )
    return network.with_parts(replace(network.parts, made_of=("a student of another structure",)))


def timed_model(network: Network, precision: str) -> onnx.ModelProto:
    """Return a language model's graph with its weights in a precision: ``fp32``, ``int8`` or ``int4``."""
    if precision == "fp32":
        return network.to_onnx()
    from compress.quantization.weights import Settings, quantize_weights

    settings = Settings("rtn", int(precision.removeprefix("int")), compute="int8")
    return quantize_weights(network.to_onnx(), (), settings)[0]


def check_amount(model: Any, given: bool, trains: bool) -> None:
    """Refuse to prune a language model where nothing says how much, and nothing wins back what it loses.

    Raises:
        UsageError: It is one, and neither an amount nor training data is given.
    """
    if is_decoder(model) and not given and not trains:
        raise UsageError(
            "--train-data, --latency-share or --ratio, for a language model",
            "none",
            "give text to train on, or say how much goes",
        )
