"""Comparison of pruning: widths by measured latency, a plain ratio, Torch-Pruning; each with the same recovery.

    python -m benchmarks run train --only resnet20  # once
    pip install torch-pruning                                                        # once
    python -m benchmarks run pruning --out pruned/  # about an hour on two cores

The knapsack is asked for five shares of the unpruned network's time. Those that know ratios alone, Torch-Pruning by
each of three importances, are pruned at many ratios, each of which is timed, and get for every share the ratio whose
time is nearest to the knapsack's. Everybody is then trained by the same loop, towards the same network, with the same
samples, steps and seed. Time is that of fp32 in ONNX Runtime on one thread over the unpruned network's, in rounds of
fresh sessions, when all training is over. What is in ``--out`` already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.networks import FACTORIES
from compress.backends.base import Artifact
from compress.backends.onnxruntime import OnnxRuntime
from compress.data.task import Task, load_task
from compress.hosts import connect
from compress.network.network import Network, load_network
from compress.onnx_graph.files import sha256_of, size_of
from compress.profiling.accuracy import accuracy_of, outcomes_of
from compress.profiling.latency import Budget, sample_feeds
from compress.recipe import Recipe, Step
from compress.records.profile import Interval
from compress.target.target import load_target
from compress.techniques import apply_recipe
from compress.techniques.base import Context
from compress.timing.contest import times_against

SHARES = (0.8, 0.7, 0.55, 0.45, 0.35)
RATIOS = tuple(round(float(ratio), 3) for ratio in np.arange(0.1, 0.91, 0.05))
KNAPSACK, RATIO = "knapsack", "ratio"

#: Torch-Pruning, by each of the importances that it recommends for networks like these.
RIVALS = ("torch-pruning-magnitude", "torch-pruning-taylor", "torch-pruning-hessian")
METHODS = (KNAPSACK, RATIO, *RIVALS)
BATCHES = (1, 32)
THREADS = 1


@dataclass(frozen=True)
class Asked:
    """One network to make.

    Attributes:
        method: One of :data:`METHODS`.
        amount: Share of the time for the knapsack, ratio of the channels for the others.
    """

    method: str
    amount: float

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.method}-{self.amount:g}"


class Bench:
    """The network and its data, and where results are kept."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        torch.set_num_threads(THREADS)
        data, self.arguments = arguments.references / "data", arguments
        task = load_task(
            data / "val.npz", train_data=data / "train.npz", calibration_data=data / "calibration.npz"
        )
        self.file = arguments.references / f"{arguments.network}.pt2"
        self.network = load_network(self.file, example=task.example())
        self.task: Task = task.bind(self.network.inputs, self.network.outputs)
        self.target = load_target("cpu")
        self.out: Path = arguments.out
        self.out.mkdir(parents=True, exist_ok=True)

    def context(self) -> Context:
        """Return the context of techniques, with this machine to time on."""
        host = connect(self.target, 1.0, None)
        return Context(self.task, self.target, original=self.network, host=host, threads=THREADS)

    def pruned(self, asked: Asked) -> Network:
        """Return the pruned network before recovery."""
        if asked.method in RIVALS:
            return self._by_torch_pruning(asked.method.rpartition("-")[2], asked.amount)
        amount = {"latency": asked.amount} if asked.method == KNAPSACK else {"ratio": asked.amount}
        step = Step("prune", {**amount, "importance": self.arguments.importance})
        return apply_recipe(Recipe("pruned", (step,)), self.network, self.context())

    def recovered(self, network: Network) -> tuple[Network, dict[str, Any]]:
        """Return a network after the training that every method gets, and the report of the training."""
        arguments, context = self.arguments, self.context()
        settings = {
            "epochs": arguments.epochs,
            "epoch_samples": arguments.epoch_samples,
            "learning_rate": arguments.learning_rate,
            "label_weight": arguments.label_weight,
            "temperature": arguments.temperature,
            "batch_size": arguments.batch_size,
            "precision": arguments.precision,
        }
        trained = apply_recipe(Recipe("recovered", (Step("distill", settings),)), network, context)
        return trained, context.reports["distill"]["training"]

    def artifact(self, model: onnx.ModelProto, name: str) -> Artifact:
        """Compile a model in fp32 for ONNX Runtime."""
        directory = self.out / name
        directory.mkdir(exist_ok=True)
        backend = OnnxRuntime()
        return backend.compile(model, directory, backend.default_options(self.target, THREADS))

    def kept(self, name: str) -> Artifact:
        """One that :meth:`artifact` wrote before."""
        path = self.out / name / "model.onnx"
        options = OnnxRuntime().default_options(self.target, THREADS)
        return Artifact(path, sha256_of(path), size_of(path), "onnxruntime", options)

    def times(
        self, artifact: Artifact, unpruned: Artifact, seconds: float, batches: Sequence[int] = BATCHES
    ) -> dict[int, tuple[float, Interval]]:
        """Over the unpruned network's."""
        with OnnxRuntime().open(unpruned) as session:
            feeds = {batch: sample_feeds(session, self.task, batch) for batch in batches}
        found = times_against(artifact, unpruned, feeds, Budget(seconds))
        return {
            batch: (each.ratio, each.ratio_interval)
            for batch, each in found.items()
            if each.ratio is not None and each.ratio_interval is not None
        }

    def _by_torch_pruning(self, judged_by: str, ratio: float) -> Network:
        import torch_pruning  # type: ignore[import-untyped]

        module = FACTORIES[self.arguments.network]()
        state = self.arguments.references / f"{self.arguments.network}.state.pt"
        module.load_state_dict(torch.load(state, weights_only=True))
        module.eval()
        example = torch.from_numpy(next(self.task.calibration.batches(2)).inputs[self.network.inputs[0].name])
        importance = {
            "magnitude": torch_pruning.importance.GroupMagnitudeImportance,
            "taylor": torch_pruning.importance.GroupTaylorImportance,
            "hessian": torch_pruning.importance.GroupHessianImportance,
        }[judged_by]()
        heads = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)]
        pruner = torch_pruning.pruner.BasePruner(
            module,
            example,
            importance,
            global_pruning=True,
            isomorphic=self.arguments.rival_isomorphic,
            pruning_ratio=ratio,
            max_pruning_ratio=0.9,
            ignored_layers=heads[-1:],
        )
        if judged_by != "magnitude":
            self._judged_by_loss(module, importance, each_alone=judged_by == "hessian")
        pruner.step()
        module.zero_grad()
        return load_network(module, example=self.task.example())

    def _judged_by_loss(self, module: torch.nn.Module, importance: Any, each_alone: bool) -> None:
        """Gradients of the loss on 256 samples; for the Hessian of each alone, as Torch-Pruning's examples have it."""
        batch = next(self.task.calibration.batches(256))
        inputs = torch.from_numpy(batch.inputs[self.network.inputs[0].name])
        labels = torch.as_tensor(np.asarray(batch.targets))
        if each_alone:
            importance.zero_grad()
        for rows in torch.arange(len(labels)).chunk(len(labels) if each_alone else 1):
            module.zero_grad()
            loss = torch.nn.functional.cross_entropy(module(inputs[rows]), labels[rows])
            torch.autograd.backward(loss)
            if each_alone:
                importance.accumulate_grad(module)


