"""An ONNX decoder with a key-value cache, built from config and weights out of ONNX Runtime's fused operators.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

Inputs: ``input_ids`` int64 [batch, sequence], ``attention_mask`` int64 [batch, total], and for each layer N
``past_key_values.N.key`` and ``.value`` float32 [batch, key-value heads, past, head size]. Outputs: ``logits`` float32
[batch, sequence, vocabulary], ``present.N.key`` and ``.value``. It is the form that onnxruntime-genai runs. Texts of
different lengths in one batch are filled up on the right. The matrices that stay float are MatMul, but for a tied
head, so :func:`compress.quantization.weights.quantize_weights` takes the graph too.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from compress.core.decoder_texts import CONTEXT_KEY, EOS_KEY
from compress.core.files import written_safely
from compress.core.replacing import scratch_beside
from compress.errors import RecipeError, UnavailableError
from compress.language.activations import activate
from compress.language.config import DecoderConfig
from compress.language.expert_graph import EXPERT_MATRICES, add_mixture, write_experts
from compress.language.generation import OLDEST_RUNTIME, is_recent
from compress.language.graph_writer import GraphWriter
from compress.language.matrices import (
    EMBEDDING,
    HEAD,
    HEAD_TURN,
    POSITIONS,
    Form,
    IntegerMatrix,
    WrittenMatrix,
    keep_float,
    look_up,
    multiply,
    same,
    taken_up,
    write_matrix,
)
from compress.language.norms import add_norm, root_mean_square_norm
from compress.language.weight_file import WeightFile
from compress.language.weights import Weights
from compress.onnx_graph.weights import exceeds_message
from compress.quantization.weights.packing import DOMAIN

#: Weights in float32 of this many bytes lie in a file of their own, ``<name>.data``.
LARGE = 256 << 20

#: Name of the file that says what is written of a decoder that is not finished.
JOURNAL = "written.jsonl"


def write_decoder(
    config: DecoderConfig,
    weights: Weights,
    path: Path,
    form: Form = keep_float,
    *,
    context: int | None = None,
    last_logits: bool = False,
    beside: bool | None = None,
    shared: bool = False,
    kept: Path | None = None,
    written: Callable[[str, WrittenMatrix], None] = lambda name, matrix: None,
) -> Path:
    """Write a decoder; never more than a few tensors of it are in memory, where the weights lie beside the graph.

    Args:
        config: Config of the decoder.
        weights: Weights of the decoder.
        path: File of the graph, in a directory that exists; it appears whole or not at all.
        form: Function that says the form of each matrix.
        context: Largest number of tokens of prompt and answer, at most the model's own; None for that.
        last_logits: Whether logits are computed behind the last token alone, which is enough to generate: a prompt
            then takes less time, and much less memory. Texts of different lengths cannot be filled up then.
        beside: Whether the weights lie in ``<name>.data`` beside the graph; None where they are large.
        shared: Whether a tied head takes an embedding of integers as it is, and is not asked for its own form.
        kept: Directory on the same disk for what is not finished. What an earlier call with the same arguments left
            there is taken up, where the weights lie beside the graph. None begins anew, and leaves nothing.
        written: Called for each matrix that is written or taken up, with its name.

    Returns:
        ``path``.

    Raises:
        NetworkError: A weight cannot be read or is not finite.
        RecipeError: ``context`` is out of range.
        UnavailableError: ONNX Runtime is too old.
        OutputError: The file cannot be written.
    """
    if beside is None:
        beside = config.parameters * 4 >= LARGE
    data = path.name + ".data"
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(scratch_beside(path)) if kept is None else kept
        journal = None if kept is None else kept / JOURNAL
        file = stack.enter_context(WeightFile(scratch / data, data, journal)) if beside else None
        decoder = _Decoder(config, weights, form, context, last_logits, GraphWriter(file))
        decoder.shared, decoder.written = shared, written
        model = decoder.model()
        if file is not None:
            file.close(sync=kept is not None)
        with written_safely(path):
            (scratch / path.name).write_bytes(model.SerializeToString())
            if beside:
                (scratch / data).replace(path.with_name(data))
            (scratch / path.name).replace(path)
            if journal is not None:
                journal.unlink(missing_ok=True)
    return path


def decoder_model(
    config: DecoderConfig,
    weights: Weights,
    form: Form = keep_float,
    *,
    context: int | None = None,
    last_logits: bool = False,
) -> onnx.ModelProto:
    """Return a decoder with its weights inside, or in lasting files where they are large; see :func:`write_decoder`."""
    lasting = exceeds_message(4 * config.parameters)
    return _Decoder(config, weights, form, context, last_logits, GraphWriter(lasting=lasting)).model()


class _Decoder:
    """The parts of a decoder, each a method that adds nodes and returns the name of its result."""

    def __init__(
        self,
        config: DecoderConfig,
        weights: Weights,
        form: Form,
        context: int | None,
        last_logits: bool,
        graph: GraphWriter,
    ) -> None:
        self.config = config
        self.weights = weights
        self.form = form
        if not is_recent(onnxruntime.__version__):
            oldest = ".".join(map(str, OLDEST_RUNTIME))
            raise UnavailableError(
                f"onnxruntime {oldest} or later, which computes every decoder rightly",
                onnxruntime.__version__,
                "pip install --upgrade onnxruntime",
            )
        self.last_logits = last_logits
        self.graph = graph
        self.shared = False
        self.written: Callable[[str, WrittenMatrix], None] = lambda name, matrix: None
        self.context = config.context if context is None else context
        if not 1 <= self.context <= config.context:
            raise RecipeError(
                f"a context of 1 to {config.context} tokens", str(context), "choose another one"
            )

    def model(self) -> onnx.ModelProto:
        graph, config = self.graph, self.config
        ids = graph.feed("input_ids", TensorProto.INT64, ["batch", "sequence"])
        mask = graph.feed("attention_mask", TensorProto.INT64, ["batch", "total"])
        positions: int | str = 1 if self.last_logits else "sequence"
        graph.give("logits", TensorProto.FLOAT, ["batch", positions, config.vocabulary])
        self.lengths = self._lengths(mask)
        self.turns = self._turns()
        residual, change = self._positioned(self._embedded(ids), ids, mask), ""
        for layer in range(config.layers):
            at = f"model.layers.{layer}"
            normed, residual = self._norm(f"{at}.input_layernorm", residual, change)
            change = self._attention(f"{at}.self_attn", layer, normed)
            normed, residual = self._norm(f"{at}.post_attention_layernorm", residual, change)
            if config.has_experts(layer):
                change = self._mixture(f"{at}.mlp", normed)
            else:
                change = self._feed_forward(f"{at}.mlp", normed)
        normed, _ = self._norm("model.norm", residual, change)
        normed = self._last(normed) if self.last_logits else normed
        if config.head_turn:
            turned = self._linear(HEAD_TURN, [HEAD_TURN.rpartition(".")[2]], normed, False)
            normed = graph.node("Add", [normed, turned], f"{HEAD_TURN}.sum")
        self._head(normed)
        metadata = {CONTEXT_KEY: str(self.context), EOS_KEY: json.dumps(config.eos)}
        return graph.model(metadata)

    def _lengths(self, mask: str) -> list[str]:
        """Return the position of each text's last token, int32 [batch], and the length of the mask, int32 []."""
        graph = self.graph
        one, axis = (
            graph.constant(name, np.array(value, np.int64)) for name, value in (("one", 1), ("axis", [1]))
        )
        count = graph.node("ReduceSum", [mask, axis], "mask.tokens", keepdims=0)
        last = graph.node("Sub", [count, one], "mask.last")
        total = graph.node("Gather", [graph.node("Shape", [mask], "mask.shape"), one], "mask.total", axis=0)
        return [
            graph.node("Cast", [length], f"{length}.int32", to=TensorProto.INT32) for length in (last, total)
        ]

    def _turns(self) -> list[str]:
        """Return the tables of the rotary embedding; none where nothing is turned."""
        rope = self.config.rope
        if rope is None:
            return []
        tables = rope.tables(self.context, self.config.head_dim)
        return [
            self.graph.constant(name, table)
            for name, table in zip(("rope.cos", "rope.sin"), tables, strict=True)
        ]

    def _positioned(self, embedded: str, ids: str, mask: str) -> str:
        """Add the learned embedding of each token's position, which is the number of tokens of its text before it."""
        if not self.config.learned_positions:
            return embedded
        graph = self.graph
        zero, one, axis, least, end = (
            graph.constant(name, np.array(value, np.int64))
            for name, value in (
                ("zero", 0),
                ("one", 1),
                ("axis", [1]),
                ("first", [0]),
                ("end", [np.iinfo(np.int64).max]),
            )
        )
        count = graph.node("CumSum", [mask, one], "positions.count")
        places = graph.node(
            "Max", [graph.node("Sub", [count, one], "positions.all"), zero], "positions.places"
        )
        sequence = graph.node("Shape", [ids], "positions.sequence", start=1, end=2)
        first = graph.node("Sub", [least, sequence], "positions.first")
        last = graph.node("Slice", [places, first, end, axis], "positions")
        name = f"{POSITIONS}.weight"
        table = graph.constant(name, self.weights[name][: self.context])
        rows = graph.node("Gather", [table, last], "positions.rows", axis=0)
        return graph.node("Add", [embedded, rows], "embedding.positioned")

    def _embedded(self, ids: str) -> str:
        config, graph = self.config, self.graph
        self.embedding = self._matrix(EMBEDDING, [f"{EMBEDDING}.weight"], table=True)
        scaled = config.embedding_scale != 1
        rows = look_up(graph, EMBEDDING, self.embedding, ids, "embedding.rows" if scaled else "embedding")
        if not scaled:
            return rows
        factor = graph.constant("embedding.scale", np.array(config.embedding_scale, np.float32))
        return graph.node("Mul", [rows, factor], "embedding")

    def _norm(self, name: str, residual: str, change: str) -> tuple[str, str]:
        return add_norm(self.graph, self.config, self.weights, name, residual, change)

    def _attention(self, at: str, layer: int, source: str) -> str:
        config, graph = self.config, self.graph
        kinds = ("q_proj", "k_proj", "v_proj")
        if config.qk_norm:
            queries, keys, values = (
                self._linear(f"{at}.{kind}", [kind], source, config.qkv_bias) for kind in kinds
            )
            parts = [self._head_norm(at, "q", queries), self._head_norm(at, "k", keys), values]
        else:
            parts = [self._linear(f"{at}.qkv_proj", kinds, source, config.qkv_bias), "", ""]
        past = [f"past_key_values.{layer}.{kind}" for kind in ("key", "value")]
        present = [f"present.{layer}.{kind}" for kind in ("key", "value")]
        for before, after in zip(past, present, strict=True):
            graph.feed(before, TensorProto.FLOAT, ["batch", config.kv_heads, "past", config.head_dim])
            graph.give(after, TensorProto.FLOAT, ["batch", config.kv_heads, "total", config.head_dim])
        window = config.windows[layer]
        turned = config.rotary[layer]
        result = graph.node(
            "GroupQueryAttention",
            [*parts, *past, *self.lengths, *(self.turns if turned else ())],
            f"{at}.heads",
            domain=DOMAIN,
            more=present,
            num_heads=config.heads,
            kv_num_heads=config.kv_heads,
            scale=config.head_dim**-0.5,
            do_rotary=int(turned),
            local_window_size=-1 if window is None else window,
        )
        return self._linear(f"{at}.o_proj", ["o_proj"], result, config.output_bias)

    def _head_norm(self, at: str, kind: str, source: str) -> str:
        """Normalize each head of queries or keys."""
        graph, size = self.graph, self.config.head_dim
        apart = graph.constant("heads.apart", np.array([0, 0, -1, size], np.int64))
        together = graph.constant("heads.together", np.array([0, 0, -1], np.int64))
        weight = graph.constant(f"{at}.{kind}_norm.weight", self.weights[f"{at}.{kind}_norm.weight"])
        heads = graph.node("Reshape", [source, apart], f"{at}.{kind}_norm.apart")
        normed = root_mean_square_norm(graph, self.config.norm_eps, f"{at}.{kind}_norm", heads, weight)
        return graph.node("Reshape", [normed, together], f"{at}.{kind}_norm.together")

    def _feed_forward(self, at: str, source: str) -> str:
        config, graph = self.config, self.graph
        kinds = ("gate_proj", "up_proj") if config.gated else ("up_proj",)
        projected, *factor = (self._linear(f"{at}.{kind}", [kind], source, config.mlp_bias) for kind in kinds)
        inner = activate(graph, config.activation, projected, f"{at}.activation")
        if factor:
            inner = graph.node("Mul", [inner, *factor], f"{at}.inner")
        return self._linear(f"{at}.down_proj", ["down_proj"], inner, config.mlp_bias)

    def _mixture(self, at: str, source: str) -> str:
        """Send each token to some experts, and to the one that all tokens are sent to where there is one."""
        graph, experts = self.graph, self.config.experts
        assert experts is not None
        logits = multiply(graph, self._float(f"{at}.gate"), source, f"{at}.gate")
        matrices = []
        for name in EXPERT_MATRICES:
            matrices.append(write_experts(graph, experts, self.weights, self.form, at, name))
            self.written(f"{at}.{name}", matrices[-1])
        routed = add_mixture(graph, experts, at, source, logits, matrices)
        if experts.shared is None:
            return routed
        shared = self._feed_forward(f"{at}.shared_expert", source)
        name = f"{at}.shared_expert_gate"
        gate = self._linear(name, ["shared_expert_gate"], source, False)
        share = graph.node("Sigmoid", [gate], f"{name}.share")
        return graph.node("Add", [routed, graph.node("Mul", [share, shared], f"{name}.result")], at)

    def _float(self, name: str) -> WrittenMatrix:
        """Write a matrix that stays float, unless an earlier run has."""
        written = taken_up(self.graph, name)
        if written is None:
            written = write_matrix(self.graph, name, self.weights[f"{name}.weight"])
        self.written(name, written)
        return written

    def _linear(self, name: str, parts: tuple[str, ...] | list[str], source: str, biased: bool) -> str:
        """Multiply by a matrix, or by several at once whose rows follow one another, and add the bias."""
        at = name.rpartition(".")[0]
        matrix = self._matrix(name, [f"{at}.{part}.weight" for part in parts])
        product = multiply(self.graph, matrix, source, f"{name}.product" if biased else name)
        if not biased:
            return product
        bias = self.graph.constant(f"{name}.bias", self._rows([f"{at}.{part}.bias" for part in parts]))
        return self.graph.node("Add", [product, bias], name)

    def _matrix(self, name: str, parts: list[str], *, table: bool = False) -> WrittenMatrix:
        """Write a matrix in its form, unless an earlier run has."""
        written = taken_up(self.graph, name)
        if written is None:
            written = write_matrix(self.graph, name, self.form(name, self._rows(parts)), table=table)
        self.written(name, written)
        return written

    def _rows(self, names: list[str]) -> NDArray[np.float32]:
        matrices = [self.weights[name] for name in names]
        return matrices[0] if len(matrices) == 1 else np.concatenate(matrices)

    def _last(self, source: str) -> str:
        """Keep the last token of each text."""
        first, end, axis = (
            self.graph.constant(f"last.{what}", np.array([value], np.int64))
            for what, value in (("first", -1), ("end", np.iinfo(np.int64).max), ("axis", 1))
        )
        return self.graph.node("Slice", [source, first, end, axis], "last")

    def _head(self, source: str) -> None:
        """Multiply by the head; one that is tied to the embedding shares its copy where both have one form."""
        graph, embedding = self.graph, self.embedding
        if not self.config.tied_head:
            multiply(graph, self._matrix(HEAD, [f"{HEAD}.weight"]), source, "logits")
            return
        if embedding.grid is not None and self.shared:
            multiply(graph, embedding, source, "logits")
            return
        matrix = self.form(HEAD, self.weights[f"{EMBEDDING}.weight"])
        if embedding.grid is None and not isinstance(matrix, IntegerMatrix):
            graph.node("FusedMatMul", [source, *embedding.constants], "logits", domain=DOMAIN, transB=1)
            return
        if same(matrix, embedding):
            head = embedding
        else:
            head = write_matrix(graph, HEAD, matrix)
            self.written(HEAD, head)
        multiply(graph, head, source, "logits")
