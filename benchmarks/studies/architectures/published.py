"""Published architectures from the ``transformers`` package, at the smallest sizes that keep their structure."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from benchmarks.studies.architectures.samples import Architecture, Make, floats, mask, tokens

_LENGTH = 12
_TEXT: dict[str, Make] = {"input_ids": tokens(_LENGTH), "attention_mask": mask(_LENGTH)}
_WORDS: dict[str, Make] = {"input_ids": tokens(_LENGTH)}
_SOUND: Mapping[str, Make] = {"input_values": floats(1600)}

_ENCODER = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
    "intermediate_size": 64, "max_position_embeddings": 32,
}  # fmt: skip
_DECODER = _ENCODER | {"num_key_value_heads": 2, "use_cache": False}
_VISION = {
    "image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
    "intermediate_size": 64,
}  # fmt: skip
_SEQUENCE = {
    "vocab_size": 100, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "use_cache": False,
}  # fmt: skip
_T5 = {
    "vocab_size": 100, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4, "use_cache": False,
}  # fmt: skip
_WAVE = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 20,
    "conv_dim": (16, 16), "conv_stride": (5, 4), "conv_kernel": (10, 8), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


def _made(model: str, config: str, settings: Mapping[str, Any]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        transformers: Any = importlib.import_module("transformers")
        built: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**settings))
        return built

    return make


def _text(
    kind: str, model: str, settings: Mapping[str, Any], inputs: Mapping[str, Make] = _TEXT, **others: Any
) -> Architecture:
    return Architecture(_made(f"{kind}{model}", f"{kind}Config", settings), inputs, **others)


def _image(kind: str, model: str, settings: Mapping[str, Any], side: int = 32, **others: Any) -> Architecture:
    inputs = {"pixel_values": floats(3, side, side)}
    return Architecture(_made(f"{kind}{model}", f"{kind}Config", settings), inputs, **others)


_TWO_STAGES = {"hidden_sizes": [16, 32], "depths": [1, 1]}

PUBLISHED: dict[str, Architecture] = {
    "bert": _text("Bert", "ForSequenceClassification", _ENCODER),
    "distilbert": _text(
        "DistilBert", "ForTokenClassification",
        {"vocab_size": 100, "dim": 32, "n_layers": 1, "n_heads": 4, "hidden_dim": 64},
    ),
    "roberta": _text("Roberta", "Model", _ENCODER | {"max_position_embeddings": 40}),
    "albert": _text("Albert", "ForQuestionAnswering", _ENCODER | {"embedding_size": 16}),
    "electra": _text("Electra", "ForMaskedLM", _ENCODER | {"embedding_size": 16}),
    "deberta v2": _text(
        "DebertaV2", "ForSequenceClassification",
        _ENCODER | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
    ),
    "mpnet": _text("MPNet", "Model", _ENCODER | {"max_position_embeddings": 40}),
    "modernbert": _text(
        "ModernBert", "ForSequenceClassification", _ENCODER | {
            "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "cls_token_id": 2, "sep_token_id": 1,
            "local_attention": 4}),
    "funnel": _text(
        "Funnel", "Model",
        {"vocab_size": 100, "block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64},
    ),
    "squeezebert": _text("SqueezeBert", "Model", _ENCODER | {"embedding_size": 32}),
    "fnet": _text("FNet", "Model", _ENCODER, _WORDS),
    "gpt 2": _text(
        "GPT2", "LMHeadModel",
        {"vocab_size": 100, "n_positions": 32, "n_embd": 32, "n_layer": 1, "n_head": 4, "use_cache": False},
    ),
    "opt": _text(
        "OPT", "ForCausalLM",
        {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "ffn_dim": 64,
         "max_position_embeddings": 32, "word_embed_proj_dim": 32, "use_cache": False},
    ),
    "llama": _text("Llama", "ForCausalLM", _DECODER),
    "qwen 3": _text("Qwen3", "ForCausalLM", _DECODER | {"head_dim": 8}),
    "gemma 2": _text("Gemma2", "ForCausalLM", _DECODER | {"head_dim": 8, "sliding_window": 6}),
    "bloom": _text(
        "Bloom", "ForCausalLM",
        {"vocab_size": 100, "hidden_size": 32, "n_layer": 1, "n_head": 4, "use_cache": False},
    ),
    "mixtral": _text("Mixtral", "ForCausalLM", _DECODER | {"num_local_experts": 4}),
    "mixtral, batched": _text(
        "Mixtral", "ForCausalLM", _DECODER | {"num_local_experts": 4, "experts_implementation": "batched_mm"},
    ),
    "mamba": _text(
        "Mamba", "ForCausalLM",
        {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 1, "state_size": 4, "use_cache": False}, _WORDS,
    ),
    "t5, encoder": _text("T5", "EncoderModel", _T5),
    "t5": _text("T5", "ForConditionalGeneration", _T5, _TEXT | {"decoder_input_ids": tokens(5)}),
    "bart": _text(
        "Bart", "ForConditionalGeneration", _SEQUENCE | {"max_position_embeddings": 32},
        _WORDS | {"decoder_input_ids": tokens(5)},
    ),
    "vit": _image("ViT", "ForImageClassification", _VISION),
    "deit": _image("DeiT", "Model", _VISION),
    "dinov2": _image("Dinov2", "Model", _VISION),
    "beit": _image("Beit", "ForImageClassification", _VISION | {"use_relative_position_bias": True}),
    "swin": _image(
        "Swin", "ForImageClassification",
        {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4},
    ),
    "convnext": _image("ConvNext", "ForImageClassification", _TWO_STAGES | {"num_stages": 2}),
    "convnext v2": _image("ConvNextV2", "ForImageClassification", _TWO_STAGES | {"num_stages": 2}),
    "resnet": _image("ResNet", "ForImageClassification", _TWO_STAGES | {"embedding_size": 16}),
    "regnet": _image("RegNet", "ForImageClassification", _TWO_STAGES | {"embedding_size": 16, "groups_width": 8}),
    "mobilenet v1": _image("MobileNetV1", "ForImageClassification", {"depth_multiplier": 0.25, "image_size": 32}),
    "mobilenet v2": _image("MobileNetV2", "ForImageClassification", {"depth_multiplier": 0.25, "image_size": 32}),
    "mobilevit": _image(
        "MobileViT", "ForImageClassification",
        {"image_size": 64, "hidden_sizes": [24, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32],
         "num_attention_heads": 2}, 64,
    ),
    "segformer": _image(
        "Segformer", "ForSemanticSegmentation",
        {"num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [16, 32],
         "patch_sizes": [7, 3], "strides": [4, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2],
         "decoder_hidden_size": 16},
    ),
    "poolformer": _image(
        "PoolFormer", "ForImageClassification",
        {"num_encoder_blocks": 2, "depths": [1, 1], "hidden_sizes": [16, 32], "patch_sizes": [7, 3],
         "strides": [4, 2], "padding": [2, 1]},
    ),
    "efficientnet": _image(
        "EfficientNet", "ForImageClassification",
        {"width_coefficient": 0.25, "depth_coefficient": 0.25, "image_size": 32, "hidden_dim": 320},
    ),
    "yolos": _image("Yolos", "ForObjectDetection", _VISION | {"image_size": [32, 32], "num_detection_tokens": 5}),
    "pvt": _image(
        "Pvt", "ForImageClassification",
        {"image_size": 32, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 32], "num_attention_heads": [1, 2, 2, 4],
         "mlp_ratios": [2, 2, 2, 2]},
    ),
    "clip, image": _image("CLIPVision", "Model", _VISION),
    "wav2vec 2": Architecture(_made("Wav2Vec2ForCTC", "Wav2Vec2Config", _WAVE), _SOUND),
    "hubert": Architecture(_made("HubertModel", "HubertConfig", _WAVE), _SOUND),
    "whisper": Architecture(
        _made("WhisperForConditionalGeneration", "WhisperConfig", _SEQUENCE | {
            "num_mel_bins": 16, "max_source_positions": 20, "max_target_positions": 10, "pad_token_id": 0,
            "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}),
        {"input_features": floats(16, 40), "decoder_input_ids": tokens(5)},
    ),
    "audio spectrogram": Architecture(
        _made("ASTForAudioClassification", "ASTConfig", _VISION | {"num_mel_bins": 16, "max_length": 48}),
        {"input_values": floats(48, 16)},
    ),
    "patchtst (forecast)": Architecture(
        _made("PatchTSTForPrediction", "PatchTSTConfig", {
            "num_input_channels": 2, "context_length": 32, "patch_length": 8, "patch_stride": 8, "d_model": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 32, "prediction_length": 4}),
        {"past_values": floats(32, 2)},
    ),
}  # fmt: skip
