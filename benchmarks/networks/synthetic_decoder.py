"""A decoder of any size with random weights, as transformers saves one: shards in bfloat16, an index, and a tokenizer.

    python -m benchmarks run synthetic_decoder big [--parameters 3e9] [--vocabulary 128256] [--shard-gb 2]

Weights are slices of one pool of normal numbers, drawn from a seed and begun at a place that the tensor's name tells:
the same call writes the same bytes, as fast as the disk takes them, with a few hundred megabytes in memory. The
tokenizer is a byte-level BPE, made of the pages in docs/; the rows of the embedding behind its tokens are never read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.language.families import read_config
from compress.language.weights import expected_shapes

ROOT = Path(__file__).parents[2]
HEAD = 128
POOL = 1 << 25
SHARE_OF_DISK = 0.8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--parameters", type=float, default=3e9)
    parser.add_argument("--vocabulary", type=int, default=128_256, help="rows of the embedding")
    parser.add_argument("--untied", action="store_true", help="give the head a matrix of its own")
    parser.add_argument("--shard-gb", type=float, default=2.0)
    arguments = parser.parse_args()
    count = write_decoder_directory(
        arguments.directory,
        arguments.parameters,
        vocabulary=arguments.vocabulary,
        tied=not arguments.untied,
        shard_bytes=int(arguments.shard_gb * 1e9),
    )
    print(f"{arguments.directory}: {count:,} parameters, {2 * count / 1e9:.2f} GB in bfloat16")


def write_decoder_directory(
    directory: Path,
    parameters: float,
    *,
    vocabulary: int = 128_256,
    tied: bool = True,
    shard_bytes: int = 2 * 10**9,
) -> int:
    """Write a decoder in LLaMA's form, and return its number of parameters.

    Args:
        directory: Directory to make.
        parameters: Number of parameters to come near to.
        vocabulary: Number of rows of the embedding.
        tied: Whether the head has the embedding's weights.
        shard_bytes: Size of a file of weights, in bytes; one tensor at least.
    """
    directory.mkdir(parents=True)
    free = shutil.disk_usage(directory).free
    if 2 * parameters > SHARE_OF_DISK * free:
        raise SystemExit(f"{2 * parameters / 1e9:.1f} GB do not fit: {free / 1e9:.1f} GB are free")
    tokens = _tokenizer(directory / "tokenizer.json", min(vocabulary, 4096))
    config = _sizes(parameters, max(vocabulary, tokens), tied)
    (directory / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    shapes = expected_shapes(read_config(directory))
    shards = list(_shards(shapes, shard_bytes))
    index: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_shard(directory / file, {name: shapes[name] for name in names})
        index |= dict.fromkeys(names, file)
    total = sum(map(math.prod, shapes.values()))
    listed = {"metadata": {"total_size": 2 * total}, "weight_map": index}
    (directory / "model.safetensors.index.json").write_text(json.dumps(listed), encoding="utf-8")
    return total


def _sizes(parameters: float, vocabulary: int, tied: bool) -> dict[str, Any]:
    hidden = next(
        (size for least, size in ((2e9, 3072), (4e8, 2048), (5e7, 1024)) if parameters >= least), 256
    )
    heads, intermediate = hidden // HEAD, hidden * 8 // 3 // 256 * 256
    kv_heads = math.gcd(heads, 8)
    layer = hidden * (2 * hidden + 2 * kv_heads * HEAD) + 3 * hidden * intermediate
    rest = parameters - (1 if tied else 2) * vocabulary * hidden
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": max(1, round(rest / layer)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 2048,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }


def _tokenizer(path: Path, size: int) -> int:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    texts = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").rglob("*.md"))]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))
    count: int = tokenizer.get_vocab_size()
    return count


def _shards(shapes: dict[str, tuple[int, ...]], most: int) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, shape in shapes.items():
        if names and size + 2 * math.prod(shape) > most:
            yield names
            names, size = [], 0
        names.append(name)
        size += 2 * math.prod(shape)
    yield names


def _write_shard(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Write tensors behind a header that says where each lies: https://huggingface.co/docs/safetensors."""
    ends = list(accumulate(2 * math.prod(shape) for shape in shapes.values()))
    places = zip(shapes.items(), [0, *ends], ends, strict=False)
    header: dict[str, Any] = {
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
        for (name, shape), begin, end in places
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            for piece in _values(name, shape):
                file.write(piece.data)


_pool: NDArray[np.uint16] | None = None


def _values(name: str, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint16]]:
    global _pool
    if len(shape) == 1:
        yield np.full(shape, 0x3F80, np.uint16)  # ones
        return
    if _pool is None:
        normal = np.random.default_rng(0).standard_normal(POOL, np.float32) * np.float32(0.02)
        _pool = (normal.view(np.uint32) >> 16).astype(np.uint16)
    at = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little") % POOL
    left = math.prod(shape)
    while left:
        piece = _pool[at : at + left]
        yield piece
        at, left = 0, left - len(piece)


if __name__ == "__main__":
    main()
