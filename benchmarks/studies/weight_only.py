"""Integer weights of 4 and 8 bits, five ways to find them, side by side on the two transformers.

    python -m benchmarks run train --only vit --only text_encoder  # once
    python -m benchmarks run weight_only                           # both networks; --only, --bits, --samples in --help

For each algorithm: the size of the file over that of the fp32 ONNX file, accuracy on the evaluation data with half its
95 % interval, the drop against fp32 on the same samples with its upper 95 % bound, the time of one call over fp32's
(median over interleaved pairs in this process, batch 1, one thread) and how long quantization took. 'float32' and
'int8' say what the products are computed in; the weights in the file are the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from compress.backends.onnxruntime import OnnxRuntime
from compress.cli.figure_text import accuracy_text
from compress.data.task import Task, load_task
from compress.network.network import Network, load_network
from compress.profiling.accuracy import accuracy_of, outcomes_of
from compress.profiling.latency import Budget, sample_feeds
from compress.quantization.weights import ALGORITHMS
from compress.quantization.weights.settings import BITS, COMPUTE
from compress.records.profile import Accuracy, Latency
from compress.reports.figures import size_text
from compress.target.target import load_target
from compress.techniques.base import Context
from compress.techniques.weight_only import WeightOnly
from compress.timing.contest import times_against

#: Network → the folder of its data below ``references/data``.
NETWORKS = {"vit": "", "text_encoder": "packages"}
_OPTIONS = {"intra_op_threads": 1}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", type=Path, default=Path("references"))
    parser.add_argument("--only", choices=NETWORKS, nargs="*", default=list(NETWORKS))
    parser.add_argument("--algorithms", choices=ALGORITHMS, nargs="*", default=list(ALGORITHMS))
    parser.add_argument("--bits", type=int, choices=BITS, nargs="*", default=list(BITS))
    parser.add_argument("--compute", choices=COMPUTE, nargs="*", default=list(COMPUTE))
    parser.add_argument("--samples", type=int, default=10_000, help="of the evaluation data, at most")
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing per build")
    arguments = parser.parse_args()

    table = Table(title="weight-only, one thread", title_justify="left")
    headings = (
        "network",
        "bits",
        "algorithm",
        "computed in",
        "size",
        "of fp32",
        "accuracy",
        "drop (at most)",
    )
    for heading in (*headings, "× fp32 time", "seconds"):
        table.add_column(heading, no_wrap=True)
    for name in arguments.only:
        for row in compare(name, arguments):
            table.add_row(name, *row)
    Console(width=160 if not sys.stdout.isatty() else None).print(table)
    return 0


def compare(name: str, arguments: argparse.Namespace) -> list[list[str]]:
    """A row for fp32 and one for each setting."""
    data = arguments.references / "data" / NETWORKS[name]
    task = load_task(data / "val.npz", calibration_data=data / "calibration.npz")
    network = load_network(arguments.references / f"{name}.pt2")
    task = task.bind(network.inputs, network.outputs)
    context = Context(task, load_target("cpu"))
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        backend = OnnxRuntime()
        plain = backend.compile(network.to_onnx(), Path(directory), _OPTIONS)
        with backend.open(plain) as reference:
            few = task if len(task.evaluation) <= arguments.samples else _fewer(task, arguments.samples)
            original = outcomes_of(reference, few)
            accuracy = accuracy_of(original, None, task.evaluation.sha256)
            rows.append(["32", "–", "float32", size_text(plain.size_bytes), "1", accuracy_text(accuracy)])
            for technique in _settings(arguments):
                started = time.perf_counter()
                made: Network = technique.apply(network, context)
                seconds = time.perf_counter() - started
                folder = Path(directory) / "-".join(map(str, vars(technique).values()))
                folder.mkdir()
                artifact = backend.compile(made.to_onnx(), folder, _OPTIONS)
                with backend.open(artifact) as session:
                    found = outcomes_of(session, few)
                    accuracy = accuracy_of(found, original, task.evaluation.sha256)
                    feeds = {1: sample_feeds(session, task)}
                ratio = times_against(artifact, plain, feeds, Budget(seconds=arguments.seconds))[1]
                rows.append(
                    [
                        str(technique.bits),
                        technique.algorithm,
                        technique.compute,
                        size_text(artifact.size_bytes),
                        f"{artifact.size_bytes / plain.size_bytes:.3f}",
                        accuracy_text(accuracy),
                        _drop_text(accuracy),
                        _ratio_text(ratio),
                        f"{seconds:.1f}",
                    ]
                )
                print(name, *rows[-1], file=sys.stderr, flush=True)
    return rows


def _settings(arguments: argparse.Namespace) -> list[WeightOnly]:
    return [
        WeightOnly(algorithm=algorithm, bits=bits, compute=compute)
        for bits in arguments.bits
        for algorithm in arguments.algorithms
        for compute in arguments.compute
        # HQQ's zero points are no integers: 4 bits alone, and no int8 kernels.
        if algorithm != "hqq" or (bits == 4 and compute == "float32")
    ]


def _fewer(task: Task, samples: int) -> Task:
    return replace(task, evaluation=task.evaluation.take(np.arange(samples)))


def _drop_text(accuracy: Accuracy) -> str:
    drop = accuracy.drop
    return "–" if drop is None else f"{drop.points:.2f} ({drop.interval.high:.2f})"


def _ratio_text(figure: Latency) -> str:
    if figure.ratio is None or figure.ratio_interval is None:
        return "–"
    return f"{figure.ratio:.2f} ({figure.ratio_interval.low:.2f}–{figure.ratio_interval.high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
