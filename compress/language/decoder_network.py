"""A decoder of text as a network that techniques can still change in its structure: config, weights and tokenizer.

Its graph is written when it is asked for. A technique that changes the graph itself, as rounding the weights does,
leaves a network in ONNX form, which keeps the files that are shipped beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.core.decoder_texts import MADE_OF_KEY, SPELLING_KEY
from compress.errors import RecipeError
from compress.language.config import DecoderConfig
from compress.language.genai import genai_texts
from compress.language.graph import decoder_model
from compress.language.spelling import Spelling
from compress.language.weights import Weights, expected_shapes
from compress.network.formats.onnx_file import read_specs
from compress.network.network import DECODER, Network

if TYPE_CHECKING:
    import onnx
    from tokenizers import Tokenizer

    from compress.network.network import Origin

#: Name of the graph in a bundle, and of the program that generates text with it.
_GRAPH, _PROGRAM = "model.onnx", "generation.py"


class Arrays:
    """Tensors in memory, as :class:`compress.language.weights.Weights` reads them.

    Args:
        arrays: The tensors by name, float32.
    """

    where = "the changed model"

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        self._arrays = arrays

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See :meth:`compress.language.weights.Tensors.shapes`."""
        return {name: array.shape for name, array in self._arrays.items()}

    def check(self, name: str) -> None:
        """See :meth:`compress.language.weights.Tensors.check`."""

    def read(self, name: str) -> NDArray[np.float32]:
        """See :meth:`compress.language.weights.Tensors.read`."""
        return self._arrays[name]


@dataclass(frozen=True)
class Parts:
    """Config, weights and tokenizer of a decoder.

    Attributes:
        config: Config of the decoder.
        weights: Weights of the decoder.
        tokenizer: Tokenizer of the decoder.
        template: Template by which a conversation becomes a prompt; None where the model has none.
        spelling: Spelling of the user's model's tokens with these; None where they are the same.
        made_of: Changes that were made to the user's model, in words; empty for that model itself.
    """

    config: DecoderConfig
    weights: Weights
    tokenizer: Tokenizer
    template: str | None = None
    spelling: Spelling | None = None
    made_of: tuple[str, ...] = ()

    def changed(
        self, config: DecoderConfig, arrays: Mapping[str, NDArray[np.float32]], what: str, **more: Any
    ) -> Parts:
        """Return the decoder with another config and other weights.

        Args:
            config: The config.
            arrays: The weights by name, float32.
            what: Change that was made, in words.
            **more: Further attributes that differ.
        """
        weights = Weights(config, Arrays(arrays))
        return replace(self, config=config, weights=weights, made_of=(*self.made_of, what), **more)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return all weights by name; they are read into memory."""
        return {name: self.weights[name] for name in expected_shapes(self.config)}

    def model(self) -> onnx.ModelProto:
        """Return the graph with its weights."""
        model = decoder_model(self.config, self.weights)
        metadata = {MADE_OF_KEY: "; ".join(self.made_of)} if self.made_of else {}
        if self.spelling is not None:
            metadata[SPELLING_KEY] = self.spelling.to_text()
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        return model

    def companions(self) -> dict[str, str]:
        """Return the texts that are shipped beside every build, by their file's name."""
        context = self.config.context
        return {
            **genai_texts(self.config, self.tokenizer, _GRAPH, context, self.template),
            _PROGRAM: (files("compress.language") / _PROGRAM).read_text(encoding="utf-8"),
        }


class DecoderNetwork(Network):
    """A decoder whose structure can be changed.

    Args:
        parts: Config, weights and tokenizer.
        origin: Origin of the user's model.

    Attributes:
        parts: Config, weights and tokenizer.
    """

    def __init__(self, parts: Parts, origin: Origin) -> None:
        model = parts.model()
        inputs, outputs = read_specs(model)
        super().__init__(
            inputs=inputs, outputs=outputs, origin=origin, model=model, companions=parts.companions()
        )
        self.parts = parts

    def with_parts(self, parts: Parts) -> DecoderNetwork:
        """Return the network with other parts."""
        return DecoderNetwork(parts, self.origin)


def changeable(network: Network, technique: str) -> DecoderNetwork:
    """Return a network as a decoder whose structure can be changed.

    Args:
        network: The network.
        technique: Name of the technique that changes them, for the message.

    Raises:
        RecipeError: The network is no language model, or its graph was changed before.
    """
    if isinstance(network, DecoderNetwork):
        return network
    if network.origin.format != DECODER:
        raise RecipeError(
            f"a language model, for {technique}",
            f"{network.origin.path}, another network",
            f"leave {technique} out of the recipe",
        )
    raise RecipeError(
        f"a language model whose weights are still floats, for {technique}",
        "one whose graph another technique has changed",
        f"put {technique} before that one",
    )
