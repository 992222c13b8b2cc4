"""A decoder of LLaMA's kind of 5.8 million weights, trained here on docstrings of installed packages.

    python -m benchmarks run small_decoder references/decoder                    # about eight minutes on two cores
    python -m benchmarks run small_decoder references/decoder --seconds 120      # less

It writes what transformers' save_pretrained would: config.json, model.safetensors and tokenizer.json. The tokenizer is
a byte-level BPE of the same text. Windows of 128 tokens in batches of 16, AdamW, a cosine over the time that is given;
with another machine, or other work beside it, the number of steps is another one, which is printed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.data.docstrings import documents

if TYPE_CHECKING:
    from torch import Tensor

    from compress.language.module import DecoderModule

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 192,
    "intermediate_size": 576,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
VOCABULARY = 12288
WINDOW, BATCH, LEARNING_RATE = 128, 16, 3e-3

#: Documents of the text that it is trained on; those that follow are for whoever judges it.
DOCUMENTS = 1400


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seconds", type=float, default=480.0, help="of training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    steps, loss = trained(arguments.directory, arguments.seconds, arguments.threads, arguments.seed)
    print(f"{arguments.directory}: {steps} steps, mean loss of the last tenth {loss:.3f} nats a token")
    return 0


def trained(
    directory: Path,
    seconds: float,
    threads: int,
    seed: int,
    settings: Mapping[str, Any] = CONFIG,
    vocabulary: int = VOCABULARY,
    kind: type[DecoderModule] | None = None,
    penalty: Callable[[Any], Tensor] | None = None,
) -> tuple[int, float]:
    """Train a decoder and write its directory; return the number of steps, and the loss of the last ones.

    Args:
        directory: Directory, which is made.
        seconds: Seconds of training.
        threads: Threads of torch.
        seed: Seed of weights and windows.
        settings: Settings as config.json has them, but the size of the vocabulary.
        vocabulary: Tokens of the tokenizer, at the most.
        kind: Class of the module that is trained; None for the plain one.
        penalty: Function from that module, after a batch, to what is added to its loss; None for nothing.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812
    from safetensors.numpy import save_file

    from compress.language.families import config_of
    from compress.language.fields import Fields
    from compress.language.module import DecoderModule
    from compress.language.weights import expected_shapes

    torch.set_num_threads(threads)
    texts = documents(DOCUMENTS, seed=0)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(texts, vocabulary)
    tokenizer.save(str(directory / "tokenizer.json"))
    written = {**settings, "vocab_size": tokenizer.get_vocab_size()}
    config = config_of(Fields(written, "config.json"))
    ids = np.concatenate([[0, *encoded.ids] for encoded in tokenizer.encode_batch(texts)])
    random = np.random.default_rng(seed)
    scale = 0.02
    weights = {
        name: np.ones(shape, np.float32)
        if len(shape) == 1
        else random.normal(0, scale, shape).astype(np.float32)
        for name, shape in expected_shapes(config).items()
    }
    decoder = (kind or DecoderModule)(config, weights)
    optimizer = torch.optim.AdamW(decoder.parameters(), LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1)
    losses: list[float] = []
    start = time.perf_counter()
    while (share := (time.perf_counter() - start) / seconds) < 1:
        rate = (
            LEARNING_RATE
            * min(1.0, (len(losses) + 1) / 50)
            * (0.05 + 0.95 * (1 + math.cos(math.pi * share)) / 2)
        )
        optimizer.param_groups[0]["lr"] = rate
        places = random.integers(0, len(ids) - WINDOW - 1, BATCH)
        batch = torch.from_numpy(np.stack([ids[place : place + WINDOW + 1] for place in places]))
        logits = decoder(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        (loss if penalty is None else loss + penalty(decoder)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if len(losses) % 100 == 0:
            spent = time.perf_counter() - start
            print(f"step {len(losses)}, {spent:.0f} s: {np.mean(losses[-100:]):.3f} nats a token", flush=True)
    save_file(decoder.arrays(), directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(written, indent=2), encoding="utf-8")
    last = losses[-max(1, len(losses) // 10) :]
    return len(losses), float(np.mean(last))


def _tokenizer(texts: list[str], vocabulary: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


if __name__ == "__main__":
    raise SystemExit(main())
