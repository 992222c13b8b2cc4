"""Fused attention, written out, and attention without heads as one of a single head.

In inference without gradients ``nn.MultiheadAttention`` and ``nn.TransformerEncoderLayer`` call operators of their
own, and ``torch.jit.trace`` records those. They have no gradient and no ONNX form. Here they become the linear
layers, norms and ``scaled_dot_product_attention`` that they compute (Vaswani et al. 2017, arXiv 1706.03762).
"""

from __future__ import annotations

from typing import Any

from torch import fx

from compress.lift_calls import aten, bind


def write_out_attention(graph: fx.Graph) -> None:
    """Replace fused self-attention without a mask, which stays with one; give a head to attention that has none."""
    for node in list(graph.nodes):
        if node.target is aten._native_multi_head_attention.default:
            call = bind(node)
            own = call["query"] is call["key"] is call["value"]
            taken = {
                use.args[1] for use in node.users if use.users
            }  # 0 the result, 1 the attention's weights
            if own and taken == {0} and _has_length(call["query"]) and call["mask"] is None:
                _Writer(graph, node).replace_attention(call)
        elif node.target is aten._transformer_encoder_layer_fwd.default:
            call = bind(node)
            if _has_length(call["src"]) and call["mask"] is None:
                _Writer(graph, node).replace_layer(call)
        elif node.target is aten.scaled_dot_product_attention.default:
            _give_heads(graph, node)


def _give_heads(graph: fx.Graph, node: fx.Node) -> None:
    """Attention over ``[batch, length, width]`` as one of a single head; ONNX knows that over four axes alone."""
    call = bind(node)
    if any(call[name].meta["val"].dim() != 3 for name in ("query", "key", "value")):
        return
    for name in ("query", "key", "value", "attn_mask"):
        given = call[name]
        if given is None or given.meta["val"].dim() == 2:  # a mask for every sample
            continue
        with graph.inserting_before(node):
            call[name] = graph.call_function(aten.unsqueeze.default, (given, 1))
        call[name].meta["val"] = given.meta["val"].unsqueeze(1)
    node.args, node.kwargs = tuple(call.values())[:5], dict(list(call.items())[5:])
    with graph.inserting_after(node):
        result = graph.call_function(aten.squeeze.dim, (node, 1))
    result.meta = dict(node.meta)
    node.meta["val"] = node.meta["val"].unsqueeze(1)
    node.replace_all_uses_with(result, delete_user_cb=lambda user: user is not result)


def _has_length(value: fx.Node) -> bool:
    # Of [batch, length, width] only the batch may be dynamic: a reshape can infer one axis.
    return value.meta["val"].dim() == 3 and isinstance(value.meta["val"].shape[1], int)


class _Writer:
    """Writes calls in the place of one node."""

    def __init__(self, graph: fx.Graph, node: fx.Node) -> None:
        self.graph = graph
        self.node = node

    def replace_attention(self, call: dict[str, Any]) -> None:
        names = ("query", "num_head", "qkv_weight", "qkv_bias", "proj_weight", "proj_bias")
        result = self._attention(call["query"].meta["val"].shape, *(call[name] for name in names))
        result.meta["val"] = self.node.meta["val"][0]
        for use in list(self.node.users):
            use.replace_all_uses_with(result)
            self.graph.erase_node(use)
        self.graph.erase_node(self.node)

    def replace_layer(self, call: dict[str, Any]) -> None:
        x = call["src"]
        shape = x.meta["val"].shape
        attention = [
            call[name] for name in ("num_heads", "qkv_weight", "qkv_bias", "proj_weight", "proj_bias")
        ]

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

    def _attention(
        self, shape: Any, x: Any, heads: int, qkv_weight: Any, qkv_bias: Any, out_weight: Any, out_bias: Any
    ) -> fx.Node:
        _, length, width = shape
        qkv = self._call(aten.linear.default, x, qkv_weight, qkv_bias)  # [batch, length, 3 · width]
        split = self._call(aten.reshape.default, qkv, [-1, length, 3, heads, width // heads])
        apart = self._call(
            aten.permute.default, split, [2, 0, 3, 1, 4]
        )  # [3, batch, heads, length, width / heads]
        query, key, value = (self._call(aten.select.int, apart, 0, which) for which in range(3))
        mixed = self._call(aten.scaled_dot_product_attention.default, query, key, value)
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
