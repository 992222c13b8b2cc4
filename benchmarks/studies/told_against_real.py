"""The ratio that compress tells against the one that a user gets.

    python -m benchmarks run told_against_real  # twelve networks, one thread and the runtime's choice
    python -m benchmarks run told_against_real --only perceptron,lstm --threads default

For each network, ``compress.optimize`` makes an int8 build of an ONNX file and tells its time over fp32's. Then both
are timed as a user runs them: fp32 by ``onnxruntime.InferenceSession(path)``, the build by
``compress.load_bundle(path)``, each in a process of its own, in turns of 50 ms with pauses in which the other's threads
fall asleep, in several pairs of processes. This way of timing shares nothing with the one that is tested: nobody is
stopped, and turns are long. Where fp32 is faster with other session options than the runtime's default, the ratio that
is told refers to those, and is higher than a user's who opens the file without any; so fp32 is timed with them too, and
the told ratio is held against the faster of the two.

Printed for each network, number of threads and batch size: told, real, and told over real; at the end the median of
|told / real - 1| and the most that a told ratio was too good.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks import results
from compress import optimize
from compress.recipe import Recipe, Step
from compress.records.profile import Profile

BATCHES = (1, 32)

_SERVE = """
import json, sys, time, numpy as np
kind, path, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
x = np.load(sys.argv[4])['x']
if kind == 'file':
    import onnxruntime
    given = onnxruntime.SessionOptions()
    if options.get('intra_op_threads'):
        given.intra_op_num_threads = options['intra_op_threads']
    if not options.get('spinning', True):
        given.add_session_config_entry('session.intra_op.allow_spinning', '0')
    session = onnxruntime.InferenceSession(path, given, providers=['CPUExecutionProvider'])
    run = lambda rows: session.run(None, {'x': rows})
else:
    import compress
    bundle = compress.load_bundle(path)
    run = lambda rows: bundle.run({'x': rows})
