"""A mixture-of-experts decoder, trained here, with half of its experts, with and without distillation, in 8 and 4 bits.

    python -m benchmarks run mixture_decoder                       # trains in four minutes; some ten in all
    python -m benchmarks run mixture_decoder references/mixture    # keeps the decoder, and takes it over the next time

The decoder is of Qwen3-MoE's kind: 3.9 million weights, four layers of eight experts, two of which read each token. It
learns docstrings of installed packages, with the usual penalty on experts that get more tokens than others, so that
all are used. ``drop_experts`` keeps the four of each layer that docstrings it was not trained on are sent to most.
Perplexity is over whole documents, with half of its 95 % interval; a step makes one token, and its time is over fp32's,
in turns with it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import results
from benchmarks.data.docstrings import documents
from benchmarks.networks import small_decoder
from benchmarks.networks.small_decoder import DOCUMENTS

if TYPE_CHECKING:
    from torch import Tensor

    from compress.recipe import Recipe

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 128,
    "intermediate_size": 256,
    "moe_intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
VOCABULARY = 4096

#: Weight of the penalty on unequal use of experts; Mixtral's settings have the same.
_BALANCE = 0.02

#: Documents to judge on; those that follow are trained on.
JUDGED = 64


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="mixture-decoder-") as scratch:
        model = arguments.directory or Path(scratch) / "model"
        if not (model / "config.json").exists():
            steps, loss = trained(model, arguments.train_seconds, arguments.threads, arguments.seed)
            print(f"{model}: {steps} steps, mean loss of the last tenth {loss:.3f} nats a token", flush=True)
        rows = compared(model, arguments, Path(scratch))
    results.record("builds", rows)
    for row in rows:
        print(
            f"{row['build']:22} perplexity {row['perplexity']:.2f} ± {row['half']:.2f} "
            f"({row['change']:+.1%}), {row['bytes'] / 1e6:.2f} MB, "
            f"step {row['ratio']:.3f} × fp32's {row['fp32_ms']:.3f} ms",
            flush=True,
        )
    return 0


def trained(directory: Path, seconds: float, threads: int, seed: int) -> tuple[int, float]:
    """Train the decoder and write its directory; return the number of steps, and the loss of the last ones."""
    import torch

    from compress.language.module import DecoderModule

    class Watched(DecoderModule):
        """A decoder that keeps how its layers chose experts in the last batch."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.choices: list[Tensor] = []

        def forward(self, ids: Tensor) -> Tensor:
            self.choices.clear()
            return super().forward(ids)

        def _mixture(self, at: str, source: Tensor) -> Tensor:
            self.choices.append(self._linear(f"{at}.gate", source).flatten(0, -2))
            return super()._mixture(at, source)

    def penalty(decoder: Any) -> Tensor:
        """The product of the tokens sent to each expert and of its mean share, least where all are alike."""
        count, chosen = CONFIG["num_experts"], CONFIG["num_experts_per_tok"]
        sums = []
        for logits in decoder.choices:
            shares = torch.softmax(logits, -1)
            sent = torch.zeros_like(shares).scatter(1, shares.topk(chosen).indices, 1.0)
            sums.append(count * (sent.mean(0) * shares.mean(0)).sum())
        return _BALANCE * torch.stack(sums).mean()

    return small_decoder.trained(
        directory, seconds, threads, seed, CONFIG, VOCABULARY, kind=Watched, penalty=penalty
    )


def compared(model: Path, arguments: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """Return a row for each build that ``compress optimize`` measured."""
    import compress
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter

    texts = documents(DOCUMENTS + arguments.documents, seed=0)[DOCUMENTS:]
    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        result = compress.optimize(
            model,
            data=_written(scratch / "judged.jsonl", texts[:JUDGED]),
            train_data=_written(scratch / "given.jsonl", texts[JUDGED:]),
            recipes=recipes(arguments),
            max_drop=100.0,
            threads=1,
            seconds=arguments.seconds,
            cache=scratch / "cache",  # the distilled half is built twice
            out=scratch / "build",
            reporter=reporter,
        )
    rows: list[dict[str, Any]] = []
    for candidate in result.candidates:
        profile = candidate.profile
        if profile is None or profile.accuracy is None:
            print(f"{candidate.recipe.name}: {candidate.failure or candidate.rejected}", flush=True)
            continue
        accuracy, first = profile.accuracy, profile.latency[0]
        original = rows[0]["perplexity"] if rows else accuracy.mean
        rows.append(
            {
                "build": candidate.recipe.name,
                "perplexity": accuracy.mean,
                "half": (accuracy.interval.high - accuracy.interval.low) / 2,
                "change": accuracy.mean / original - 1,
                "bytes": profile.artifact_bytes,
                "ratio": 1.0 if first.ratio is None else first.ratio,
                "fp32_ms": rows[0]["fp32_ms"] if rows else first.p50_ms,
                "drop_experts": candidate.reports.get("drop_experts"),
            }
        )
    return rows


def recipes(arguments: argparse.Namespace) -> list[Recipe]:
    """Return what is compared with the decoder as it is."""
    from compress.recipe import Recipe, Step

    half = Step("drop_experts", {"remove": 0.5})
    settings = {
        "epochs": arguments.epochs,
        "epoch_samples": arguments.epoch_samples,
        "batch_size": 16,
        "window": 128,
        "learning_rate": 1e-3,
        "label_weight": 0.3,
        "average": 0.9,
        "held_out": 0.05,
    }
    train, train_4 = Step("distill", settings), Step("distill", {**settings, "weight_bits": 4})
    int8, int4 = (
        Step("weight_only", {"algorithm": "rtn", "compute": "int8", "bits": bits}) for bits in (8, 4)
    )
    return [
        Recipe("int8", (int8,)),
        Recipe("int4", (int4,)),
        Recipe("half", (half,)),
        Recipe("half-int4", (half, int4)),
        Recipe("half-distilled", (half, train)),
        Recipe("half-distilled-int8", (half, train, int8)),
        Recipe("half-distilled-int4", (half, train_4, int4)),
    ]


def _written(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, nargs="?", help="of the decoder")
    parser.add_argument("--train-seconds", type=float, default=240.0, help="of training, where there is none")
    parser.add_argument("--documents", type=int, default=300, help="of the user's text")
    parser.add_argument("--epochs", type=int, default=3, help="of distillation")
    parser.add_argument("--epoch-samples", type=int, default=768, help="windows of 128 tokens in an epoch")
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing per build")
    parser.add_argument("--threads", type=int, default=2, help="of training; a step is timed with one")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
