"""Train a small encoder–decoder on a task made here, compress it, and hold the bundle's answers against the original's.

    python -m benchmarks run text_to_text t5 DIR [--steps 600] [--inputs 200] [--max-drop 1]
    python -m benchmarks run text_to_text whisper DIR

``t5`` learns to write words in reverse order; ``whisper`` to name the tones that a spectrum holds. Training takes about
a minute on one core. DIR then holds the model as transformers saves it, its data, and the bundle.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

#: Words of the texts, and how many one holds.
_WORDS = (
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "glade",
    "heron",
    "inlet",
    "juniper",
    "kelp",
    "lotus",
)
_LENGTHS = (2, 8)

#: Tones, bands and frames of a spectrum, and frames of a tone.
_TONES = ("c", "d", "e", "f", "g", "a", "b")
_BANDS, _FRAMES, _TONE = 20, 120, 16

#: Special tokens, by their ids.
_T5_TOKENS = ("<pad>", "</s>", "<unk>")
_WHISPER_TOKENS = ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>", "<unk>")


def texts(count: int, seed: int) -> list[tuple[str, str]]:
    """Return texts of words, each with its words in reverse order."""
    random = np.random.default_rng(seed)
    chosen = [random.choice(_WORDS, random.integers(*_LENGTHS)).tolist() for _ in range(count)]
    return [(" ".join(words), " ".join(reversed(words))) for words in chosen]


def tones(count: int, seed: int) -> tuple[NDArray[np.float32], list[str]]:
    """Return log-mel spectra of tones in noise, float32 [count, bands, frames], and the names of the tones."""
    random = np.random.default_rng(seed)
    spectra = random.normal(0, 0.3, (count, _BANDS, _FRAMES)).astype(np.float32)
    names = []
    for spectrum in spectra:
        heard = random.integers(0, len(_TONES), random.integers(*_LENGTHS))
        at = int(random.integers(0, 6))
        for tone in heard:
            length = _TONE + int(random.integers(-2, 2))
            spectrum[2 * tone : 2 * tone + 3, at : at + length - 3] += 2
            at += length
        names.append(" ".join(_TONES[tone] for tone in heard))
    return spectra, names


def _tokenizer(words: tuple[str, ...], special: tuple[str, ...], template: str) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {word: number for number, word in enumerate((*special, *words))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([*special])
    named = [(each, ids[each]) for each in template.split() if each in ids]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=named)
    return tokenizer


def t5(directory: Path, steps: int) -> Any:
    """Train a T5 to write words in reverse order, and save it; return the network."""
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = _tokenizer(_WORDS, _T5_TOKENS, "$A </s>")
    network = T5ForConditionalGeneration(
        T5Config(
            vocab_size=tokenizer.get_vocab_size(),
            d_model=96,
            d_kv=24,
            d_ff=192,
            num_layers=2,
            num_heads=4,
            relative_attention_num_buckets=16,
            relative_attention_max_distance=32,
            decoder_start_token_id=0,
            dropout_rate=0.0,
        )
    )

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        for step in range(steps):
            pairs = texts(64, 1000 + step)
            source, target = ([tokenizer.encode(pair[at]).ids for pair in pairs] for at in (0, 1))
            ids = _padded(source, 0)
            mask = (ids != 0).long()
            yield {"input_ids": ids, "attention_mask": mask, "labels": _padded(target, -100)}

    _train(network, batches(), steps)
    return _saved(network, tokenizer, directory)


def whisper(directory: Path, steps: int) -> Any:
    """Train a Whisper to name the tones of spectra, and save it; return the network."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    template = "<|startoftranscript|> <|notimestamps|> $A <|endoftext|>"
    tokenizer = _tokenizer(_TONES, _WHISPER_TOKENS, template)
    network = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=tokenizer.get_vocab_size(),
            num_mel_bins=_BANDS,
            max_source_positions=_FRAMES // 2,
            max_target_positions=32,
            d_model=96,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=192,
            decoder_ffn_dim=192,
            decoder_start_token_id=1,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            begin_suppress_tokens=None,
        )
    )

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        for step in range(steps):
            spectra, names = tones(32, 1000 + step)
            ids = [tokenizer.encode(each).ids for each in names]
            yield {
                "input_features": torch.from_numpy(spectra),
                "decoder_input_ids": _padded([each[:-1] for each in ids], 0),
                "labels": _padded([each[1:] for each in ids], -100),
            }

    _train(network, batches(), steps)
    return _saved(network, tokenizer, directory)


