"""The config of decoders like LLaMA: rotary positions, norms without a mean, a gated feed-forward part.

These families differ in little: biases, norms of queries and keys, windows of attention, and Gemma's scaled embedding.
"""

from __future__ import annotations

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
from compress.language.mixture import read_experts
from compress.language.rope import read_rope

#: ONNX Runtime turns heads whose size is a multiple of this many values.
HEAD_STEP = 16

#: Families whose attention has no biases, whatever their files say.
_WITHOUT_BIAS = ("mistral", "mixtral")

#: Activation functions that these families have been seen with.
_ACTIVATIONS = ("silu", "swish", "gelu_pytorch_tanh")


def llama_config(fields: Fields, generation: Fields | None) -> DecoderConfig:
    """Make the record of a decoder like LLaMA.

    Args:
        fields: Fields of config.json, of one of these families.
        generation: Fields of generation_config.json; None where the model has none.

    Raises:
        NetworkError: A field is wrong.
    """
    family = fields.text("model_type")
    gemma = family == "gemma"
    hidden = fields.count("hidden_size", MOST_WIDTH)
    heads = fields.count("num_attention_heads", MOST_HEADS)
    layers = fields.count("num_hidden_layers", MOST_LAYERS)
    head_dim = _head_dim(fields, hidden, heads, {"gemma": 256, "qwen3": 128}.get(family))
    if fields.number("partial_rotary_factor", 0, 1, 1.0) != 1:
        raise fields.wrong("partial_rotary_factor", "1, the whole head turned,")
    if fields.flag("use_bidirectional_attention", False):
        raise fields.wrong("use_bidirectional_attention", "false, as a model that writes text has it,")
    attention_bias = fields.flag("attention_bias", False)
    if family == "qwen2_moe":
        attention_bias = fields.flag("qkv_bias", True)
    mlp_bias = fields.flag("mlp_bias", False)
    vocabulary = fields.count("vocab_size", MOST_TOKENS)
    bos, eos = ends(fields, generation, vocabulary)
    widths = _widths(fields, layers)
    return DecoderConfig(
        family=family,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=_kv_heads(fields, heads),
        head_dim=head_dim,
        intermediate=max(widths) if widths else fields.count("intermediate_size", MOST_WIDTH),
        vocabulary=vocabulary,
        rope=read_rope(fields, head_dim),
        learned_positions=False,
        norm="rms",
        norm_eps=fields.number("rms_norm_eps", 0, 1, 1e-6),
        activation=_activation(fields, gemma),
        gated=True,
        tied_head=fields.flag("tie_word_embeddings", gemma or family == "smollm3"),
        qkv_bias=True if family == "qwen2" else attention_bias and family not in _WITHOUT_BIAS,
        output_bias=attention_bias and family not in ("qwen2", "qwen2_moe", *_WITHOUT_BIAS),
        mlp_bias=mlp_bias and family in ("llama", "smollm3"),
        qk_norm=family in ("qwen3", "qwen3_moe"),
        context=fields.count("max_position_embeddings", MOST_CONTEXT),
        windows=_windows(fields, family, layers),
        rotary=_rotary(fields, family, layers),
        norm_offset=1.0 if gemma else 0.0,
        embedding_scale=hidden**0.5 if gemma else 1.0,
        bos=bos,
        eos=eos,
        widths=widths,
        experts=read_experts(fields, family, layers),
    )


def _widths(fields: Fields, layers: int) -> tuple[int, ...]:
    """Return the width of each layer's feed-forward part, where config.json has a list, as a pruned decoder's does."""
    if not isinstance(fields.values.get("intermediate_size"), list):
        return ()
    widths = fields.items("intermediate_size", layers) or ()
    if not all(isinstance(width, int) and 0 < width <= MOST_WIDTH for width in widths):
        raise fields.wrong("intermediate_size", f"a list of numbers from 1 to {MOST_WIDTH}")
    return tuple(widths)


def _head_dim(fields: Fields, hidden: int, heads: int, default: int | None) -> int:
    if not fields.has("head_dim") and default is None and hidden % heads:
        raise fields.wrong("num_attention_heads", f"a divisor of 'hidden_size', {hidden},")
    head_dim = fields.count("head_dim", 4096, default or hidden // heads)
    if head_dim % HEAD_STEP:
        name = "head_dim" if fields.has("head_dim") else "num_attention_heads"
        raise fields.wrong(
            name, f"a head of a multiple of {HEAD_STEP} values, where ONNX Runtime can turn it,"
        )
    return head_dim


def _kv_heads(fields: Fields, heads: int) -> int:
    kv_heads = fields.count("num_key_value_heads", heads, heads)
    if heads % kv_heads:
        raise fields.wrong("num_key_value_heads", f"a divisor of 'num_attention_heads', {heads},")
    return kv_heads


def _activation(fields: Fields, gemma: bool) -> str:
    if gemma and not fields.has("hidden_activation"):
        return "gelu_tanh"  # its first files say 'gelu' and mean this one
    name = "hidden_activation" if gemma else "hidden_act"
    activation = fields.text(name, "silu")
    if activation not in _ACTIVATIONS:
        raise fields.wrong(name, f"an activation function of {', '.join(_ACTIVATIONS)}")
    return ACTIVATIONS[activation]


def _windows(fields: Fields, family: str, layers: int) -> tuple[int | None, ...]:
    """Return the window of each layer; files before transformers 5 name no kinds of layers."""
    if not fields.has("sliding_window") or family in ("gemma", "llama"):
        return (None,) * layers
    windowed = family in ("mistral", "mixtral")
    if not windowed and not fields.flag("use_sliding_window", False):
        return (None,) * layers
    window = fields.count("sliding_window", MOST_CONTEXT)
    kinds = fields.items("layer_types", layers)
    if kinds is not None:
        if any(kind not in ("full_attention", "sliding_attention") for kind in kinds):
            raise fields.wrong("layer_types", "a list of full_attention and sliding_attention")
        return tuple(window if kind == "sliding_attention" else None for kind in kinds)
    if windowed:
        return (window,) * layers
    first = fields.count("max_window_layers", MOST_LAYERS, 28, least=0)
    return tuple(window if layer >= first else None for layer in range(layers))


def _rotary(fields: Fields, family: str, layers: int) -> tuple[bool, ...]:
    if family != "smollm3":
        return (True,) * layers
    turned = fields.items("no_rope_layers", layers)
    if turned is None:
        step = fields.count("no_rope_layer_interval", MOST_LAYERS, 4)
        return tuple((layer + 1) % step != 0 for layer in range(layers))
    if any(flag not in (0, 1) for flag in turned):
        raise fields.wrong("no_rope_layers", "a list of 0 and 1")
    return tuple(flag == 1 for flag in turned)
