"""Networks of the sizes that people deploy, up to 125 million parameters, which behave as trained ones do.

    python -m benchmarks run large_networks [--out references/large] [--only resnet50] [--samples 300]

No weights are downloaded and nothing is trained. Hidden layers are random but well conditioned: batch normalisations
hold the statistics of real images, and layer normalisations have the few wide channels that trained transformers have.
The last layer is fitted by ridge regression on real data, so that decisions have margins, and int8 keeps most of them.

Below ``--out``, for each network NAME:

    NAME.onnx    opset 20, the first axis of every input and output is "batch", weights inside
    NAME.pt2     torch.export, the same axis dynamic
    NAME.npz     x and y: samples that the fit never saw

Images are Fashion-MNIST's, enlarged. Texts are windows of Python source (see :mod:`benchmarks.data.sequences`) whose
words are hashed into a vocabulary. ``y`` is the class of an image or of a text, int64 [n]; for decoders it is the next
token at every position, int64 [n, tokens], and :func:`next_token` is their metric.
"""

from __future__ import annotations

import argparse
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.data import fashion_mnist, sequences

OPSET = 20
IMAGE_CLASSES, TEXT_CLASSES = 10, 8

_FITTED_ON = 1024  # samples; for decoders 96, whose every position is one
_BATCH = 32
_RIDGE = 0.1  # share of the features' mean energy


@dataclass(frozen=True)
class Plan:
    """One network of the family.

    Attributes:
        make: Builds it, untrained.
        kind: ``image``, ``text`` (a class for each text) or ``decoder`` (a token for each position).
        size: Pixels of an image's side, or tokens of a text.
        samples: Written for evaluation, unless ``--samples`` says otherwise.
        vocabulary: Number of different tokens; 0 for images.
    """

    make: Callable[[], Fitted]
    kind: str
    size: int
    samples: int
    vocabulary: int = 0


def _plans() -> dict[str, Plan]:
    plans = {
        "resnet50": Plan(lambda: ResNet(64, (3, 4, 6, 3)), "image", 224, 300),
        "vit_b16": Plan(lambda: VisionTransformer(768, 12, 12, 224, 16), "image", 224, 300),
        "bert_base": Plan(lambda: TextTransformer(768, 12, 12, 128, 30522), "text", 128, 300, 30522),
        "gpt2": Plan(lambda: Decoder(768, 12, 12, 64, 50257), "decoder", 64, 160, 50257),
        "decoder_5m": Plan(lambda: Decoder(256, 6, 4, 256, 1000), "decoder", 256, 160, 1000),
        "minilm": Plan(lambda: TextTransformer(384, 6, 12, 128, 30522), "text", 128, 300, 30522),
    }
    for name, width, blocks, side in (
        ("conv_0.1m", 4, (3, 4, 6, 3), 64),
        ("conv_1.5m", 16, (3, 4, 6, 3), 64),
        ("conv_94m", 128, (3, 4, 6, 3), 64),
    ):
        plans[name] = Plan(_later(ResNet, width, blocks), "image", side, 300)
    for name, width, depth, heads, vocabulary in (
        ("encoder_0.1m", 64, 2, 2, 512),
        ("encoder_1.1m", 192, 2, 3, 1024),
        ("encoder_7m", 256, 6, 4, 8192),
    ):
        plans[name] = Plan(
            _later(TextTransformer, width, depth, heads, 64, vocabulary), "text", 64, 300, vocabulary
        )
    return plans


def _later(make: Callable[..., Fitted], *arguments: Any) -> Callable[[], Fitted]:
    return lambda: make(*arguments)


class Fitted(nn.Module):
    """A network whose last layer is fitted to what comes before it.

    Attributes:
        head: The last layer that is fitted.
    """

    head: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """Return the features that the last layer reads, [rows, features]."""
        raise NotImplementedError


