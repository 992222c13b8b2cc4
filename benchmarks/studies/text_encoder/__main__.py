"""An encoder of text, trained here, against fp32 in ONNX Runtime and NNCF's int8 in OpenVINO.

    python -m benchmarks run text_encoder                         # trains in four minutes; some fifteen in all
    python -m benchmarks run text_encoder references/topics       # keeps the network, and takes it over the next time
    python -m benchmarks run text_encoder DIR --only-train        # no more than that

The network is a BERT of four layers that tells which of ten packages a passage of documentation is from
(``python -m benchmarks run topic_encoder``). ``compress optimize`` gets its directory, passages to judge builds by and
passages to train on, and chooses by itself. NNCF gets the ONNX file that torch exports, the same passages to calibrate
on, and for its accuracy control those to judge by. Told is everybody's accuracy on passages of source files that nobody
saw, and the time over fp32's, in turns with it, in one run.

The goals: at least twice as fast as fp32 in ONNX Runtime with a drop of at most one point, and ahead of NNCF's fastest
build that keeps within it. NNCF is set up under ``--cache``, in an environment of its own with pinned releases.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.environments import SkippedError, python_with
from benchmarks.networks import topic_encoder
from benchmarks.studies.quantization import rivals
from benchmarks.studies.quantization.contest import Contest, Judge, Row
from benchmarks.studies.quantization.rivals import Build, Case
from compress.records.profile import Profile

NNCF = ("nncf==3.4.0", "openvino==2026.4.1", "onnx==1.23.2")
BATCHES = (1, 8)

#: Passages of the training data that everybody calibrates on.
CALIBRATION = 512

#: The goal: fp32's time over ours, and largest drop, in points.
FASTER, MAX_DROP = 2.0, 1.0

OURS, PEER = "compress", "NNCF + OpenVINO"


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="text-encoder-") as scratch:
        directory = arguments.directory or Path(scratch) / "network"
        if not (directory / "held_out.npz").exists() or not (directory / "encoder").exists():
            topic_encoder.write(directory, arguments.train_seconds, arguments.threads, arguments.seed)
        if arguments.only_train:
            return 0
        case = _case(directory, Path(scratch), arguments)
        made = {PEER: _of_nncf(case, directory, arguments)}
        made[OURS] = [_ours(case, directory, arguments)]
        rows, against = _measured(case, made, arguments)
    results.record("builds", [{**row.to_dict(), "tried": list(row.tried)} for row in rows])
    if against:
        results.record("against", against)
    for row in rows:
        print(_line(row), flush=True)
    _goals(rows, against)
    return 0


def _case(directory: Path, scratch: Path, arguments: argparse.Namespace) -> Case:
    """Return the network as torch exports it, and the passages held out, cut to the number that was asked for."""
    from compress.backends.onnxruntime import OnnxRuntimeSession
    from compress.data.task import load_task

    fp32 = scratch / "fp32.onnx"
    held_out = _first(directory / "held_out.npz", scratch / "held_out.npz", arguments.samples)
    calibration = _first(directory / "train.npz", scratch / "calibration.npz", CALIBRATION)
    with np.load(held_out) as arrays:
        _export(directory / "encoder", fp32, arrays["input_ids"].shape[1])
    session = OnnxRuntimeSession(fp32, {})
    task = load_task(held_out, calibration_data=calibration).bind(session.inputs, session.outputs)
    session.close()
    return Case(
        "text_encoder",
        fp32,
        directory / "encoder",
        task,
        held_out,
        calibration,
        scratch,
        threads=arguments.threads,
    )


def _export(encoder: Path, path: Path, length: int) -> None:
    """Write the network for texts of so many tokens, as whoever uses transformers and torch would."""
    import torch
    from transformers import BertForSequenceClassification

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = BertForSequenceClassification.from_pretrained(
                encoder, local_files_only=True
            ).eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(input_ids=input_ids, attention_mask=attention_mask).logits
            return logits

    ids = torch.ones((2, length), dtype=torch.int64)
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        Logits().eval(),
        (ids, ids.clone()),
        path,
        dynamo=True,
        input_names=names,
        output_names=["logits"],
        dynamic_shapes={name: {0: "batch"} for name in names},
        external_data=False,
        verbose=False,
    )


def _first(source: Path, target: Path, count: int) -> Path:
    with np.load(source) as arrays:
        np.savez(target, **{name: arrays[name][:count] for name in arrays.files})
    return target


def _of_nncf(case: Case, directory: Path, arguments: argparse.Namespace) -> list[Build]:
    """NNCF's post-training quantization, plain and with accuracy control."""
    try:
        python = Path(python_with(arguments.cache / "nncf", NNCF))
    except (SkippedError, OSError) as error:
        return [Build("post-training", backend="openvino", error=str(error))]
    given = _first(directory / "given.npz", case.directory / "validation.npz", arguments.samples)
    return [
        build
        for validation in (None, given)
        for build in rivals.nncf(case, python, transformer=True, validation=validation, max_drop=MAX_DROP)
    ]


