"""Comparison of quantizers: ONNX Runtime by itself and by hand, NNCF with OpenVINO, and ``compress.optimize``.

    python -m benchmarks run train                                        # once
    python -m venv ~/nncf && ~/nncf/bin/pip install nncf openvino onnx  # once; never beside torch and compress
    python -m benchmarks run quantization --nncf-python ~/nncf/bin/python --out quantization.json
    python -m benchmarks run quantization --objective throughput --nncf-python …  # batch 32 alone decides
    python -m benchmarks run quantization --parity                                # torch against ONNX Runtime

Everyone gets the same samples to calibrate on and the same fp32 ONNX file (ours the ``.pt2`` that it was exported
from), and every build is measured by the same code against the same fp32 file in ONNX Runtime, in interleaved pairs, in
eight rounds of fresh sessions, in one process. Of several settings that somebody would try by hand, told is the fastest
inside the margin at batch 1, or at batch 32 where throughput is the objective, ours and everybody's. Quantizing is
timed in a process of its own. A network whose rows are in ``--out`` already is not measured again, unless the files,
the settings or the machine have changed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import results
from benchmarks.networks.train import DATA
from benchmarks.studies.quantization import rivals
from benchmarks.studies.quantization.contest import BATCHES, Contest, Judge, Row
from benchmarks.studies.quantization.rivals import Build, Case
from benchmarks.studies.quantization.table import print_tables, recorded
from compress.backends.onnxruntime import OnnxRuntimeSession
from compress.core.versions import versions
from compress.data.task import load_task
from compress.errors import CompressError
from compress.machine.machine import fingerprint
from compress.onnx_graph.files import sha256_of
from compress.profiling.latency import Budget

#: Network → the folder of its data below ``references/data``.
NETWORKS = {name: data.folder for data in DATA for name in data.networks}
#: NNCF asks to be told.
TRANSFORMERS = {"vit", "text_encoder"}
OURS = "compress"


def main() -> int:
    arguments = _arguments()
    names = [name for name in arguments.only or NETWORKS if _trained(arguments.references, name)]
    if arguments.parity:
        from benchmarks.studies.quantization.parity import print_parity

        folders = {name: NETWORKS[name] for name in names}
        return print_parity(arguments.references, folders, arguments.samples)
    done = _read(arguments.out)
    for name in names:
        key, told = _key(name, arguments), _title(name, arguments)
        if told in done and done[told]["key"] == key:
            print(f"{told}: measured already, in {arguments.out}", file=sys.stderr)
            continue
        started = time.perf_counter()
        try:
            done[told] = {"key": key, **compare(name, arguments)}
        except CompressError as error:
            print(f"{told}: {error}", file=sys.stderr)
            continue
        done[told]["seconds"] = round(time.perf_counter() - started, 1)
        _write(arguments.out, done)
    titles = [_title(name, arguments) for name in names]
    chosen = {title: done[title] for title in titles if title in done}
    for rows, entries in recorded(chosen, arguments.objective).items():
        results.record(rows, entries)
    print_tables(chosen, Console(width=220 if not sys.stdout.isatty() else None))
    return 0


def compare(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The rows of one network, and what they say of us."""
    with tempfile.TemporaryDirectory(prefix="compress-") as scratch:
        case = _case(name, arguments, Path(scratch))
        _tell(name, "ONNX Runtime's own quantization")
        made = {
            "ONNX Runtime, defaults": rivals.defaults(case),
            "ONNX Runtime, by hand": rivals.by_hand(case),
        }
        _tell(name, "NNCF")
        transformer = name in TRANSFORMERS
        made["NNCF + OpenVINO"] = rivals.nncf(case, arguments.nncf_python, transformer=transformer)
        judge = Judge(case.task, arguments.max_drop)
        rows: list[Row] = []
        standings = []
        for threads in arguments.threads:
            found, standing = _contest(replace(case, threads=threads), made, judge, arguments)
            rows += found
            standings.append(standing)
    return {"rows": [row.to_dict() for row in rows], "standings": standings}


def _contest(
    case: Case, made: Mapping[str, Sequence[Build]], judge: Judge, arguments: argparse.Namespace
) -> tuple[list[Row], dict[str, Any]]:
    """All builds with one number of threads."""
    of_threads = f"{case.threads} thread{'s' if case.threads > 1 else ''}"
    _tell(case.name, f"compress.optimize, {of_threads}")
    limits = {"max_drop": arguments.max_drop, "seconds": arguments.seconds}
    own = rivals.ours(case, **limits, objective=arguments.objective)
    batches = _judged(arguments)
    budget = Budget(
        seconds=arguments.seconds, least=50, most=5000, warm_up_seconds=min(0.5, arguments.seconds)
    )
    _tell(case.name, f"measuring, {of_threads}")
    with Contest(case, judge, budget, batches[0]) as contest:
        rows = [contest.fp32(), *(contest.row(name, builds) for name, builds in made.items())]
        rows.append(contest.row(OURS, own))
        return rows, _standing(contest, rows, batches)


