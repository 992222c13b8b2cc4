"""Builds that compress ships of networks without labels, held against their labels afterwards.

    python -m benchmarks run judging.shipping [--only spoken] [--cache DIRECTORY] [--samples 1000] [--seconds 2]

Each network of the study (:mod:`benchmarks.studies.judging.prepare`) is optimized three times with the same samples:
without labels as compress judges now; without labels by agreement, as it judged before (the share of samples whose
largest class is the original's, whatever the output holds); and with the labels, where the metric is one that the
command has. What is shipped then answers all samples of the study, and the labels tell its true drop.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.studies.judging.cache import place
from benchmarks.studies.judging.data import Array, Data, as_input, kept
from benchmarks.studies.judging.subjects import SUBJECTS, Subject
from benchmarks.studies.judging.training import Clock, train
from compress import OptimizeResult, load_bundle, optimize
from compress.metrics import Metric
from compress.metrics.unlabelled.rows import kept_metric

#: Without labels: classes, pitch, text, tokens, embeddings, a map and numbers; one underconfident, one of cosines.
NAMES = (
    "fashion_resnet",
    "underconfident",
    "cosine_head",
    "packages",
    "tagger",
    "embedding_views",
    "scene_parts",
    "pitch",
)

#: Metrics with labels that the command has, by what an output holds.
_WITH_LABELS = {"classes": "top-1"}

_BATCH = 100


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=SUBJECTS, action="append", help="this network; repeatable")
    parser.add_argument("--cache", type=Path, help="directory of what prepare kept")
    parser.add_argument("--samples", type=int, default=1000, help="that are judged")
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing, as --seconds of optimize")
    options = parser.parse_args()
    print(
        f"{'network':16} {'judged':>10} {'shipped':>22} {'told drop':>10} {'at most':>8} {'true drop':>10} "
        f"{'ratio':>6} {'seconds':>8}"
    )
    rows = []
    for name in options.only or NAMES:
        subject, directory = SUBJECTS[name], place(options.cache) / name
        data = kept(directory / "data.npz", subject.data) if subject.kept_data else subject.data()
        ways = {"now": _by_kind(subject), "before": agreement_before(subject.axis)}
        if subject.kind in _WITH_LABELS:
            ways["labels"] = _WITH_LABELS[subject.kind]
        row: dict[str, Any] = {"network": name}
        for way, metric in ways.items():
            row[way] = _figures(subject, directory, data, metric, options)
            print(_told(name, way, row[way]), flush=True)
        rows.append(row)
    results.record("shipped", rows)
    return 0


def _figures(
    subject: Subject, directory: Path, data: Data, metric: Any, options: argparse.Namespace
) -> dict[str, Any] | None:
    network = train(
        subject.make,
        data.training,
        subject.loss,
        subject.augment,
        subject.schedule,
        directory,
        Clock(float("inf")),
        0,
    )
    x = as_input(data.evaluation.x[: options.samples]).numpy()
    arrays = {"x": x, "y": data.evaluation.y[: options.samples]}
    with tempfile.TemporaryDirectory(prefix="compress-") as scratch:
        out, given = Path(scratch) / "build", Path(scratch) / "val.npz"
        if isinstance(metric, str):
            np.savez(given, **arrays)  # type: ignore[arg-type]
        else:
            np.savez(given, x=x)
        started = time.perf_counter()
        result = optimize(network, data=given, metric=metric, out=out, seconds=options.seconds)
        seconds = time.perf_counter() - started
        true = _true_drop(subject, out, data, network) if result.bundle is not None else None
    return _shipped(result, true, seconds)


def _shipped(result: OptimizeResult, true: float | None, seconds: float) -> dict[str, Any] | None:
    """Drops in points, the time of the shipped build over fp32's, and seconds of the run; None where none ships."""
    chosen = result.choice.candidate
    if chosen is None or chosen.profile is None or true is None:
        return None
    accuracy, latency = chosen.profile.accuracy, chosen.profile.latency[0]
    drop = None if accuracy is None else accuracy.drop
    return {
        "shipped": chosen.recipe.name,
        "drop_points": None if drop is None else drop.points,
        "drop_at_most": None if drop is None else drop.interval.high,
        "true_drop": true,
        "time_over_fp32": latency.ratio or 1.0,
        "seconds": round(seconds),
    }


def _told(name: str, way: str, row: dict[str, Any] | None) -> str:
    if row is None:
        return f"{name:16} {way:>10} {'nothing':>22}"
    return (
        f"{name:16} {way:>10} {row['shipped']:>22} {row['drop_points'] or 0.0:10.2f} "
        f"{row['drop_at_most'] or 0.0:8.2f} {row['true_drop']:10.2f} {row['time_over_fp32']:6.2f} {row['seconds']:8d}"
    )


def _by_kind(subject: Subject) -> Any:
    """The kind of the output, where the graph alone would not show it: classes of bare scores."""
    named = {"map": "classes", "tokens": "tokens"}
    kind = named.get(subject.kind, subject.kind)
    return {"output": kind} if kind in ("classes", "tokens") and subject.form != "probabilities" else None


def agreement_before(axis: int | None) -> Metric:
    """The share of positions whose largest channel is the original's, along axis 1 where nothing tells another."""

    def per_sample(
        outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None
    ) -> Array:
        assert reference is not None
        ours, theirs = (each[0].argmax(axis or 1) for each in (outputs, reference))
        same: Array = (ours == theirs).reshape(len(ours), -1).mean(1, dtype=np.float64)
        return same

    return replace(kept_metric("", per_sample), name="agreement-before", outputs=())


def _true_drop(subject: Subject, out: Path, data: Data, network: Any) -> float:
    import torch

    build = load_bundle(out)
    answers: dict[str, list[Array]] = {"original": [], "build": []}
    for start in range(0, len(data.evaluation), _BATCH):
        x = as_input(data.evaluation.x[start : start + _BATCH])
        with torch.no_grad():
            answers["original"].append(network(x).numpy())
        answers["build"].append(build.run(x.numpy())[0])
    original, ours = (np.concatenate(each) for each in answers.values())
    labels, truth = data.evaluation.y, subject.truth
    return truth.drop(
        truth.find(original, labels, original).metric, truth.find(ours, labels, original).metric
    )


if __name__ == "__main__":
    sys.exit(main())
