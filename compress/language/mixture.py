"""Mixtures of experts in a model's files: their settings, and their tensors under the names of Qwen."""

from __future__ import annotations

import re

from compress.language.config import MOST_LAYERS, MOST_WIDTH, Experts
from compress.language.fields import Fields
from compress.language.tensors import Part, PartTensors, Tensors

#: Largest number of experts of a layer that is believed: beyond that of any published model.
MOST_EXPERTS = 4096

#: Names of an expert's matrices in files of Mixtral, and what they are here.
_OF_MIXTRAL = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


def read_experts(fields: Fields, family: str, layers: int) -> Experts | None:
    """Read the experts of a decoder from a config.json.

    Args:
        fields: Fields of the file.
        family: Family of the decoder.
        layers: Number of its layers.

    Returns:
        The experts; None for a family that has none, or where no layer has them.

    Raises:
        NetworkError: A field is wrong.
    """
    if family not in ("mixtral", "qwen2_moe", "qwen3_moe"):
        return None
    if fields.text("hidden_act", "silu") not in ("silu", "swish"):
        raise fields.wrong("hidden_act", "silu, as ONNX Runtime computes experts with it,")
    mixtral = family == "mixtral"
    named = next((key for key in ("num_experts", "num_local_experts") if fields.has(key)), "num_experts")
    count = fields.count("num_local_experts" if mixtral else named, MOST_EXPERTS)
    chosen = fields.count("num_experts_per_tok", count)
    if mixtral:
        inner = fields.count("intermediate_size", MOST_WIDTH)
        return Experts(count, chosen, inner, True, None, (True,) * layers)
    step = fields.count("decoder_sparse_step", MOST_LAYERS, 1)
    dense = fields.values.get("mlp_only_layers") or []
    if not isinstance(dense, list) or any(type(layer) is not int for layer in dense):
        raise fields.wrong("mlp_only_layers", "a list of numbers of layers")
    shared = fields.count("shared_expert_intermediate_size", MOST_WIDTH) if family == "qwen2_moe" else None
    experts = Experts(
        count=count,
        chosen=chosen,
        intermediate=fields.count("moe_intermediate_size", MOST_WIDTH),
        renormalized=fields.flag("norm_topk_prob", False),
        shared=shared,
        layers=tuple(layer not in dense and (layer + 1) % step == 0 for layer in range(layers)),
    )
    return experts if any(experts.layers) else None


def mixtral_tensors(stored: Tensors) -> Tensors:
    """Return the tensors of a Mixtral under the names of Qwen.

    Args:
        stored: Tensors as its files hold them.
    """
    return PartTensors(stored, {_name(stored_name): Part(stored_name) for stored_name in stored.shapes()})


def _name(stored: str) -> str:
    name = stored.replace(".block_sparse_moe.", ".mlp.")
    match = re.fullmatch(r"(.+\.experts\.\d+)\.(w[123])\.weight", name)
    return name if match is None else f"{match[1]}.{_OF_MIXTRAL[match[2]]}.weight"
