"""`compress optimize` on the reference networks, from every file format, against plain fp32 ONNX Runtime.

    python -m benchmarks run train                    # once, about half an hour on two cores
    python -m benchmarks run post_training            # every network from its .pt2 file
    python -m benchmarks run post_training --formats  # the ResNet-20 from each of its four files

The last two columns are medians over interleaved pairs in this one process, one thread, spinning off: the time of the
shipped file over the time of the fp32 ONNX file that torch exported, run by ONNX Runtime as it comes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import results
from compress import optimize
from compress.api.optimize import OptimizeResult
from compress.backends.base import Artifact
from compress.backends.onnxruntime import OnnxRuntime
from compress.bundle.profile_file import with_digest
from compress.cli.figure_text import accuracy_text
from compress.cli.terminal import TerminalReporter
from compress.data.task import Task, load_task
from compress.onnx_graph.files import sha256_of, size_of
from compress.profiling.latency import Budget, sample_feeds
from compress.records.profile import Latency
from compress.reports.figures import size_text
from compress.timing.contest import times_against

NETWORKS = ("resnet20", "mobilenet", "vit", "gru")
FORMATS = {"torch.export": ".pt2", "TorchScript": ".ts.pt", "state dict": ".state.pt", "ONNX": ".onnx"}
BATCHES = (1, 32)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", type=Path, default=Path("references"))
    parser.add_argument("--only", choices=NETWORKS, nargs="*", default=NETWORKS)
    parser.add_argument("--formats", action="store_true", help="the ResNet-20 from each of its four files")
    parser.add_argument("--seconds", type=float, default=10.0, help="of timing per network and batch size")
    parser.add_argument(
        "--profiles", type=Path, help="write the profile of each shipped build below this directory"
    )
    arguments = parser.parse_args()

    data = arguments.references / "data"
    task = load_task(data / "val.npz", calibration_data=data / "calibration.npz")
    cases = (
        [("resnet20", name, suffix) for name, suffix in FORMATS.items()]
        if arguments.formats
        else [(network, "torch.export", ".pt2") for network in arguments.only]
    )
    table = Table(title="post-training int8, one thread", title_justify="left")
    for heading in ("network", "from", "shipped", "accuracy", "drop (at most)", "size"):
        table.add_column(heading, no_wrap=True)
    for batch in BATCHES:
        table.add_column(f"× fp32 time, batch {batch}", justify="right")
    table.add_column("why")
    rows = []
    for network, name, suffix in cases:
        profile = arguments.profiles and arguments.profiles / f"{network}.cpu.json"
        row, cells = run(arguments.references, network, name, suffix, task, arguments.seconds, profile)
        rows.append(row)
        table.add_row(*cells)
    results.record("networks", rows)
    Console(width=200 if not sys.stdout.isatty() else None).print(table)
    return 0


def run(
    references: Path, network: str, name: str, suffix: str, task: Task, seconds: float, profile: Path | None
) -> tuple[dict[str, Any], list[str]]:
    path = references / f"{network}{suffix}"
    factory = f"benchmarks.networks:{network}" if suffix == ".state.pt" else None
    with tempfile.TemporaryDirectory() as directory, TerminalReporter(Console(stderr=True)) as reporter:
        out = Path(directory) / "build"
        result = optimize(path, data=task, threads=1, out=out, factory=factory, reporter=reporter)
        ratios = against_fp32(result, references / f"{network}.onnx", task, seconds)
        if profile is not None and result.bundle is not None:
            profile.parent.mkdir(parents=True, exist_ok=True)
            profile.write_text(json.dumps(with_digest(result.bundle.profile), indent=1) + "\n")
    chosen = result.choice.candidate
    if chosen is None or chosen.profile is None or chosen.profile.accuracy is None:
        raise SystemExit(f"{network}: {result.choice.reason}")
    accuracy, drop = chosen.profile.accuracy, chosen.profile.accuracy.drop
    row = {
        "network": f"{network}, {name}",
        "fp32_percent": 100 * accuracy.mean + (0.0 if drop is None else drop.points),
        "shipped": chosen.recipe.name,
        "percent": 100 * accuracy.mean,
        "plus_minus": 50 * (accuracy.interval.high - accuracy.interval.low),
        "drop_points": None if drop is None else drop.points,
        "drop_at_most": None if drop is None else drop.interval.high,
        "size": size_text(chosen.profile.artifact_bytes),
        "size_fp32": size_text(size_of(references / f"{network}.onnx")),
        **{f"batch_{figure.batch}": _ratio(figure) for figure in ratios},
    }
    return row, [
        network,
        name,
        chosen.recipe.name,
        accuracy_text(chosen.profile.accuracy),
        "–" if drop is None else f"{drop.points:.2f} ({drop.interval.high:.2f})",
        size_text(chosen.profile.artifact_bytes),
        *(ratio_text(figure) for figure in ratios),
        "" if chosen.recipe.steps else result.choice.reason,
    ]


def against_fp32(result: OptimizeResult, fp32: Path, task: Task, seconds: float) -> list[Latency]:
    if result.bundle is None:
        raise SystemExit(result.choice.reason)
    backend = OnnxRuntime()
    plain = Artifact(fp32, sha256_of(fp32), size_of(fp32), backend.name, {"intra_op_threads": 1})
    with result.bundle.open() as shipped:
        bound = task.bind(shipped.inputs, shipped.outputs)
        feeds = {batch: sample_feeds(shipped, bound, batch) for batch in BATCHES}
    return list(times_against(result.bundle.artifact, plain, feeds, Budget(seconds=seconds)).values())


def _ratio(figure: Latency) -> list[float] | None:
    if figure.ratio is None or figure.ratio_interval is None:
        return None
    return [figure.ratio, figure.ratio_interval.low, figure.ratio_interval.high]


def ratio_text(figure: Latency) -> str:
    if figure.ratio is None or figure.ratio_interval is None:
        return "–"
    return f"{figure.ratio:.3f} ({figure.ratio_interval.low:.3f}–{figure.ratio_interval.high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