def _padded(rows: list[list[int]], filler: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])


def _train(network: Any, batches: Iterator[dict[str, torch.Tensor]], steps: int) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    network.train()
    for number, batch in enumerate(batches):
        loss = network(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if number % 200 == 0 or number == steps - 1:
            print(f"step {number}: loss {loss.item():.4f}", flush=True)


def _saved(network: Any, tokenizer: Any, directory: Path) -> Any:
    network.eval().save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    return network


def data(kind: str, directory: Path, count: int) -> Path:
    """Write inputs with their answers; return the file."""
    if kind == "t5":
        path = directory / "pairs.jsonl"
        lines = [json.dumps({"input": one, "target": other}) for one, other in texts(count, 7)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path
    path = directory / "tones.npz"
    spectra, names = tones(count, 7)
    np.savez(path, features=spectra, targets=np.array(names))
    return path


def inputs(kind: str, count: int) -> list[Any]:
    """Return inputs that neither training nor data holds on purpose: texts, or spectra."""
    return [one for one, _ in texts(count, 5)] if kind == "t5" else list(tones(count, 5)[0])


def original_answer(kind: str, network: Any, tokenizer: Any, source: Any, most: int = 16) -> str:
    """Return the greedy answer of the network in torch, computed again from its beginning for each token."""
    if kind == "t5":
        read, written = {"input_ids": torch.tensor([tokenizer.encode(source).ids])}, [0]
        ends = 1
    else:
        read, written = {"input_features": torch.from_numpy(source)[None]}, tokenizer.encode("").ids[:-1]
        ends = 0
    begin = len(written)
    with torch.no_grad():
        while len(written) - begin < most:
            logits = network(**read, decoder_input_ids=torch.tensor([written])).logits
            token = int(logits[0, -1].argmax())
            if token == ends:
                break
            written.append(token)
    return str(tokenizer.decode(written[begin:]))


def told(figures: dict[str, float]) -> str:
    """Return figures in words."""
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items()) or "the original"


def main() -> None:
    """Train, compress and compare."""
    import compress

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("t5", "whisper"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--inputs", type=int, default=200)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--max-drop", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = given.directory / "model"
    model.mkdir(parents=True, exist_ok=True)
    network = {"t5": t5, "whisper": whisper}[given.kind](model, given.steps)
    samples = data(given.kind, given.directory, given.samples)
    result = compress.optimize(
        model,
        data=samples,
        target="cpu",
        out=given.directory / "build",
        max_drop=given.max_drop,
        seconds=given.seconds,
    )
    for candidate in result.candidates:
        profile = candidate.profile
        if profile is None or profile.accuracy is None:
            print(f"{candidate.recipe.name}: {candidate.failure}")
            continue
        print(
            f"{candidate.recipe.name}: perplexity {profile.accuracy.mean:.4f}, {told(profile.accuracy.beside)}, "
            f"{profile.latency[0].p50_ms:.2f} ms an answer, {profile.artifact_bytes / 1e6:.2f} MB"
        )
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    given_inputs = inputs(given.kind, given.inputs)
    if result.bundle is None:
        raise SystemExit("no build is inside the margin")
    with compress.load_bundle(given.directory / "build") as bundle:
        found = ["".join(bundle.generate(each, max_new_tokens=16)) for each in given_inputs]
        name = bundle.recipe.name
    wanted = [original_answer(given.kind, network, tokenizer, each) for each in given_inputs]
    equal = sum(one == other for one, other in zip(found, wanted, strict=True))
    print(f"{name}: the bundle's greedy answer equals the original's on {equal} of {len(wanted)} inputs")
    print(f"for example: {wanted[0]!r}, and {found[0]!r}")


if __name__ == "__main__":
    main()
