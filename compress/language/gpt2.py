"""Decoders like GPT-2: learned positions, norms with mean and bias, and a feed-forward part without a gate.

Its files name parts otherwise, and hold matrices as [inputs, outputs], with queries, keys and values side by side:
here the tensors appear under the names and in the layout of LLaMA, which all families share.
"""

from __future__ import annotations

import re

from compress.language.config import (
    ACTIVATIONS,
    MOST_CONTEXT,
    MOST_HEADS,
    MOST_LAYERS,
    MOST_WIDTH,
    DecoderConfig,
    ends,
)
from compress.language.fields import MOST_TOKENS, Fields
from compress.language.tensors import Part, PartTensors, Tensors

#: ONNX Runtime attends with heads whose size is a multiple of this many values, where they are not turned.
HEAD_STEP = 8

#: Names outside of layers, and those of norms in them, and what they are here.
_OUTSIDE = {
    "wte": "model.embed_tokens",
    "wpe": "model.embed_positions",
    "ln_f": "model.norm",
    "lm_head": "lm_head",
}
_NORMS = {"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm"}

#: Queries, keys and values, and what GGUF files, whose matrices are [outputs, inputs], have of them in one.
_APART = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_TOGETHER = "self_attn.qkv_proj"

#: Matrices of a layer, stored as [inputs, outputs], and the parts here that lie side by side in each.
_MATRICES = {
    "attn.c_attn": _APART,
    "attn.c_proj": ("self_attn.o_proj",),
    "mlp.c_fc": ("mlp.up_proj",),
    "mlp.c_proj": ("mlp.down_proj",),
}


def gpt2_config(fields: Fields, generation: Fields | None) -> DecoderConfig:
    """Make the record of a decoder like GPT-2.

    Args:
        fields: Fields of config.json.
        generation: Fields of generation_config.json; None where the model has none.

    Raises:
        NetworkError: A field is wrong, or says what cannot be computed here.
    """
    hidden = fields.count("n_embd", MOST_WIDTH)
    heads = fields.count("n_head", MOST_HEADS)
    layers = fields.count("n_layer", MOST_LAYERS)
    if hidden % heads:
        raise fields.wrong("n_head", f"a divisor of 'n_embd', {hidden},")
    if hidden // heads % HEAD_STEP:
        raise fields.wrong(
            "n_head", f"heads of a multiple of {HEAD_STEP} values, as ONNX Runtime wants them,"
        )
    for name, usual in (
        ("scale_attn_weights", True),
        ("scale_attn_by_inverse_layer_idx", False),
        ("add_cross_attention", False),
    ):
        if fields.flag(name, usual) is not usual:
            raise fields.wrong(name, f"{str(usual).lower()}, as GPT-2 has it,")
    activation = fields.text("activation_function", "gelu_new")
    if activation not in ACTIVATIONS:
        raise fields.wrong("activation_function", f"an activation function of {', '.join(ACTIVATIONS)}")
    vocabulary = fields.count("vocab_size", MOST_TOKENS)
    bos, eos = ends(fields, generation, vocabulary)
    return DecoderConfig(
        family="gpt2",
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        intermediate=fields.count("n_inner", MOST_WIDTH, 4 * hidden),
        vocabulary=vocabulary,
        rope=None,
        learned_positions=True,
        norm="layer",
        norm_eps=fields.number("layer_norm_epsilon", 0, 1, 1e-5),
        activation=ACTIVATIONS[activation],
        gated=False,
        tied_head=fields.flag("tie_word_embeddings", True),
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        qk_norm=False,
        context=fields.count("n_positions", MOST_CONTEXT),
        windows=(None,) * layers,
        rotary=(False,) * layers,
        norm_offset=0.0,
        embedding_scale=1.0,
        bos=bos,
        eos=eos,
    )


def gpt2_tensors(stored: Tensors) -> Tensors:
    """Return the tensors of a GPT-2 under the names and in the layout of LLaMA.

    Args:
        stored: Tensors as its files hold them.
    """
    return PartTensors(
        stored, {name: part for stored_name in stored.shapes() for name, part in _parts(stored_name).items()}
    )


def _parts(stored: str) -> dict[str, Part]:
    """Return what a stored tensor holds, by the names here; those that are named so already are left as they are."""
    name = stored.removeprefix("transformer.")
    stem, _, kind = name.rpartition(".")
    if stem in _OUTSIDE:
        return {f"{_OUTSIDE[stem]}.{kind}": Part(stored)}
    inside = re.fullmatch(r"h\.(\d+)\.(.+)", stem)
    if inside is None:
        if not stem.endswith(_TOGETHER):
            return {stored: Part(stored)}
        at = stem.removesuffix(_TOGETHER)
        return {f"{at}{part}.{kind}": Part(stored, 0, number, 3) for number, part in enumerate(_APART)}
    at = f"model.layers.{inside[1]}"
    if inside[2] in _NORMS:
        return {f"{at}.{_NORMS[inside[2]]}.{kind}": Part(stored)}
    parts = _MATRICES.get(inside[2], ())
    return {
        f"{at}.{part}.{kind}": Part(stored, -1, number, len(parts), turned=kind == "weight")
        for number, part in enumerate(parts)
        if kind in ("weight", "bias")
    }
