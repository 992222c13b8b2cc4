"""Small networks of every family, each with a batch of inputs."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tests.pruning.zoo import dense, images, sequences, transformers


def _floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _tokens(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 20, size=shape)


_IMAGES = {"x": _floats(4, 3, 8, 8)}

#: Every network with its example, by class.
ZOO: dict[type[nn.Module], dict[str, np.ndarray]] = {
    **dict.fromkeys(
        (
            images.ResNet,
            images.ResNeXt,
            images.PreActivationResNet,
            images.VGG,
            images.DenseNet,
            images.Inception,
            images.MobileNetV2,
            images.MobileNetV3,
            images.EfficientNet,
            images.ShuffleNet,
            images.GroupedShuffle,
            images.ConvNeXt,
            dense.UNet,
            dense.FeaturePyramid,
            dense.YOLO,
            dense.SuperResolution,
            dense.SpaceToDepth,
            transformers.ViT,
            transformers.Swin,
            transformers.Mixer,
            sequences.MultiOutput,
        ),
        _IMAGES,
    ),
    dense.Video: {"x": _floats(4, 2, 4, 4, 4)},
    transformers.BERT: {"tokens": _tokens(4, 6)},
    transformers.GPT: {"tokens": _tokens(4, 6)},
    transformers.LLaMA: {"tokens": _tokens(4, 6)},
    transformers.EinsumAttention: {"x": _floats(4, 5, 16), "memory": _floats(4, 7, 16)},
    transformers.TorchEncoder: {"x": _floats(4, 5, 16)},
    sequences.BiLSTM: {"x": _floats(4, 5, 6)},
    sequences.GRU: {"x": _floats(4, 5, 6)},
    sequences.CRNN: {"x": _floats(4, 1, 8, 12)},
    sequences.Audio: {"x": _floats(4, 1, 64)},
    sequences.TCN: {"x": _floats(4, 3, 12)},
    sequences.Siamese: {"left": _floats(4, 8), "right": _floats(4, 8)[::-1].copy()},
    sequences.MultiInput: {"image": _floats(4, 3, 8, 8), "numbers": _floats(4, 4)},
    sequences.Tied: {"x": _floats(4, 8)},
}


def build(kind: type[nn.Module]) -> nn.Module:
    """The network with weights from a fixed seed, biases and norms that have seen data."""
    torch.manual_seed(0)
    module = kind()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            part.running_mean = torch.randn(part.num_features) * 0.1
            part.running_var = torch.rand(part.num_features) + 0.5
    for parameter in module.parameters():
        if parameter.dim() == 1:
            parameter.data += torch.randn_like(parameter) * 0.2
    return module.eval()