def main() -> int:
    arguments = _arguments()
    bench = Bench(arguments)
    if arguments.one:
        method, amount = arguments.one
        make(bench, Asked(method, float(amount)))
        return 0
    unpruned = bench.artifact(bench.network.to_onnx(), "unpruned")
    wanted = [Asked(KNAPSACK, share) for share in arguments.shares]
    made(wanted, arguments)
    spent = [bench.times(bench.kept(asked.name), unpruned, 1.0, BATCHES[:1])[1][0] for asked in wanted]
    for method in METHODS[1:]:
        ladder = timed_ratios(bench, method, unpruned)
        nearest = [min(ladder, key=lambda ratio: abs(ladder[ratio] - each)) for each in spent]
        chosen = [Asked(method, ratio) for ratio in dict.fromkeys(nearest)]
        made(chosen, arguments)
        wanted += chosen
    rows = measured(bench, wanted, unpruned)
    (bench.out / "rows.json").write_text(json.dumps(rows, indent=1) + "\n")
    results.record("builds", [recorded(row) for row in rows if "time" in row])
    show(rows)
    return 0


def make(bench: Bench, asked: Asked) -> None:
    """Prune, recover, and write what came of it; whole or not at all, since the JSON file comes last."""
    start = time.perf_counter()
    pruned = bench.pruned(asked)
    before = accuracy(bench, bench.artifact(pruned.to_onnx(), f"{asked.name}-untrained"))
    seconds = time.perf_counter() - start
    trained, report = bench.recovered(pruned)
    bench.artifact(trained.to_onnx(), asked.name)
    row = {"before": before, "seconds": seconds, "training": report, **asdict(asked)}
    (bench.out / f"{asked.name}.json").write_text(json.dumps(row) + "\n")


