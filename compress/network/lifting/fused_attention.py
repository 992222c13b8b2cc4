"""Fused attention, written out.

In inference without gradients ``nn.MultiheadAttention`` and ``nn.TransformerEncoderLayer`` call operators of their
own, and ``torch.jit.trace`` records those. They have no gradient and no ONNX form. Here they become the linear
layers, norms and ``scaled_dot_product_attention`` that they compute (Vaswani et al. 2017, arXiv 1706.03762).
"""

from __future__ import annotations

import math
from typing import Any

from torch import fx

from compress.network.lifting.calls import aten, bind

# Kinds of masks, ATen's native/transformers/attention.cpp; what is not 0 in one is left out.
_ATTENTION = 0  # [length, length]
_PADDING = 1  # [batch, length]
_EVERY_HEAD = 2  # [batch, heads, length, length]


def write_out_attention(graph: fx.Graph) -> None:
    """Replace fused self-attention and encoder layers, those with a mask too."""
    for node in list(graph.nodes):
        if node.target is aten._native_multi_head_attention.default:
            call = bind(node)
            self_attention = call["query"] is call["key"] is call["value"]
            results_used = {
                use.args[1] for use in node.users if use.users
            }  # 0 the result, 1 the attention's weights
            if self_attention and results_used == {0} and _has_length(call["query"]) and _known_mask(call):
                _Writer(graph, node).replace_attention(call)
        elif node.target is aten._transformer_encoder_layer_fwd.default:
            call = bind(node)
            if _has_length(call["src"]) and _known_mask(call):
                _Writer(graph, node).replace_layer(call)


def _known_mask(call: dict[str, Any]) -> bool:
    return call["mask"] is None or call["mask_type"] in (_ATTENTION, _PADDING, _EVERY_HEAD)


def _has_length(value: fx.Node) -> bool:
    # Of [batch, length, width] only the batch may be dynamic: a reshape can infer one axis.
    return value.meta["val"].dim() == 3 and isinstance(value.meta["val"].shape[1], int)


class _Writer:
    """Writer of calls that replace one node."""

    def __init__(self, graph: fx.Graph, node: fx.Node) -> None:
        self.graph = graph
        self.node = node

    def replace_attention(self, call: dict[str, Any]) -> None:
        names = ("query", "num_head", "qkv_weight", "qkv_bias", "proj_weight", "proj_bias")
        arguments = [*(call[name] for name in names), self._left_out(call)]
        result = self._attention(call["query"].meta["val"].shape, *arguments)
        result.meta["val"] = self.node.meta["val"][0]
        for use in list(self.node.users):
            use.replace_all_uses_with(result)
            self.graph.erase_node(use)
        self.graph.erase_node(self.node)

    def replace_layer(self, call: dict[str, Any]) -> None:
        x = call["src"]
        shape = x.meta["val"].shape
        names = ("num_heads", "qkv_weight", "qkv_bias", "proj_weight", "proj_bias")
        attention = [*(call[name] for name in names), self._left_out(call)]

        def norm(value: fx.Node, which: int) -> fx.Node:
            weight, bias = call[f"norm_weight_{which}"], call[f"norm_bias_{which}"]
            return self._call(aten.layer_norm.default, value, [shape[2]], weight, bias, call["eps"])

        def feed_forward(value: fx.Node) -> fx.Node:
            hidden = self._call(aten.linear.default, value, call["ffn_weight_1"], call["ffn_bias_1"])
            active = self._call(aten.gelu.default if call["use_gelu"] else aten.relu.default, hidden)
            return self._call(aten.linear.default, active, call["ffn_weight_2"], call["ffn_bias_2"])

        if call["norm_first"]:
            x = self._add(x, self._attention(shape, norm(x, 1), *attention))
            result = self._add(x, feed_forward(norm(x, 2)))
        else:
            x = norm(self._add(x, self._attention(shape, x, *attention)), 1)
            result = norm(self._add(x, feed_forward(x)), 2)
        result.meta["val"] = self.node.meta["val"]
        self.node.replace_all_uses_with(result)
        self.graph.erase_node(self.node)

    def _left_out(self, call: dict[str, Any]) -> fx.Node | None:
        """Return the masked positions, broadcastable to ``[batch, heads, length, length]``; None without a mask."""
        if call["mask"] is None:
            return None
        left_out = self._call(aten.ne.Scalar, call["mask"], 0)
        if call["mask_type"] != _PADDING:
            return left_out
        return self._call(aten.unsqueeze.default, self._call(aten.unsqueeze.default, left_out, 1), 1)

    def _attention(
        self,
        shape: Any,
        x: Any,
        heads: int,
        qkv_weight: Any,
        qkv_bias: Any,
        out_weight: Any,
        out_bias: Any,
        left_out: Any,
    ) -> fx.Node:
        _, length, width = shape
        qkv = self._call(aten.linear.default, x, qkv_weight, qkv_bias)  # [batch, length, 3 · width]
        split = self._call(aten.reshape.default, qkv, [-1, length, 3, heads, width // heads])
        apart = self._call(
            aten.permute.default, split, [2, 0, 3, 1, 4]
        )  # [3, batch, heads, length, width / heads]
        query, key, value = (self._call(aten.select.int, apart, 0, which) for which in range(3))
        if left_out is None:
            mixed = self._call(aten.scaled_dot_product_attention.default, query, key, value)
        else:  # Written out: where all places are left out this gives NaN, as the fused operator does.
            scaled = self._call(aten.mul.Scalar, query, (width // heads) ** -0.5)
            scores = self._call(aten.matmul.default, scaled, self._call(aten.transpose.int, key, -2, -1))
            masked = self._call(aten.masked_fill.Scalar, scores, left_out, -math.inf)
            mixed = self._call(aten.matmul.default, self._call(aten.softmax.int, masked, -1), value)
        together = self._call(aten.transpose.int, mixed, 1, 2)
        merged = self._call(aten.reshape.default, together, [-1, length, width])
        return self._call(aten.linear.default, merged, out_weight, out_bias)

    def _add(self, left: fx.Node, right: fx.Node) -> fx.Node:
        return self._call(aten.add.Tensor, left, right)

    def _call(self, target: Any, *args: Any) -> fx.Node:
        with self.graph.inserting_before(self.node):
            node = self.graph.call_function(target, args)
        node.meta = {"stack_trace": self.node.meta.get("stack_trace")}
        return node