print('ready', flush=True)
for line in sys.stdin:
    rows = x[:int(line)]
    run(rows)
    times, begin = [], time.perf_counter()
    while time.perf_counter() - begin < .05:
        start = time.perf_counter(); run(rows); times.append(time.perf_counter() - start)
    print(float(np.median(times)), flush=True)
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(NETWORKS), help="networks, by name")
    parser.add_argument("--threads", default="1,default", help="numbers of threads, or 'default'")
    parser.add_argument("--processes", type=int, default=5, help="pairs of processes")
    parser.add_argument("--turns", type=int, default=15, help="turns of each pair")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two turns")
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")

    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.only.split(","):
            for threads in arguments.threads.split(","):
                directory = Path(scratch) / f"{name}-{threads}"
                directory.mkdir()
                for row in compared(
                    name, None if threads == "default" else int(threads), directory, arguments
                ):
                    rows.append(row)
                    print(json.dumps(row), file=sys.stderr, flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    results.record("ratios", rows)
    show(rows)
    return 0


def compared(
    name: str, threads: int | None, directory: Path, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    module, sample = NETWORKS[name]()
    torch.manual_seed(0)
    file, data = directory / "fp32.onnx", directory / "x.npz"
    torch.onnx.export(
        module.eval(), (sample[:2],), str(file), dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}
    )
    np.savez(data, x=sample.numpy())
    recipe = Recipe("int8", (Step("quantize", {"scope": "all"}),))
    result = optimize(
        str(file), data=str(data), out=directory / "build", max_drop=100.0, recipes=[recipe], threads=threads
    )
    # The build is timed whether it is shipped or not: what is told of it is what is tested.
    candidate = next(entry for entry in result.candidates if entry.recipe.name == "int8")
    assert candidate.profile is not None
    assert result.bundle is not None
    shipped = result.bundle.recipe.name
    profile = candidate.profile if shipped == "int8" else result.bundle.profile
    rows = []
    for batch in BATCHES:
        told = _told(profile, batch)
        if told is None:
            continue
        default = {"intra_op_threads": threads or 0}
        others = [default, *([told["reference_options"]] if told["reference_options"] else [])]
        contenders = [("file", file, options) for options in others]
        ratios = real(directory / "build", contenders, data, batch, arguments)
        rows.append(
            {
                "network": name,
                "threads": threads or "default",
                "batch": batch,
                "shipped": shipped,
                "told": told["ratio"],
                "real": max(ratios),
                "against_default": ratios[0],
                "reference_options": told["reference_options"],
            }
        )
    return rows


def _told(profile: Profile, batch: int) -> dict[str, Any] | None:
    for latency in profile.latency:
        if latency.batch == batch and latency.period_ms is None:
            return {"ratio": latency.ratio or 1.0, "reference_options": latency.reference_options}
    return None


def real(
    bundle: Path,
    files: Sequence[tuple[str, Path, dict[str, Any]]],
    data: Path,
    batch: int,
    arguments: argparse.Namespace,
) -> list[float]:
    """The bundle's time over each file's: the median over pairs of processes of the medians over turns."""
    ratios: list[list[float]] = [[] for _ in files]
    for _ in range(arguments.processes):
        commands = [("bundle", bundle, {}), *files]
        started = [_started(kind, path, options, data) for kind, path, options in commands]
        try:
            for process in started:
                assert process.stdout is not None
                assert process.stdout.readline().strip() == "ready"
            turns: list[list[float]] = [[] for _ in started]
            for turn in range(arguments.turns + 1):
                for index, process in enumerate(started):
                    time.sleep(arguments.pause)
                    assert process.stdin is not None
                    assert process.stdout is not None
                    process.stdin.write(f"{batch}\n")
                    process.stdin.flush()
                    seconds = float(process.stdout.readline())
                    if turn:
                        turns[index].append(seconds)
        finally:
            for process in started:
                process.kill()
                process.wait()
        own, *others = (float(np.median(each)) for each in turns)
        for seen, other in zip(ratios, others, strict=True):
            seen.append(own / other)
    return [float(np.median(seen)) for seen in ratios]


def _started(kind: str, path: Path, options: dict[str, Any], data: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SERVE, kind, str(path), json.dumps(options), str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="time over fp32's: told by compress, and got by a user", title_justify="left")
    for heading in ("network", "threads", "batch", "shipped", "told", "real", "told / real"):
        table.add_column(heading, justify="right", no_wrap=True)
    errors = []
    for row in rows:
        errors.append(row["told"] / row["real"] - 1)
        figures = (f"{row['told']:.3f}", f"{row['real']:.3f}", f"{row['told'] / row['real']:.3f}")
        table.add_row(row["network"], str(row["threads"]), str(row["batch"]), row["shipped"], *figures)
    Console(width=100 if not sys.stdout.isatty() else None).print(table)
    print(
        f"{len(rows)} figures: off by {100 * np.median(np.abs(errors)):.1f} % in the median; "
        f"at most {100 * -min(errors):.1f} % too good, {100 * max(errors):.1f} % too bad"
    )


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum, behind a ReLU."""
        return torch.relu(x + self.inner(x))


class Recurrent(nn.Module):
    """The last state of an LSTM or GRU, and a linear layer."""

    def __init__(self, layer: nn.Module, hidden: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(hidden, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores ``(n, 12)`` of sequences ``(n, length, features)``."""
        states, _ = self.layer(x)
        scores: torch.Tensor = self.head(states[:, -1])
        return scores


class Encoder(nn.Module):
    """A transformer's encoder over vectors, and the mean of its positions."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True, dropout=0.0)
        self.layers, self.head = (
            nn.TransformerEncoder(layer, layers, enable_nested_tensor=False),
            nn.Linear(width, 16),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores ``(n, 16)`` of sequences ``(n, length, width)``."""
        scores: torch.Tensor = self.head(self.layers(x).mean(dim=1))
        return scores


def _conv(inputs: int, outputs: int, stride: int = 1, groups: int = 1, size: int = 3) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


def _images(side: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(200, channels, side, side)


def _perceptron(width: int, depth: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(64, width), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def _residual() -> nn.Module:
    blocks = [Residual(nn.Sequential(_conv(32, 32), nn.Conv2d(32, 32, 3, 1, 1))) for _ in range(4)]
    return nn.Sequential(_conv(3, 32, 2), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def _wide_residual() -> nn.Module:
    blocks = [Residual(_conv(96, 96)) for _ in range(2)]
    return nn.Sequential(_conv(3, 96, 2), *blocks, nn.Flatten(), nn.Linear(96 * 256, 10))


def _depthwise() -> nn.Module:
    blocks = [nn.Sequential(_conv(64, 64, groups=64), _conv(64, 64, size=1)) for _ in range(5)]
    return nn.Sequential(_conv(3, 64, 2), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def _segmenter() -> nn.Module:
    return nn.Sequential(
        _conv(3, 24),
        _conv(24, 48, 2),
        _conv(48, 48),
        nn.Upsample(scale_factor=2),
        _conv(48, 24),
        nn.Conv2d(24, 5, 1),
    )


def _waves() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 32), (32, 64), (64, 64)):
        layers += [nn.Conv1d(inputs, outputs, 9, 4, 4), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 20))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    "perceptron": lambda: (_perceptron(512, 1), torch.randn(200, 64)),
    "wide perceptron": lambda: (_perceptron(1536, 2), torch.randn(200, 64)),
    "deep perceptron": lambda: (_perceptron(256, 12), torch.randn(200, 64)),
    "residual": lambda: (_residual(), _images(32)),
    "wide residual": lambda: (_wide_residual(), _images(32)),
    "depthwise": lambda: (_depthwise(), _images(32)),
    "segmenter": lambda: (_segmenter(), _images(48)),
    "waves": lambda: (_waves(), torch.randn(200, 1, 4000)),
    "lstm": lambda: (Recurrent(nn.LSTM(24, 96, batch_first=True), 96), torch.randn(200, 30, 24)),
    "gru": lambda: (Recurrent(nn.GRU(24, 128, 2, batch_first=True), 128), torch.randn(200, 20, 24)),
    "encoder": lambda: (Encoder(96, 3), torch.randn(200, 32, 96)),
    "large encoder": lambda: (Encoder(256, 2), torch.randn(200, 48, 256)),
}


if __name__ == "__main__":
    sys.exit(main())
