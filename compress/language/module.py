"""A decoder as a module of torch: to train it, and to see what its parts do on texts.

It computes whole texts at once, without a cache. Its parameters have the names of the decoder's weights, so both ways
are a copy of tensors. Gates, ones unless they are set, stand where neurons and heads could be removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.language.config import DecoderConfig
from compress.language.weight_rounding import Rounding
from compress.language.weights import Weights, expected_shapes


class DecoderModule(nn.Module):
    """A decoder.

    Args:
        config: Config of the decoder.
        weights: Its weights; they are copied.

    Attributes:
        config: Config of the decoder.
        rounding: Rounding of the weights that it computes with; None computes with them as they are.
        skipped: Numbers of layers that are left out.
        gates: Factors of what the neurons of a feed-forward part, or the groups of heads of an attention, give, by
            the name of that part: [units], or [texts, units].
        seen: Function that is called with the name of each norm between layers, what it is given, and what it gives;
            None for none.
    """

    def __init__(self, config: DecoderConfig, weights: Weights | Mapping[str, NDArray[np.float32]]) -> None:
        super().__init__()
        self.config = config
        for name in expected_shapes(config):
            owner: nn.Module = self
            *way, last = name.split(".")
            for step in way:
                if step not in owner._modules:
                    owner.add_module(step, nn.Module())
                owner = cast("nn.Module", owner._modules[step])
            owner.register_parameter(
                last, nn.Parameter(torch.from_numpy(np.array(weights[name], np.float32)))
            )
        if config.rope is not None:
            cosines, sines = config.rope.tables(config.context, config.head_dim)
            self.register_buffer("cosines", torch.from_numpy(cosines), persistent=False)
            self.register_buffer("sines", torch.from_numpy(sines), persistent=False)
        self.rounding: Rounding | None = None
        self.skipped: frozenset[int] = frozenset()
        self.gates: dict[str, Tensor] = {}
        self.seen: Callable[[str, Tensor, Tensor], None] | None = None

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights by name, float32."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.named_parameters()}

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits, float32 [texts, tokens, vocabulary].

        Args:
            ids: Numbers of the tokens of texts that begin at position 0, int64 [texts, tokens]; negative ones stand
                behind the last token of a text.
        """
        config = self.config
        ids = ids.clamp(min=0)
        hidden = F.embedding(ids, self._weight("model.embed_tokens.weight"))
        if config.embedding_scale != 1:
            hidden = hidden * config.embedding_scale
        if config.learned_positions:
            hidden = hidden + self._weight("model.embed_positions.weight")[: ids.shape[1]]
        for layer in range(config.layers):
            if layer in self.skipped:
                continue
            at = f"model.layers.{layer}"
            hidden = hidden + self._attention(at, layer, self._norm(f"{at}.input_layernorm", hidden))
            normed = self._norm(f"{at}.post_attention_layernorm", hidden)
            inner = self._mixture if config.has_experts(layer) else self._feed_forward
            hidden = hidden + inner(f"{at}.mlp", normed)
        hidden = self._norm("model.norm", hidden)
        if config.head_turn:
            hidden = hidden + self._linear("model.head_turn", hidden)
        head = "model.embed_tokens.weight" if config.tied_head else "lm_head.weight"
        return F.linear(hidden, self._weight(head))

    def _attention(self, at: str, layer: int, source: Tensor) -> Tensor:
        config, (texts, tokens, _) = self.config, source.shape
        parts = []
        for kind, heads in (("q", config.heads), ("k", config.kv_heads), ("v", config.kv_heads)):
            product = self._linear(f"{at}.self_attn.{kind}_proj", source).view(texts, tokens, heads, -1)
            if config.qk_norm and kind != "v":
                product = _root_mean_square(
                    product, self._weight(f"{at}.self_attn.{kind}_norm.weight"), config
                )
            parts.append(product.transpose(1, 2))
        queries, keys, values = parts
        if config.rotary[layer] and config.rope is not None:
            queries, keys = self._turned(queries), self._turned(keys)
        group = config.heads // config.kv_heads
        keys, values = (tensor.repeat_interleave(group, 1) for tensor in (keys, values))
        window = config.windows[layer]
        if window is None:
            attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        else:
            apart = torch.arange(tokens)[:, None] - torch.arange(tokens)[None]
            seen = ((apart >= 0) & (apart < window)).to(source.device)
            attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
        gate = self.gates.get(f"{at}.self_attn")
        if gate is not None:
            attended = attended * gate.repeat_interleave(group, -1)[..., None, None]
        return self._linear(f"{at}.self_attn.o_proj", attended.transpose(1, 2).reshape(texts, tokens, -1))

    def _turned(self, heads: Tensor) -> Tensor:
        """Turn each pair of a head's values by the angle of its position; a pair is half a head apart."""
        tokens = heads.shape[2]
        cosines, sines = (cast("Tensor", table)[:tokens] for table in (self.cosines, self.sines))
        first, second = heads.chunk(2, -1)
        return torch.cat([first * cosines - second * sines, second * cosines + first * sines], -1)

    def _mixture(self, at: str, source: Tensor) -> Tensor:
        """Send each token to some experts, and to the one that all tokens are sent to where there is one."""
        experts = self.config.experts
        assert experts is not None
        shares, chosen = torch.softmax(self._linear(f"{at}.gate", source), -1).topk(experts.chosen)
        if experts.renormalized:
            shares = shares / shares.sum(-1, keepdim=True)
        summed = torch.zeros_like(source)
        for number in range(experts.count):
            sent = chosen == number
            tokens = sent.any(-1)
            result = self._feed_forward(f"{at}.experts.{number}", source[tokens])
            share = (shares * sent).sum(-1)[tokens]
            summed = summed.index_put(tokens.nonzero(as_tuple=True), result * share[:, None], accumulate=True)
        if experts.shared is None:
            return summed
        gate = torch.sigmoid(self._linear(f"{at}.shared_expert_gate", source))
        return summed + gate * self._feed_forward(f"{at}.shared_expert", source)

    def _feed_forward(self, at: str, source: Tensor) -> Tensor:
        projected = self._linear(f"{at}.{'gate' if self.config.gated else 'up'}_proj", source)
        inner = _activated(self.config.activation, projected)
        if self.config.gated:
            inner = inner * self._linear(f"{at}.up_proj", source)
        gate = self.gates.get(at)
        return self._linear(f"{at}.down_proj", inner if gate is None else inner * gate[..., None, :])

    def _linear(self, name: str, source: Tensor) -> Tensor:
        bias = self._found(f"{name}.bias")
        return F.linear(source, self._weight(f"{name}.weight"), bias)

    def _norm(self, name: str, source: Tensor) -> Tensor:
        weight, config = self._weight(f"{name}.weight") + self.config.norm_offset, self.config
        if config.norm == "layer":
            result = F.layer_norm(
                source, source.shape[-1:], weight, self._found(f"{name}.bias"), config.norm_eps
            )
        else:
            result = _root_mean_square(source, weight, config)
        if self.seen is not None:
            self.seen(name, source, result)
        return result

    def _weight(self, name: str) -> Tensor:
        weight = self.get_parameter(name)
        return weight if self.rounding is None else self.rounding.of(name, weight, self.config.tied_head)

    def _found(self, name: str) -> Tensor | None:
        owner, _, last = name.rpartition(".")
        return self.get_submodule(owner)._parameters.get(last)


def _root_mean_square(source: Tensor, weight: Tensor, config: DecoderConfig) -> Tensor:
    return source * torch.rsqrt(source.square().mean(-1, keepdim=True) + config.norm_eps) * weight


def _activated(kind: str, source: Tensor) -> Tensor:
    if kind == "silu":
        return F.silu(source)
    if kind == "relu":
        return F.relu(source)
    return F.gelu(source, approximate="tanh" if kind == "gelu_tanh" else "none")