def made(wanted: Sequence[Asked], arguments: argparse.Namespace) -> None:
    """Each in a process of its own, ``--workers`` at a time."""
    waiting = [asked for asked in wanted if not (arguments.out / f"{asked.name}.json").exists()]
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        while waiting and len(running) < arguments.workers:
            asked = waiting.pop(0)
            print(f"{time.strftime('%H:%M:%S')} {asked.name}", file=sys.stderr, flush=True)
            command = [
                sys.executable,
                "-m",
                "benchmarks.studies.pruning",
                *sys.argv[1:],
                "--one",
                asked.method,
                str(asked.amount),
            ]
            running.append(subprocess.Popen(command))
        time.sleep(0.5)
        failed = [each for each in running if each.poll() not in (None, 0)]
        if failed:
            raise SystemExit(f"a worker ended with exit code {failed[0].returncode}")
        running = [each for each in running if each.poll() is None]


def timed_ratios(bench: Bench, method: str, unpruned: Artifact) -> dict[float, float]:
    """Ratio → share of the unpruned network's time at batch 1, before recovery, which changes no width."""
    path = bench.out / f"{method}.times.json"
    found: dict[float, float] = {}
    if path.exists():
        found = {float(ratio): share for ratio, share in json.loads(path.read_text()).items()}
    for ratio in bench.arguments.ratios:
        if ratio in found:
            continue
        artifact = bench.artifact(bench.pruned(Asked(method, ratio)).to_onnx(), f"{method}-{ratio:g}-timed")
        found[ratio] = bench.times(artifact, unpruned, 0.5, BATCHES[:1])[1][0]
        print(f"{method} {ratio:g}: {found[ratio]:.3f}", file=sys.stderr, flush=True)
        path.write_text(json.dumps(found))
    return found


def measured(bench: Bench, wanted: Sequence[Asked], unpruned: Artifact) -> list[dict[str, Any]]:
    """Accuracy and times of everything, the unpruned network first."""
    rows: list[dict[str, Any]] = [{"method": "unpruned", "amount": 0, "after": accuracy(bench, unpruned)}]
    for asked in wanted:
        artifact = bench.kept(asked.name)
        times = bench.times(artifact, unpruned, bench.arguments.seconds)
        row = json.loads((bench.out / f"{asked.name}.json").read_text())
        row["after"] = accuracy(bench, artifact, unpruned)
        row["bytes"] = artifact.size_bytes
        row["time"] = {str(batch): [ratio, asdict(interval)] for batch, (ratio, interval) in times.items()}
        rows.append(row)
    return rows