def _ours(case: Case, directory: Path, arguments: argparse.Namespace) -> Build:
    """``compress optimize`` with a directory, data and training data."""
    import compress
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter

    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        found = compress.optimize(
            directory / "encoder",
            target="cpu",
            data=_first(directory / "given.npz", case.directory / "given.npz", arguments.samples),
            train_data=directory / "train.npz",
            max_drop=MAX_DROP,
            threads=arguments.threads,
            seconds=arguments.seconds,
            time_budget=arguments.time_budget,
            seed=arguments.seed,
            cache="off",
            out=case.directory / "build",
            reporter=reporter,
        )
    for candidate in found.candidates:
        verdict = found.choice.verdicts[candidate.recipe.name]
        print(f"  tried {candidate.recipe.name}{_figures(candidate.profile)}: {verdict}", flush=True)
    print(f"  {found.choice.reason} ({found.seconds:.0f} s)", flush=True)
    if found.bundle is None:
        return Build("none", error=found.choice.reason)
    artifact = found.bundle.artifact
    return Build(found.bundle.recipe.name, artifact.path, artifact.backend, artifact.options)


def _figures(profile: Profile | None) -> str:
    """Return a candidate's time and drop in words, as ``compress optimize`` measured them."""
    if profile is None or profile.accuracy is None:
        return ""
    drop, ratio = profile.accuracy.drop, profile.latency[0].ratio if profile.latency else None
    time = "" if ratio is None else f", {ratio:.2f} × fp32's time"
    return time + ("" if drop is None else f", {drop.points:+.2f} points (at most {drop.interval.high:+.2f})")


def _measured(
    case: Case, made: dict[str, list[Build]], arguments: argparse.Namespace
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Return everybody's row, and the time of the peer's best build over ours at each batch size."""
    from compress.profiling.latency import Budget

    budget = Budget(
        seconds=arguments.seconds, least=50, most=5000, warm_up_seconds=min(0.5, arguments.seconds)
    )
    judge = Judge(case.task, MAX_DROP)
    with Contest(case, judge, budget, batches=BATCHES) as contest:
        rows = [contest.fp32()]
        for name, builds in made.items():  # each of the peer's, and then its best
            each = [contest.row(f"{name}, {build.settings}", [build]) for build in builds]
            rows += [replace(row, settings="") for row in each] if name == PEER else each
        peers = [row for row in rows[1:-1] if row.error is None and row.inside]
        own = rows[-1]
        against: list[dict[str, Any]] = []
        if own.error is None and peers:
            for place, batch in enumerate(BATCHES):
                best = min(peers, key=lambda row: row.latency[place].ratio or 1.0)
                ratio, interval = contest.between(best, own, batch)
                against.append(
                    {
                        "batch": batch,
                        "peer": best.build,
                        "ratio": ratio,
                        "low": interval.low,
                        "high": interval.high,
                    }
                )
    return rows, against


def _line(row: Row) -> str:
    if row.error is not None or row.accuracy is None:
        return f"{row.build}: {row.error}"
    drop = row.accuracy.drop
    lost = "" if drop is None else f", drop {drop.points:+.2f} points (at most {drop.interval.high:+.2f})"
    times = [
        f"{one.p50_ms:.3f} ms"
        + ("" if one.ratio is None else f", {1 / one.ratio:.2f} times as fast as fp32")
        + f" at batch {one.batch}"
        for one in row.latency
    ]
    size = 0.0 if row.bytes is None else row.bytes / 1e6
    return f"{row.build}: {row.accuracy.mean:.2%} right{lost}; {'; '.join(times)}; {size:.2f} MB"


def _goals(rows: Sequence[Row], against: Sequence[dict[str, Any]]) -> None:
    """Print whether the goals are reached."""
    own = rows[-1]
    if own.error is not None:
        print(f"goals: not reached, no build of ours: {own.error}")
        return
    for one in own.latency:
        if one.ratio is None:
            continue
        fastest = "" if one.ratio_interval is None else f" (at least {1 / one.ratio_interval.high:.2f})"
        reached = own.inside and 1 / one.ratio >= FASTER
        print(
            f"goal, {FASTER:g} times fp32 in ONNX Runtime within {MAX_DROP:g} point, batch {one.batch}: "
            f"{'reached' if reached else 'not reached'}, {1 / one.ratio:.2f} times{fastest}, "
            f"{'inside' if own.inside else 'outside'} the margin"
        )
    for entry in against:
        print(
            f"goal, ahead of NNCF + OpenVINO, batch {entry['batch']}: "
            f"{'reached' if own.inside and entry['low'] > 1 else 'not reached'}, {entry['ratio']:.2f} times as fast "
            f"({entry['low']:.2f} to {entry['high']:.2f}) as {entry['peer']}"
        )
    if not against:
        print("goal, ahead of NNCF + OpenVINO: not compared, it has no build inside the margin")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, nargs="?", help="of the network and its passages")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "compress-text-encoder")
    parser.add_argument("--train-seconds", type=float, default=240.0, help="of training, where there is none")
    parser.add_argument("--only-train", action="store_true")
    parser.add_argument(
        "--time-budget", type=float, default=300.0, help="seconds after which no build is begun"
    )
    parser.add_argument("--samples", type=int, default=4000, help="passages to judge on, at most")
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing per build and batch size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
