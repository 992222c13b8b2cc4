"""An encoder of BERT's kind of 1.9 million weights, trained here to tell which package a passage documents.

    python -m benchmarks run topic_encoder references/topics                  # four minutes on two cores
    python -m benchmarks run topic_encoder references/topics --seconds 60     # less

It writes ``DIR/encoder`` as transformers' save_pretrained does, with its tokenizer, and the arrays that the tokenizer
makes of three sets of passages, of distinct source files (:mod:`benchmarks.data.passages`): ``train.npz``,
``given.npz`` to judge builds by, and ``held_out.npz`` for the end. AdamW, batches of 32, a rate that rises and falls
over the time that is given: on another machine, or beside other work, the number of steps is another one, which is
printed.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.passages import CLASSES, Part, passages

Arrays = dict[str, NDArray[np.int64]]

#: Tokens of a passage; longer ones are cut.
LENGTH = 48
VOCABULARY = 8192
WIDTH, LAYERS, HEADS = 128, 4, 4
BATCH, LEARNING_RATE = 32, 1e-3

#: File and passages of a class, at the most, of each part.
FILES: dict[Part, tuple[str, int]] = {
    "train": ("train.npz", 3000),
    "given": ("given.npz", 400),
    "held out": ("held_out.npz", 400),
}
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seconds", type=float, default=240.0, help="of training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write(arguments.directory, arguments.seconds, arguments.threads, arguments.seed)
    return 0


def write(directory: Path, seconds: float, threads: int, seed: int) -> None:
    """Write the passages and the encoder trained on them.

    Args:
        directory: Directory, which is made.
        seconds: Seconds of training.
        threads: Threads of torch.
        seed: Seed of the weights and of the order of the samples.
    """
    directory.mkdir(parents=True, exist_ok=True)
    texts = {part: passages(part, count, seed=0) for part, (_, count) in FILES.items()}
    tokenizer = _tokenizer(texts["train"][0])
    parts = {part: _arrays(tokenizer, *pair) for part, pair in texts.items()}
    for part, arrays in parts.items():
        np.savez(directory / FILES[part][0], **arrays)  # type: ignore[arg-type]
        print(
            f"{part}: {len(arrays['y'])} passages, {arrays['attention_mask'].sum(1).mean():.0f} tokens each"
        )
    network, steps, loss = _trained(parts["train"], seconds, threads, seed)
    network.save_pretrained(directory / "encoder")
    _save_tokenizer(tokenizer, directory / "encoder")
    right = accuracy(network, parts["held out"])
    print(f"{steps} steps, mean loss of the last tenth {loss:.3f}, {right:.2%} right on passages held out")


def accuracy(network: Any, arrays: Arrays) -> float:
    """Return the share of passages whose class the network names."""
    import torch

    network.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(arrays["y"]), 256):
            batch = {name: torch.from_numpy(array[start : start + 256]) for name, array in arrays.items()}
            labels = batch.pop("y")
            right += int((network(**batch).logits.argmax(1) == labels).sum())
    return right / len(arrays["y"])


def _trained(arrays: Arrays, seconds: float, threads: int, seed: int) -> tuple[Any, int, float]:
    """Return the trained network, the number of steps, and the loss of the last ones."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=LENGTH,
        num_labels=len(CLASSES),
        id2label=dict(enumerate(CLASSES)),
        label2id={name: label for label, name in enumerate(CLASSES)},
        hidden_dropout_prob=0.0,  # a passage is seen once or twice
        attention_probs_dropout_prob=0.0,
        pad_token_id=_SPECIAL.index("[PAD]"),
    )
    network = BertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.05)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    losses: list[float] = []
    start = time.perf_counter()
    while (share := (time.perf_counter() - start) / seconds) < 1:
        rise = min(1.0, (len(losses) + 1) / 50)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rise * (0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2)
        rows = torch.from_numpy(random.integers(0, len(arrays["y"]), BATCH))
        batch = {name: tensor[rows] for name, tensor in tensors.items()}
        loss = network(labels=batch.pop("y"), **batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if len(losses) % 100 == 0:
            spent = time.perf_counter() - start
            print(f"step {len(losses)}, {spent:.0f} s: loss {np.mean(losses[-100:]):.3f}", flush=True)
    return network.eval(), len(losses), float(np.mean(losses[-max(1, len(losses) // 10) :]))


def _tokenizer(texts: list[str]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=list(_SPECIAL), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, _SPECIAL.index(name)) for name in ("[CLS]", "[SEP]")]
    )
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    return tokenizer


def _arrays(tokenizer: Any, texts: list[str], labels: NDArray[np.int64]) -> Arrays:
    """Return what the network takes of passages, each int64 [n, length], and their labels."""
    encoded = tokenizer.encode_batch(texts)
    return {
        "input_ids": np.array([each.ids for each in encoded], np.int64),
        "attention_mask": np.array([each.attention_mask for each in encoded], np.int64),
        "y": labels,
    }


def _save_tokenizer(tokenizer: Any, directory: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=LENGTH,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(directory)


if __name__ == "__main__":
    raise SystemExit(main())