def accuracy(bench: Bench, artifact: Artifact, reference: Artifact | None = None) -> dict[str, Any]:
    """Return the accuracy on the evaluation data; with the paired drop where there is a reference."""
    backend, task = OnnxRuntime(), bench.task
    with backend.open(artifact) as session:
        outcomes = outcomes_of(session, task)
    original = None
    if reference is not None:
        with backend.open(reference) as session:
            original = outcomes_of(session, task)
    return asdict(accuracy_of(outcomes, original, task.evaluation.sha256))


def recorded(row: dict[str, Any]) -> dict[str, Any]:
    """One build as a row of a result: ratios of times with their interval, percent, points, kB."""
    drop = row["after"]["drop"]
    times = {
        f"batch_{batch}": [ratio, interval["low"], interval["high"]]
        for batch, (ratio, interval) in row["time"].items()
    }
    return {
        "method": row["method"],
        "asked": row["amount"],
        **times,
        "top1_percent": 100 * row["after"]["mean"],
        "drop_points": drop["points"],
        "drop_at_most": drop["interval"]["high"],
        "kb": round(row["bytes"] / 1e3),
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table, and how far the knapsack is ahead at equal time."""
    table = Table(
        title="share of the unpruned network's time in fp32, ONNX Runtime, one thread", title_justify="left"
    )
    for heading in (
        "method",
        "asked",
        "batch 1",
        "batch 32",
        "untrained",
        "recovered",
        "drop, points",
        "size",
    ):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    console = Console(width=140 if not sys.stdout.isatty() else None)
    console.print(table)
    for line in ahead(rows):
        console.print(line, soft_wrap=True)


def ahead(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The knapsack's accuracy less the others' at the same time, between whose measured points lines are drawn."""
    lines = []
    points = {method: _curve(rows, method) for method in METHODS}
    for method in METHODS[1:]:
        times, shares = zip(*points[method], strict=True)
        told = []
        for spent, right in points[KNAPSACK]:
            if times[0] <= spent <= times[-1]:
                told.append(f"{100 * (right - float(np.interp(spent, times, shares))):+.2f} at {spent:.2f}")
        lines.append(
            f"knapsack over {method}, points of accuracy at equal time: {', '.join(told) or 'no common times'}"
        )
    return lines


def _curve(rows: Sequence[dict[str, Any]], method: str) -> list[tuple[float, float]]:
    return sorted((row["time"]["1"][0], row["after"]["mean"]) for row in rows if row["method"] == method)


def _cells(row: dict[str, Any]) -> list[str]:
    drop = row["after"]["drop"]
    times = [
        f"{ratio:.3f} ({interval['low']:.3f}–{interval['high']:.3f})"
        for ratio, interval in row.get("time", {}).values()
    ] or ["1", "1"]
    return [
        row["method"],
        f"{row['amount']:g}",
        *times,
        f"{row['before']['mean']:.2%}" if "before" in row else "–",
        f"{row['after']['mean']:.2%}",
        "–" if drop is None else f"{drop['points']:.2f} (at most {drop['interval']['high']:.2f})",
        f"{row['bytes'] / 1e3:.0f} kB" if "bytes" in row else "–",
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", type=Path, default=Path("references"))
    parser.add_argument("--network", choices=["resnet20", "mobilenet"], default="resnet20")
    parser.add_argument(
        "--out", type=Path, default=Path("pruned"), help="where results are kept, and found again"
    )
    parser.add_argument(
        "--shares", type=float, nargs="+", default=list(SHARES), help="of the time, for the knapsack"
    )
    parser.add_argument("--ratios", type=float, nargs="+", default=list(RATIOS), help="that are timed")
    parser.add_argument("--importance", default="hessian_diagonal")
    parser.add_argument("--rival-isomorphic", action="store_true", help="Torch-Pruning's isomorphic ranking")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--epoch-samples", type=int, default=15_000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--precision", default="bfloat16", help="of the training; float32 takes twice as long"
    )
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--label-weight", type=float, default=0.3)
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="of timing per network and batch size, at the end"
    )
    parser.add_argument("--workers", type=int, default=2, help="trainings at once, one thread each")
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "AMOUNT"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