def _judged(arguments: argparse.Namespace) -> Sequence[int]:
    """The batch sizes that decide; the first of them which settings a rival takes."""
    return BATCHES[-1:] if arguments.objective == "throughput" else BATCHES


def _title(name: str, arguments: argparse.Namespace) -> str:
    return name if arguments.objective == "latency" else f"{name} for {arguments.objective}"


def _standing(contest: Contest, rows: Sequence[Row], batches: Sequence[int]) -> dict[str, Any]:
    """Whether ours is inside the margin, never slower than fp32, and the fastest inside the margin."""
    own, others = rows[-1], [row for row in rows[1:-1] if row.inside and row.error is None]
    standing: dict[str, Any] = {"threads": own.threads, "inside": own.inside, "error": own.error}
    if own.error is not None:
        return standing
    judged = [each for each in own.latency if each.batch in batches]
    slower = [each for each in judged if each.ratio_interval and each.ratio_interval.low > 1]
    standing["slower_than_fp32_at"] = [each.batch for each in slower]
    standing["against"] = []
    for batch in batches:
        if not others:
            break
        index = BATCHES.index(batch)
        best = min(others, key=lambda row: row.latency[index].ratio or 1.0)
        ratio, interval = contest.between(best, own, batch)
        entry = {"batch": batch, "rival": best.build, "ratio": ratio, "interval": asdict(interval)}
        standing["against"].append(entry)
    return standing


def _case(name: str, arguments: argparse.Namespace, directory: Path) -> Case:
    """The network bound to its data, which is cut to the number of samples that was asked for."""
    data = arguments.references / "data" / NETWORKS[name]
    evaluation = data / "val.npz"
    with np.load(evaluation) as arrays:
        if len(arrays["y"]) > arguments.samples:
            evaluation = directory / "val.npz"
            np.savez(evaluation, **{key: arrays[key][: arguments.samples] for key in arrays.files})
    calibration = data / "calibration.npz"
    fp32, exported = _files(arguments.references, name)
    session = OnnxRuntimeSession(fp32, {})
    task = load_task(evaluation, calibration_data=calibration).bind(session.inputs, session.outputs)
    session.close()
    return Case(name, fp32, exported, task, evaluation, calibration, directory)


def _files(references: Path, name: str) -> tuple[Path, Path]:
    return (references / f"{name}.onnx").resolve(), (references / f"{name}.pt2").resolve()


def _trained(references: Path, name: str) -> bool:
    if all(path.exists() for path in _files(references, name)):
        return True
    print(f"{name}: not there; python -m benchmarks run train --only {name}", file=sys.stderr)
    return False


def _key(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the key that the rows of this run share, as JSON holds it."""
    key = {
        "files": [sha256_of(path) for path in _files(arguments.references, name)],
        "samples": arguments.samples,
        "seconds": arguments.seconds,
        "max_drop": arguments.max_drop,
        "threads": arguments.threads,
        "nncf": arguments.nncf_python is not None,
        "machine": fingerprint(),
        "versions": versions(),
    }
    return dict(json.loads(json.dumps(key)))


def _read(path: Path | None) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path is not None and path.exists() else {}


def _write(path: Path | None, done: Mapping[str, Any]) -> None:
    if path is not None:
        partial = path.with_name(f".{os.getpid()}-{path.name}")
        partial.write_text(json.dumps(done, indent=1) + "\n")
        partial.replace(path)


def _tell(name: str, text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {name}: {text}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", type=Path, default=Path("references"))
    parser.add_argument("--only", choices=NETWORKS, action="append", help="this network; repeatable")
    parser.add_argument("--nncf-python", type=Path, help="of an environment with nncf, openvino and onnx")
    parser.add_argument("--out", type=Path, help="JSON file of the rows, and what a next run goes on from")
    parser.add_argument("--samples", type=int, default=10_000, help="of the evaluation data, at most")
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing per build and batch size")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--max-drop", type=float, default=1.0, help="the margin, in points")
    parser.add_argument("--objective", choices=["latency", "throughput"], default="latency")
    parser.add_argument("--parity", action="store_true", help="torch's simulation against ONNX Runtime")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
