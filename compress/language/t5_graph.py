"""An encoder–decoder like T5 as two ONNX graphs: one that is called once for an input, and one for each token.

The encoder takes ``input_ids`` and ``attention_mask``, int64 [batch, source], and gives for each layer N of the decoder
the keys and values of the input, ``encoder.N.key`` and ``.value``, float32 [batch, heads, source, head size], so that
no step computes them again. The decoder takes these, ``encoder_attention_mask``, ``input_ids`` int64 [batch, sequence],
and keys and values of the tokens before, ``past_key_values.N.key`` and ``.value``; it gives ``logits`` float32 [batch,
sequence, vocabulary], ``present.N.key`` and ``.value``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from compress.core.decoder_texts import EOS_KEY, START_KEY
from compress.core.files import written_safely
from compress.core.replacing import replaced_whole
from compress.language.activations import activate
from compress.language.graph_writer import GraphWriter
from compress.language.matrices import Form, keep_float, look_up, multiply, write_matrix
from compress.language.norms import root_mean_square_norm
from compress.language.t5 import DECODER, ENCODER, T5Model, bias_name, distance_table
from compress.quantization.weights.packing import DOMAIN

#: Names of the files of the two graphs.
FILES = {ENCODER: "encoder.onnx", DECODER: "decoder.onnx"}

#: Logit of a token that must not be seen.
UNSEEN = np.float32(-1e9)


def write_t5(model: T5Model, directory: Path, form: Form = keep_float) -> dict[str, Path]:
    """Write both graphs into a directory that exists; return their files by the name of the part.

    Args:
        model: The model; its weights in float32 may take 2 GiB for each part.
        directory: The directory.
        form: Function that says the form of each matrix, under its name in transformers; the embedding is ``shared``.

    Raises:
        NetworkError: A weight cannot be read or is not finite.
        OutputError: A file cannot be written.
    """
    return write_parts(lambda part: t5_graph(model, part, form), directory)


def write_parts(graph_of: Callable[[str], onnx.ModelProto], directory: Path) -> dict[str, Path]:
    """Write the graph of each part of an encoder–decoder, one after another, and return the file of each.

    Args:
        graph_of: Function that makes the graph of a part, encoder or decoder.
        directory: Directory of the files.

    Raises:
        OutputError: A file cannot be written.
    """
    files = {}
    for part, name in FILES.items():
        path = directory / name
        graph = graph_of(part)
        with replaced_whole(path) as scratch, written_safely(path):
            scratch.write_bytes(graph.SerializeToString())
        files[part] = path
    return files


def t5_graph(model: T5Model, part: str, form: Form = keep_float) -> onnx.ModelProto:
    """Return the graph of one part with its weights inside; see :func:`write_t5`.

    Args:
        model: The model.
        part: The part, encoder or decoder.
        form: Function that says the form of each matrix.
    """
    return _Part(model, part, form).model()


class _Part:
    """One part, each method of which adds nodes and returns the name of its result."""

    def __init__(self, model: T5Model, part: str, form: Form) -> None:
        self.config, self.weights, self.part, self.form = model.config, model.weights, part, form
        self.graph = GraphWriter()

    def model(self) -> onnx.ModelProto:
        graph, config, part = self.graph, self.config, self.part
        ids = graph.feed("input_ids", TensorProto.INT64, ["batch", "sequence"])
        mask_name = "attention_mask" if part == ENCODER else "encoder_attention_mask"
        mask = graph.feed(mask_name, TensorProto.INT64, ["batch", "source"])
        self.seen = graph.node("Cast", [mask], "source.seen", to=TensorProto.INT32)
        table = write_matrix(graph, "shared", self.form("shared", self.weights["shared.weight"]), table=True)
        residual, change = look_up(graph, "shared", table, ids, "embedding"), ""
        if part == DECODER:
            for layer in range(config.decoder_layers):
                for kind in ("key", "value"):
                    shape = self._heads("past")
                    graph.feed(f"past_key_values.{layer}.{kind}", TensorProto.FLOAT, shape)
        self.bias = self._bias(ids)
        for layer in range(config.layers(part)):
            at = f"{part}.block.{layer}.layer"
            normed, residual = self._norm(f"{at}.0.layer_norm", residual, change)
            change = self._self_attention(f"{at}.0.SelfAttention", layer, normed)
            if part == DECODER:
                normed, residual = self._norm(f"{at}.1.layer_norm", residual, change)
                change = self._cross_attention(f"{at}.1.EncDecAttention", layer, normed)
            number = 1 if part == ENCODER else 2
            normed, residual = self._norm(f"{at}.{number}.layer_norm", residual, change)
            change = self._feed_forward(f"{at}.{number}.DenseReluDense", normed)
        normed, _ = self._norm(f"{part}.final_layer_norm", residual, change)
        if part == ENCODER:
            self._keys_and_values(normed)
            return graph.model({})
        self._head(normed)
        return graph.model({START_KEY: str(config.start), EOS_KEY: json.dumps(config.eos)})

    def _heads(self, tokens: str) -> list[int | str]:
        """Return the shape of keys, or of values."""
        return ["batch", self.config.heads, tokens, self.config.head_dim]

    def _bias(self, ids: str) -> str:
        """Return what distances add to the logits of attention, float32 [1, heads, sequence, total]."""
        graph, config, part = self.graph, self.config, self.part
        values = self.weights[f"{bias_name(part)}.weight"]
        table = graph.constant(f"{bias_name(part)}.table", distance_table(config, values, part))
        zero, one, rows, columns = (
            graph.constant(name, np.array(value, np.int64))
            for name, value in (("zero", 0), ("one", 1), ("rows", [1]), ("columns", [0]))
        )
        length = graph.node("Gather", [graph.node("Shape", [ids], "ids.shape"), one], "length", axis=0)
        past = zero
        if part == DECODER:
            two = graph.constant("two", np.array(2, np.int64))
            shape = graph.node("Shape", ["past_key_values.0.key"], "past.shape")
            past = graph.node("Gather", [shape, two], "past.length", axis=0)
        total = graph.node("Add", [past, length], "total")
        own_rows = graph.node("Unsqueeze", [graph.node("Range", [past, total, one], "own"), rows], "own.rows")
        others = graph.node(
            "Unsqueeze", [graph.node("Range", [zero, total, one], "others"), columns], "others.columns"
        )
        pair = [others, own_rows] if part == ENCODER else [own_rows, others]
        apart = graph.node("Sub", pair, "distances")
        limits = [
            graph.constant(name, np.array(value, np.int64))
            for name, value in (
                ("nearest", -config.farthest if part == ENCODER else 0),
                ("farthest", config.farthest),
            )
        ]
        near = graph.node("Clip", [apart, *limits], "distances.clipped")
        if part == ENCODER:
            near = graph.node("Add", [near, limits[1]], "distances.rows")
        learned = graph.node("Gather", [table, near], "distances.learned", axis=0)
        by_head = graph.node("Transpose", [learned], "distances.by_head", perm=[2, 0, 1])
        if part == DECODER:
            later = graph.node("Less", [apart, zero], "later")
            unseen = graph.constant("unseen", np.array(UNSEEN))
            by_head = graph.node("Where", [later, unseen, by_head], "distances.causal")
        return graph.node("Unsqueeze", [by_head, columns], "distances.bias")

    def _self_attention(self, at: str, layer: int, source: str) -> str:
        graph = self.graph
        parts = [self._linear(f"{at}.{kind}", source) for kind in ("q", "k", "v")]
        if self.part == ENCODER:
            inputs, present = [*parts, "", self.seen, self.bias], []
        else:
            names = [f"{layer}.{kind}" for kind in ("key", "value")]
            present = [f"present.{name}" for name in names]
            inputs = [*parts, "", "", self.bias, *(f"past_key_values.{name}" for name in names)]
            for name in present:
                graph.give(name, TensorProto.FLOAT, self._heads("total"))
        return self._linear(f"{at}.o", self._attended(f"{at}.heads", inputs, present))

    def _cross_attention(self, at: str, layer: int, source: str) -> str:
        encoder_states = []
        for kind in ("key", "value"):
            shape = self._heads("source")
            encoder_states.append(self.graph.feed(f"encoder.{layer}.{kind}", TensorProto.FLOAT, shape))
        inputs = [self._linear(f"{at}.q", source), *encoder_states, "", self.seen]
        return self._linear(f"{at}.o", self._attended(f"{at}.heads", inputs, []))

    def _attended(self, name: str, inputs: list[str], present: list[str]) -> str:
        return self.graph.node(
            "MultiHeadAttention",
            inputs,
            name,
            domain=DOMAIN,
            more=present,
            num_heads=self.config.heads,
            scale=1.0,
            mask_filter_value=float(UNSEEN),
        )

    def _keys_and_values(self, source: str) -> None:
        """Give the keys and values of the input for each layer of the decoder."""
        graph, config = self.graph, self.config
        apart = graph.constant("heads.apart", np.array([0, 0, config.heads, config.head_dim], np.int64))
        for layer in range(config.decoder_layers):
            for kind, letter in (("key", "k"), ("value", "v")):
                product = self._linear(f"{DECODER}.block.{layer}.layer.1.EncDecAttention.{letter}", source)
                result = f"encoder.{layer}.{kind}"
                heads = graph.node("Reshape", [product, apart], f"{result}.apart")
                graph.node("Transpose", [heads], result, perm=[0, 2, 1, 3])
                graph.give(result, TensorProto.FLOAT, self._heads("source"))

    def _feed_forward(self, at: str, source: str) -> str:
        kinds = ("wi_0", "wi_1") if self.config.gated else ("wi",)
        projected, *factor = (self._linear(f"{at}.{kind}", source) for kind in kinds)
        inner = activate(self.graph, self.config.activation, projected, f"{at}.activation")
        if factor:
            inner = self.graph.node("Mul", [inner, *factor], f"{at}.inner")
        return self._linear(f"{at}.wo", inner)

    def _norm(self, name: str, residual: str, change: str) -> tuple[str, str]:
        """Add a change to the residual, if there is one, and return the norm of the sum, and the sum."""
        graph, epsilon = self.graph, self.config.norm_eps
        weight = graph.constant(f"{name}.weight", self.weights[f"{name}.weight"])
        if not change:
            return root_mean_square_norm(graph, epsilon, name, residual, weight), residual
        total = f"{name}.residual"
        kind, inputs = "SkipSimplifiedLayerNormalization", [residual, change, weight]
        graph.node(kind, inputs, name, domain=DOMAIN, more=["", "", total], epsilon=epsilon)
        return name, total

    def _linear(self, name: str, source: str) -> str:
        matrix = self.form(name, self.weights[f"{name}.weight"])
        return multiply(self.graph, write_matrix(self.graph, name, matrix), source, f"{name}.product")

    def _head(self, source: str) -> None:
        graph, config = self.graph, self.config
        graph.give("logits", TensorProto.FLOAT, ["batch", "sequence", config.vocabulary])
        if config.scaled_head:
            factor = graph.constant("head.scale", np.array(config.hidden**-0.5, np.float32))
            source = graph.node("Mul", [source, factor], "head.scaled")
        stored = "shared" if config.tied_head else "lm_head"
        matrix = self.form("lm_head", self.weights[f"{stored}.weight"])
        multiply(graph, write_matrix(graph, "lm_head", matrix), source, "logits")