class ResNet(Fitted):
    """Residual network of bottleneck blocks (He et al. 2015, arXiv 1512.03385); 64 and (3, 4, 6, 3) is ResNet-50.

    Args:
        width: Channels of the stem; the blocks' follow from it.
        blocks: Number of residual blocks in each of the four stages.
    """

    def __init__(self, width: int, blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_convolution(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
        )
        layers: list[nn.Module] = []
        channels = width
        for stage, count in enumerate(blocks):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(Bottleneck(channels, width << stage, stride))
                channels = 4 * width << stage
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(channels, IMAGE_CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """Map images [batch, 3, side, side] to [batch, channels]."""
        found: Tensor = self.layers(self.stem(x)).mean(dim=(2, 3))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, 3, side, side] to logits [batch, classes]."""
        logits: Tensor = self.head(self.features(x))
        return logits


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions around a shortcut, which is a 1×1 convolution where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_convolution(channels, width, 1),
            nn.ReLU(),
            *_convolution(width, width, 3, stride),
            nn.ReLU(),
            *_convolution(width, 4 * width, 1),
        )
        nn.init.constant_(self.residual[-1].weight, 0.2)  # type: ignore[arg-type]  # so that the input still shows behind many blocks
        same_shape = stride == 1 and channels == 4 * width
        self.shortcut = (
            nn.Identity() if same_shape else nn.Sequential(*_convolution(channels, 4 * width, 1, stride))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels, h, w] to [batch, 4 · width, h / stride, w / stride]."""
        return functional.relu(self.residual(x) + self.shortcut(x))


def _convolution(channels: int, width: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(width)


class TransformerLayer(nn.Module):
    """Self-attention and a perceptron of four times the width, each behind its normalisation (pre-norm)."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.attention_norm, self.perceptron_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.projection = (nn.Linear(width, width) for _ in range(4))
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [batch, tokens, width] to the same shape."""
        x = x + self._attention(self.attention_norm(x))
        updated: Tensor = x + self.perceptron(self.perceptron_norm(x))
        return updated

    def _attention(self, x: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        projected: Tensor = self.projection(mixed.transpose(1, 2).flatten(2))
        return projected


class VisionTransformer(Fitted):
    """Transformer over patches (Dosovitskiy et al. 2020, arXiv 2010.11929), read from the mean of all tokens."""

    def __init__(self, width: int, depth: int, heads: int, side: int, patch: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.position = nn.Parameter(0.3 * torch.randn(1, (side // patch) ** 2, width))
        self.layers = nn.Sequential(*(TransformerLayer(width, heads, False) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, IMAGE_CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """Map images [batch, 3, side, side] to [batch, width]."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        found: Tensor = self.norm(self.layers(tokens)).mean(dim=1)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, 3, side, side] to logits [batch, classes]."""
        logits: Tensor = self.head(self.features(x))
        return logits


class TextTransformer(Fitted):
    """Encoder of the size of BERT-base (Devlin et al. 2018, arXiv 1810.04805) at 768, 12, 12; mean of all tokens."""

    causal = False

    def __init__(self, width: int, depth: int, heads: int, tokens: int, vocabulary: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(0.3 * torch.randn(1, tokens, width))
        self.layers = nn.Sequential(*(TransformerLayer(width, heads, self.causal) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = self._head(width)

    def _head(self, width: int) -> nn.Linear:
        return nn.Linear(width, TEXT_CLASSES)

    def hidden(self, x: Tensor) -> Tensor:
        """Map tokens [batch, tokens] to [batch, tokens, width]."""
        found: Tensor = self.norm(self.layers(self.words(x) + self.position))
        return found

    def features(self, x: Tensor) -> Tensor:
        """Map tokens [batch, tokens] to [batch, width]."""
        return self.hidden(x).mean(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [batch, tokens] to logits [batch, classes]."""
        logits: Tensor = self.head(self.features(x))
        return logits


class Decoder(TextTransformer):
    """Language model of the size of GPT-2 at 768, 12, 12, 50257 tokens; words and the last layer share one matrix."""

    causal = True

    def _head(self, width: int) -> nn.Linear:
        return nn.Linear(width, width)

    def features(self, x: Tensor) -> Tensor:
        """Map tokens [batch, tokens] to [batch · tokens, width]."""
        return self.hidden(x).flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [batch, tokens] to the next one's logits [batch, tokens, vocabulary]."""
        return functional.linear(self.head(self.hidden(x)), self.words.weight)


def next_token(outputs: Sequence[NDArray[Any]], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the positions of each text whose most likely token is the next one, from 0 to 1."""
    right: NDArray[np.float64] = (outputs[0].argmax(-1) == targets).mean(axis=1)
    return right


next_token.unit = "%"  # type: ignore[attr-defined]


def images(split: str, count: int, side: int) -> tuple[Tensor, Tensor]:
    """The first images of a split of Fashion-MNIST, float32 [count, 3, side, side], and classes, int64 [count]."""
    x, y = fashion_mnist.load(split)
    grey = functional.interpolate(torch.from_numpy(x[:count]), size=(side, side), mode="bilinear")
    return grey.expand(-1, 3, -1, -1).contiguous(), torch.from_numpy(y[:count])


def texts(split: str, count: int, tokens: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Windows of source as hashed words, int64 [count, tokens + 1], and the package of each, int64 [count]."""
    windows, packages = sequences.packages(split, 8 * (tokens + 1))
    rows = [_words(bytes(window), tokens + 1, vocabulary) for window in windows[:count]]
    return torch.tensor(rows), torch.from_numpy(packages[:count])


def _words(text: bytes, count: int, vocabulary: int) -> list[int]:
    found = re.findall(rb"\w+|[^\w\s]|\s+", text)[:count]
    numbers = [1 + zlib.crc32(word) % (vocabulary - 1) for word in found]
    return numbers + [0] * (count - len(numbers))


def samples(plan: Plan, split: str, count: int) -> tuple[Tensor, Tensor]:
    """Inputs of a network, and what is right: classes [n], or the next token at each position [n, tokens]."""
    if plan.kind == "image":
        return images("t10k" if split == "test" else split, count, plan.size)
    words, packages = texts(split, count, plan.size, plan.vocabulary)
    return words[:, :-1].contiguous(), words[:, 1:].contiguous() if plan.kind == "decoder" else packages


def build(plan: Plan) -> Fitted:
    """The network with its statistics taken on, and its last layer fitted to, training samples."""
    torch.manual_seed(0)
    network = plan.make()
    _condition(network)
    x, y = samples(plan, "train", 96 if plan.kind == "decoder" else _FITTED_ON)
    with torch.no_grad():
        _take_statistics(network, x[:128])
        network.eval()
        # Features in bfloat16 are close enough to fit to, and a processor that has it takes a quarter of the time.
        with torch.autocast("cpu", torch.bfloat16):
            features = torch.cat([network.features(part).float() for part in torch.split(x, _BATCH)])
        _fit(network, features, y)
    return network


def _condition(network: nn.Module) -> None:
    """Weights that keep the scale of what they read; normalisations with a few wide channels."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.8 * module.in_features**-0.5)
            nn.init.normal_(module.bias, std=0.02)
        elif isinstance(module, nn.LayerNorm):
            size = module.weight.numel()
            nn.init.normal_(module.weight, 1.0, 0.2)
            module.weight.data[torch.randperm(size)[: max(2, size // 128)]] *= 6
            nn.init.normal_(module.bias, std=0.1)


def _take_statistics(network: nn.Module, x: Tensor) -> None:
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean over batches
    if norms:
        network.train()
        for part in torch.split(x, _BATCH):
            network(part)


def _fit(network: Fitted, features: Tensor, y: Tensor) -> None:
    """Ridge regression onto the classes, or for a decoder onto the embedding of the next token."""
    x = features.double()
    if isinstance(network, Decoder):
        wanted = network.words.weight[y.flatten()].double()
    else:
        classes = network.head.out_features
        wanted = 10 * functional.one_hot(y, classes).double() - 10 / classes
    mean_x, mean_y = x.mean(0), wanted.mean(0)
    x, wanted = x - mean_x, wanted - mean_y
    products = x.T @ x
    products += _RIDGE * products.diagonal().mean() * torch.eye(len(products), dtype=torch.float64)
    weight = torch.linalg.solve(products, x.T @ wanted).T
    network.head.weight.copy_(weight)
    network.head.bias.copy_(mean_y - weight @ mean_x)


def save(name: str, plan: Plan, network: nn.Module, count: int, directory: Path) -> None:
    """Write the network as ONNX and as a torch.export program, and samples to judge it by."""
    x, y = samples(plan, "test", count)
    np.savez(directory / f"{name}.npz", x=x.numpy(), y=y.numpy())
    axis = {"x": {0: torch.export.Dim("batch")}}
    example = x[:2].clone()  # not a view, whose whole storage would be saved
    program = torch.export.export(network, (example,), dynamic_shapes=axis)
    torch.export.save(program, directory / f"{name}.pt2")
    torch.onnx.export(
        network,
        (example,),
        directory / f"{name}.onnx",
        dynamo=True,
        opset_version=OPSET,
        input_names=["x"],
        output_names=["logits"],
        dynamic_shapes={"x": {0: "batch"}},
        external_data=False,
        verbose=False,
    )


def accuracy(network: nn.Module, plan: Plan, count: int) -> float:
    """Share of right answers on test samples, in percent."""
    x, y = samples(plan, "test", count)
    with torch.inference_mode():
        right = [
            (network(part).argmax(-1) == wanted).float().flatten()
            for part, wanted in zip(torch.split(x, 8), torch.split(y, 8), strict=True)
        ]
    return 100 * float(torch.cat(right).mean())


def missing(directory: Path, names: Sequence[str]) -> Iterator[str]:
    """Yield the names of the networks that are not in the directory yet."""
    for name in names:
        if not all((directory / f"{name}.{ending}").exists() for ending in ("onnx", "pt2", "npz")):
            yield name


def main() -> None:
    """Build, save and report."""
    plans = _plans()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("references/large"))
    parser.add_argument("--only", choices=list(plans), action="append", help="build this one; repeatable")
    parser.add_argument(
        "--samples", type=int, help="evaluation samples, instead of each network's own number"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only or plans:
        plan = plans[name]
        count = options.samples or plan.samples
        network = build(plan)
        save(name, plan, network, count, options.out)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        print(
            f"{name}: {parameters:,} parameters, {accuracy(network, plan, min(count, 64)):.1f} %", flush=True
        )


if __name__ == "__main__":
    main()
