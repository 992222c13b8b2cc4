"""A decoder with fewer tokens, layers, neurons and heads, distilled and in 4 bits, against the same in 4 bits alone.

    python -m benchmarks run small_decoder references/decoder     # once: trains it on docstrings, about eight minutes
    python -m benchmarks run decoder_pruning references/decoder   # --epochs, --share, --documents in --help

The user's text are docstrings that the decoder was not trained on: some to judge on, the others to train on. Perplexity
is that of `compress optimize` over whole documents, with half of its 95 % interval; times are those of a decoding step
over fp32's, in turns with it. The second table is a vocabulary trimmed to a few documents: on these, the share of
tokens at which the likeliest next one is that of the whole vocabulary's decoder, and whether all are taken apart alike.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.data.docstrings import documents
from benchmarks.networks.small_decoder import DOCUMENTS

#: Documents to judge on.
JUDGED = 64


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--documents", type=int, default=300, help="of the user's text")
    parser.add_argument(
        "--few", type=int, default=6, help="documents that the vocabulary is trimmed to by 80 %%"
    )
    parser.add_argument("--share", type=float, default=0.45, help="of a step's time, to prune to")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--epoch-samples", type=int, default=1024, help="windows of 128 tokens in an epoch")
    parser.add_argument("--threads", type=int, default=1, help="of the decoding step")
    arguments = parser.parse_args()
    texts = documents(DOCUMENTS + arguments.documents, seed=0)[DOCUMENTS:]
    trimmed = trimmed_alone(arguments.model, texts[: arguments.few])
    results.record("trimmed", [trimmed])
    print(
        f"{trimmed['documents']} documents: {trimmed['tokens']} of {trimmed['whole']} tokens kept "
        f"({1 - trimmed['tokens'] / trimmed['whole']:.1%} removed); taken apart alike: {trimmed['alike']}; "
        f"the same likeliest token at {trimmed['agreement']:.2%} of {trimmed['places']} places",
        flush=True,
    )
    rows = compared(arguments, texts)
    results.record("builds", rows)
    for row in rows:
        print(
            f"{row['build']:12} perplexity {row['perplexity']:.2f} ± {row['half']:.2f}, "
            f"step {row['ratio']:.3f} × fp32's {row['fp32_ms']:.3f} ms, {row['bytes'] / 1e6:.2f} MB",
            flush=True,
        )
    by_name = {row["build"]: row for row in rows}
    if {"int4", "smaller-int4"} <= by_name.keys():
        faster = by_name["int4"]["ratio"] / by_name["smaller-int4"]["ratio"]
        change = by_name["smaller-int4"]["perplexity"] / by_name["int4"]["perplexity"] - 1
        print(f"smaller-int4 against int4: {faster:.2f} times faster, perplexity {change:+.1%}")
    return 0


def compared(arguments: argparse.Namespace, texts: list[str]) -> list[dict[str, Any]]:
    """Return a row for each build that `compress optimize` measured."""
    import compress
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter
    from compress.recipe import Recipe, Step

    rounding = Step("weight_only", {"algorithm": "rtn", "compute": "int8"})
    training = {
        "epochs": arguments.epochs,
        "epoch_samples": arguments.epoch_samples,
        "batch_size": 16,
        "window": 128,
        "learning_rate": 1.5e-3,
        "label_weight": 0.3,
        "average": 0.9,
        "held_out": 0.03,
        "weight_bits": 4,
    }
    smaller = (
        Step("trim_vocabulary"),
        Step("prune", {"latency_share": arguments.share, "timing_precision": "int4"}),
        Step("distill", training),
        rounding,
    )
    with tempfile.TemporaryDirectory() as scratch, TerminalReporter(PlainConsole(stderr=True)) as reporter:
        judged = _written(Path(scratch) / "judged", texts[:JUDGED])
        given = _written(Path(scratch) / "given", texts[JUDGED:])
        found = compress.optimize(
            arguments.model,
            data=judged,
            train_data=given,
            recipes=[Recipe("int4", (rounding,)), Recipe("smaller-int4", smaller)],
            max_drop=100.0,
            threads=arguments.threads,
            seconds=2.0,
            out=Path(scratch) / "build",
            reporter=reporter,
        )
        rows = []
        for candidate in found.candidates:
            profile = candidate.profile
            if profile is None or profile.accuracy is None:
                print(f"{candidate.recipe.name}: {candidate.rejected}")
                continue
            first = profile.latency[0]
            interval = profile.accuracy.interval
            rows.append(
                {
                    "build": candidate.recipe.name,
                    "perplexity": profile.accuracy.mean,
                    "half": (interval.high - interval.low) / 2,
                    "ratio": 1.0 if first.ratio is None else first.ratio,
                    "fp32_ms": found.candidates[0].profile.latency[0].p50_ms,
                    "bytes": profile.artifact_bytes,
                    "reports": {name: candidate.reports.get(name) for name in ("prune", "trim_vocabulary")},
                }
            )
        return rows


def trimmed_alone(model: Path, texts: list[str]) -> dict[str, Any]:
    """Return how a vocabulary trimmed to some documents does on these."""
    from compress.language.decoder_network import changeable
    from compress.language.documents import IDS, MASK, PAST
    from compress.language.network import load_decoder
    from compress.language.trimming import with_vocabulary
    from compress.language.vocabulary import needed_tokens, trimmed
    from compress.onnx_graph.sessions import open_session

    network = changeable(load_decoder(model).network, "trim_vocabulary")
    parts = network.parts
    ids = [np.array(parts.tokenizer.encode(text).ids[: parts.config.context], np.int64) for text in texts]
    found = trimmed(parts.tokenizer, needed_tokens(ids, parts.tokenizer), parts.config.eos)
    smaller = network.with_parts(with_vocabulary(parts, found))
    kept = np.array(found.spelling.kept)
    alike, agreeing, places = True, 0, 0
    sessions = [open_session(each.to_onnx()) for each in (network, smaller)]
    empty = {
        spec.name: np.zeros((1, int(spec.shape[1]), 0, int(spec.shape[3])), np.float32)
        for spec in network.inputs
        if spec.name.startswith(PAST)
    }
    for document in ids:
        own, _ = found.spelling.spelled(document)
        text = parts.tokenizer.decode(document.tolist(), skip_special_tokens=False)
        if parts.tokenizer.encode(text).ids == document.tolist():
            alike &= found.tokenizer.encode(text).ids == own.tolist()
        logits = [
            session.run(["logits"], {IDS: each[None], MASK: np.ones((1, len(each)), np.int64), **empty})[0][0]
            for session, each in zip(sessions, (document, own), strict=True)
        ]
        agreeing += int((kept[logits[1].argmax(1)] == logits[0].argmax(1)).sum())
        places += len(document)
    return {
        "documents": len(texts),
        "tokens": len(kept),
        "whole": parts.config.vocabulary,
        "alike": bool(alike),
        "agreement": agreeing / places,
        "places": places,
    }


def _written(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


if __name__ == "__main__":
    raise SystemExit(main())
