"""Is the scaling law right: the ResNet-20 in narrow widths on Fashion-MNIST, and what it tells of wider ones.

    python -m benchmarks run scaling_law [--references references] [--out scaling_law.json]

Trains the four narrowest students twice each by distillation from the trained ResNet-20, fits error = E + A · N^-α,
recommends a width and trains it, and trains wider ones too. All follow one brief schedule and are judged by the same
5,000 training images that no training sees; the bounds are of 90 %. ``--quick`` only shows that it runs.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import results
from benchmarks.networks import resnet20_of_width
from compress.core.progress import Reporter
from compress.data.task import load_task
from compress.errors import CompressError
from compress.network.network import load_network
from compress.students.recommendation import Recommendation, recommend
from compress.students.scaling_law import ScalingLaw
from compress.students.training import StudentTraining, TrainedStudent
from compress.training.settings import TrainingOptions


def main() -> int:
    """Train, fit, predict, train what was predicted; return the exit code."""
    parser = argparse.ArgumentParser(description="Predicted against trained errors of wider students.")
    parser.add_argument("--references", type=Path, default=Path("references"))
    parser.add_argument(
        "--widths", type=_numbers, default=(0.125, 0.25, 0.375, 0.5), help="trained and fitted"
    )
    parser.add_argument("--wider", type=_numbers, default=(0.75, 1.0), help="trained and compared alone")
    parser.add_argument("--max-drop", type=float, default=8.0, help="points, after the brief schedule")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--epoch-samples", type=int, default=4096)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a schedule too short to tell anything")
    parser.add_argument("--out", type=Path, help="write everything as JSON")
    options = parser.parse_args()
    if options.quick:
        options.epochs, options.epoch_samples = 1, 640
    torch.set_num_threads(1)
    try:
        return _run(options)
    except CompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(options: argparse.Namespace) -> int:
    data = options.references / "data"
    task = load_task(data / "val.npz", train_data=data / "train.npz")
    network = load_network(options.references / "resnet20.pt2")
    settings = TrainingOptions(
        epochs=options.epochs,
        epoch_samples=options.epoch_samples,
        learning_rate=options.learning_rate,
        patience=options.epochs,
    )
    training = StudentTraining(
        resnet20_of_width,
        network,
        task.bind(network.inputs, network.outputs),
        settings,
        seed=options.seed,
        reporter=_Steps(),
    )
    found = recommend(training, options.widths, max_drop=options.max_drop, runs=options.runs)
    _print_recommendation(found)
    wider = [training.train(width, options.runs + 1) for width in options.wider]
    for student in wider:
        _print_compared(found.law, student, "wider")
    results.record("widths", _recorded(found, wider))
    if options.out is not None:
        compared = [
            {**found.law.predict(each.parameters)._asdict(), "width": each.width, "trained": each.error}
            for each in wider
        ]
        options.out.write_text(json.dumps({**found.to_dict(), "wider": compared}, indent=2) + "\n")
    return 0


def _recorded(found: Recommendation, wider: list[TrainedStudent]) -> list[dict[str, Any]]:
    """Return a row for each width: errors and predictions in percent."""
    check = [] if found.check is None else [found.check.student]
    rows: dict[float, dict[str, Any]] = {}
    for student in [*found.trained, *check, *wider]:
        prediction = found.law.predict(student.parameters)
        row = rows.setdefault(student.width, {"width": student.width, "parameters": student.parameters})
        row["recommended"], row["fitted"] = student in check, student not in wider
        row.setdefault("trained", []).append(100 * student.error)
        row["predicted"] = [100 * each for each in (prediction.error, prediction.lower, prediction.upper)]
    return list(rows.values())


def _print_recommendation(found: Recommendation) -> None:
    law = found.law
    floor, scatter = law.bounds(math.inf), law.scatter
    print(f"\nteacher: error {found.teacher.error:.2%} on the test images")
    print(
        f"error = {law.floor:.4f} + {law.factor:.4g} · N^-{law.exponent:.3f}, "
        f"floor {floor.lower:.2%} to {floor.upper:.2%}, scatter {scatter:.2f}"
    )
    for student in found.trained:
        print(
            f"width {student.width:<6g} {student.parameters:>8,} parameters: trained {student.error:.2%}, "
            f"{student.seconds:.0f} s"
        )
    for forecast in found.forecasts:
        prediction = forecast.prediction
        print(
            f"width {forecast.width:<6g} {forecast.parameters:>8,} parameters: predicted {prediction.error:.2%} "
            f"({prediction.lower:.2%} to {prediction.upper:.2%}), drop {forecast.drop:.2f}, "
            f"at most {forecast.drop_bound:.2f} points"
        )
    if found.check is None:
        print(f"no width is predicted to drop at most {found.max_drop:g} points after this schedule")
        return
    _print_compared(law, found.check.student, "recommended")
    drop = found.check.drop
    print(
        f"  on the test images it drops {drop.points:.2f} points "
        f"({drop.interval.low:.2f} to {drop.interval.high:.2f}), allowed {found.max_drop:g}"
    )


def _print_compared(law: ScalingLaw, student: TrainedStudent, what: str) -> None:
    prediction = law.predict(student.parameters)
    held = prediction.lower <= student.error <= prediction.upper
    print(
        f"{what}: width {student.width:g} predicted {prediction.error:.2%} "
        f"({prediction.lower:.2%} to {prediction.upper:.2%}), trained {student.error:.2%}: "
        f"{'inside' if held else 'OUTSIDE'}; {student.seconds:.0f} s",
        flush=True,
    )


class _Steps(Reporter):
    """One line that moves."""

    def step(self, text: str, total: int = 0) -> None:
        self._total = total

    def tick(self, done: int) -> None:
        print(f"\rstep {done} of {self._total}   ", end="", file=sys.stderr)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
