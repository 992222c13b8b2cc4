"""An encoder–decoder like Whisper as two ONNX graphs: one that is called once for a spectrum, and one for each token.

The encoder takes ``input_features`` float32 [batch, bands, frames] and gives for each layer N of the decoder the keys
and values of what is heard, ``encoder.N.key`` and ``.value``, float32 [batch, heads, positions, head size]. The decoder
is that of :mod:`compress.language.t5_graph`, without a mask of its source.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from compress.core.decoder_texts import EOS_KEY, START_KEY
from compress.language.activations import activate
from compress.language.graph_writer import GraphWriter
from compress.language.matrices import Form, keep_float, look_up, multiply, write_matrix
from compress.language.t5_graph import UNSEEN, write_parts
from compress.language.whisper import NORM_EPS, WhisperModel
from compress.quantization.weights.packing import DOMAIN


def write_whisper(model: WhisperModel, directory: Path, form: Form = keep_float) -> dict[str, Path]:
    """Write both graphs into a directory that exists; return their files by the name of the part.

    Args:
        model: The model; its weights in float32 may take 2 GiB for each part.
        directory: The directory.
        form: Function that says the form of each matrix, under its name in transformers.

    Raises:
        NetworkError: A weight cannot be read or is not finite.
        OutputError: A file cannot be written.
    """
    return write_parts(lambda part: whisper_graph(model, part, form), directory)


def whisper_graph(model: WhisperModel, part: str, form: Form = keep_float) -> onnx.ModelProto:
    """Return the graph of one part with its weights inside; see :func:`write_whisper`.

    Args:
        model: The model.
        part: The part, encoder or decoder.
        form: Function that says the form of each matrix.
    """
    return _Part(model, part, form).model()


class _Part:
    """One part, each method of which adds nodes and returns the name of its result."""

    def __init__(self, model: WhisperModel, part: str, form: Form) -> None:
        self.config, self.weights, self.form = model.config, model.weights, form
        self.number = 0 if part == "encoder" else 1
        self.at = f"model.{part}"
        self.heads = self.config.heads[self.number]
        self.graph = GraphWriter()

    def model(self) -> onnx.ModelProto:
        config, graph = self.config, self.graph
        residual, change = (self._written() if self.number else self._heard()), ""
        for layer in range(config.layers[self.number]):
            at = f"{self.at}.layers.{layer}"
            normed, residual = self._norm(f"{at}.self_attn_layer_norm", residual, change)
            change = self._self_attention(f"{at}.self_attn", layer, normed)
            if self.number:
                normed, residual = self._norm(f"{at}.encoder_attn_layer_norm", residual, change)
                change = self._cross_attention(f"{at}.encoder_attn", layer, normed)
            normed, residual = self._norm(f"{at}.final_layer_norm", residual, change)
            inner = activate(graph, config.activation, self._linear(f"{at}.fc1", normed), f"{at}.activation")
            change = self._linear(f"{at}.fc2", inner)
        normed, _ = self._norm(f"{self.at}.layer_norm", residual, change)
        if not self.number:
            self._keys_and_values(normed)
            return graph.model({})
        graph.give("logits", TensorProto.FLOAT, ["batch", "sequence", config.vocabulary])
        stored = "model.decoder.embed_tokens" if config.tied_head else "proj_out"
        matrix = self.form("proj_out", self.weights[f"{stored}.weight"])
        multiply(graph, write_matrix(graph, "proj_out", matrix), normed, "logits")
        return graph.model({START_KEY: str(config.start), EOS_KEY: json.dumps(config.eos)})

    def _heard(self) -> str:
        """Return the spectrum as positions, two frames each."""
        graph, config = self.graph, self.config
        shape: list[int | str] = ["batch", config.bands, 2 * config.positions]
        signal = graph.feed("input_features", TensorProto.FLOAT, shape)
        for name, step in (("conv1", 1), ("conv2", 2)):
            at = f"{self.at}.{name}"
            stored = [
                graph.constant(f"{at}.{kind}", self.weights[f"{at}.{kind}"]) for kind in ("weight", "bias")
            ]
            signal = graph.node("Conv", [signal, *stored], at, kernel_shape=[3], pads=[1, 1], strides=[step])
            signal = activate(graph, "gelu", signal, f"{at}.activation")
        turned = graph.node("Transpose", [signal], "heard", perm=[0, 2, 1])
        name = f"{self.at}.embed_positions.weight"
        return graph.node("Add", [turned, graph.constant(name, self.weights[name])], "heard.positioned")

    def _written(self) -> str:
        """Return the embedding of the answer's tokens and their positions, and keep who sees whom."""
        graph, config = self.graph, self.config
        ids = graph.feed("input_ids", TensorProto.INT64, ["batch", "sequence"])
        for layer in range(config.layers[1]):
            for kind in ("key", "value"):
                graph.feed(f"past_key_values.{layer}.{kind}", TensorProto.FLOAT, self._shape("past"))
        name = f"{self.at}.embed_tokens"
        table = write_matrix(graph, name, self.form(name, self.weights[f"{name}.weight"]), table=True)
        rows = look_up(graph, name, table, ids, "embedding")
        zero, one, two, second, first = (
            graph.constant(constant, np.array(value, np.int64))
            for constant, value in (("zero", 0), ("one", 1), ("two", 2), ("second", [1]), ("first", [0]))
        )
        length = graph.node("Gather", [graph.node("Shape", [ids], "ids.shape"), one], "length", axis=0)
        before = graph.node("Shape", ["past_key_values.0.key"], "past.shape")
        past = graph.node("Gather", [before, two], "past.length", axis=0)
        total = graph.node("Add", [past, length], "total")
        positions = graph.node("Range", [past, total, one], "own")
        others = graph.node("Range", [zero, total, one], "others")
        rows_of, row_of = (
            graph.node("Unsqueeze", [numbers, axis], f"{numbers}.apart")
            for numbers, axis in ((positions, second), (others, first))
        )
        later = graph.node("Less", [rows_of, row_of], "later")
        unseen, seen = (
            graph.constant(constant, np.array(value, np.float32))
            for constant, value in (("unseen", UNSEEN), ("seen", 0))
        )
        both = graph.constant("both", np.array([0, 1], np.int64))
        self.bias = graph.node(
            "Unsqueeze", [graph.node("Where", [later, unseen, seen], "causal"), both], "causal.bias"
        )
        name = f"{self.at}.embed_positions.weight"
        places = graph.node(
            "Gather", [graph.constant(name, self.weights[name]), positions], "positions", axis=0
        )
        return graph.node("Add", [rows, places], "embedding.positioned")

    def _shape(self, tokens: int | str) -> list[int | str]:
        """Return the shape of keys, or of values, of the decoder."""
        heads = self.config.heads[1]
        return ["batch", heads, tokens, self.config.hidden // heads]

    def _self_attention(self, at: str, layer: int, source: str) -> str:
        parts = [
            self._linear(f"{at}.{kind}", source, kind != "k_proj") for kind in ("q_proj", "k_proj", "v_proj")
        ]
        present: list[str] = []
        if self.number:
            names = [f"{layer}.{kind}" for kind in ("key", "value")]
            parts += ["", "", self.bias, *(f"past_key_values.{name}" for name in names)]
            present = [f"present.{name}" for name in names]
            for name in present:
                self.graph.give(name, TensorProto.FLOAT, self._shape("total"))
        return self._linear(f"{at}.out_proj", self._attended(f"{at}.heads", parts, present))

    def _cross_attention(self, at: str, layer: int, source: str) -> str:
        encoder_states = [
            self.graph.feed(f"encoder.{layer}.{kind}", TensorProto.FLOAT, self._shape(self.config.positions))
            for kind in ("key", "value")
        ]
        inputs = [self._linear(f"{at}.q_proj", source), *encoder_states]
        return self._linear(f"{at}.out_proj", self._attended(f"{at}.heads", inputs, []))

    def _attended(self, name: str, inputs: list[str], present: list[str]) -> str:
        kind = "MultiHeadAttention"
        return self.graph.node(kind, inputs, name, domain=DOMAIN, more=present, num_heads=self.heads)

    def _keys_and_values(self, source: str) -> None:
        """Give the keys and values of what is heard for each layer of the decoder."""
        graph, config = self.graph, self.config
        sizes = [0, 0, config.heads[1], config.hidden // config.heads[1]]
        apart = graph.constant("heads.apart", np.array(sizes, np.int64))
        for layer in range(config.layers[1]):
            at = f"model.decoder.layers.{layer}.encoder_attn"
            for kind, matrix in (("key", "k_proj"), ("value", "v_proj")):
                product = self._linear(f"{at}.{matrix}", source, kind == "value")
                result = f"encoder.{layer}.{kind}"
                heads = graph.node("Reshape", [product, apart], f"{result}.apart")
                graph.node("Transpose", [heads], result, perm=[0, 2, 1, 3])
                graph.give(result, TensorProto.FLOAT, self._shape(config.positions))

    def _norm(self, name: str, residual: str, change: str) -> tuple[str, str]:
        """Add a change to the residual, if there is one, and return the norm of the sum, and the sum."""
        graph = self.graph
        stored = [
            graph.constant(f"{name}.{part}", self.weights[f"{name}.{part}"]) for part in ("weight", "bias")
        ]
        if not change:
            kind, inputs = "LayerNormalization", [residual, *stored]
            return graph.node(kind, inputs, name, axis=-1, epsilon=NORM_EPS), residual
        kind, inputs, total = "SkipLayerNormalization", [residual, change, *stored], f"{name}.residual"
        graph.node(kind, inputs, name, domain=DOMAIN, more=["", "", total], epsilon=NORM_EPS)
        return name, total

    def _linear(self, name: str, source: str, biased: bool = True) -> str:
        matrix = self.form(name, self.weights[f"{name}.weight"])
        product = multiply(self.graph, write_matrix(self.graph, name, matrix), source, f"{name}.product")
        if not biased:
            return product
        bias = self.graph.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.graph.node("Add", [product, bias], name)
