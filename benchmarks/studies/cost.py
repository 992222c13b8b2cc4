"""Cost of a verdict: seconds and peak memory of `compress quantize` and `compress optimize`, stage by stage.

    python -m benchmarks run large_networks  # once: the networks, into references/large
    python -m benchmarks run cost [--only resnet50] [--command quantize] [--format pt2] [--limit 600] [--json cost.json]

Each run is a process of its own with default settings. Twenty times a second a thread in it looks where the main thread
is, and the parent adds up the resident memory of the process and of its children. A stage is a row of :data:`STAGES`;
"first build" is when a finished bundle first lay on disk; "limit" is the memory that the run should stay within: four
times the network's weights and 1.5 GB. A run that is not done within ``--limit`` seconds is stopped, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import results
from compress.core.progress import Reporter

#: Part of a module's name, or module:function → the stage it is; the innermost frame that has one decides.
STAGES = {
    "compress.network.formats": "load",
    "compress.data": "load",
    "compress.data.task": "load",
    "compress.network.sample_axis": "find axes",
    "compress.network.preparation": "hold against the file",
    "compress.network.tracing": "lift",
    "compress.network.lifting.graph": "lift",
    "compress.network.network:_sha256_of_state": "hash",
    "compress.onnx_graph.files:sha256_of": "hash",
    "compress.network.onnx_export": "export",
    "compress.onnx_graph.fold": "fold",
    "compress.onnx_graph.constants": "fold",
    "compress.onnx_graph.affine": "fold",
    "compress.quantization.calibration": "calibrate",
    "compress.quantization.observers": "calibrate",
    "compress.quantization.histogram": "calibrate",
    "compress.quantization.equalization": "equalize",
    "compress.quantization.smoothing": "smooth",
    "compress.quantization.probe": "compare outputs",
    "compress.quantization.insertion": "quantize",
    "compress.quantization.dynamic": "quantize",
    "compress.quantization.rounding": "recover",
    "compress.quantization.moments": "recover",
    "compress.quantization.recovery": "recover",
    "compress.quantization.sensitivity": "sensitivity",
    "compress.backends.onnxruntime:operator_times": "trace operators",
    "compress.backends": "compile and open",
    "compress.profiling.accuracy": "evaluate",
    "compress.timing": "time",
    "compress.timing.settings": "choose options",
    "compress.profiling.latency": "time",
    "compress.profiling.memory": "measure memory",
    "compress.profiling.energy": "measure energy",
    "compress.statistics": "evaluate",
}
# Frames of a session that runs belong to whoever runs it.
_SEEN_THROUGH = ("run", "prepared", "<lambda>", "<genexpr>", "call")

_EVERY = 0.05  # seconds between two looks


@dataclass
class Stage:
    """Cost of one stage.

    Attributes:
        seconds: Wall time, all its visits together.
        peak_mib: Largest resident memory seen in it, children included.
    """

    seconds: float = 0.0
    peak_mib: float = 0.0


@dataclass
class Cost:
    """One run.

    Attributes:
        network: Its name.
        command: ``quantize`` or ``optimize``.
        weights_mb: Size of the network's ONNX file, MB.
        seconds: Time that the whole process took, or until it was stopped.
        done: Whether it ended by itself, and well.
        first_build: Seconds until a bundle or a file lay on disk; None where none did.
        peak_mib: Largest resident memory, children included.
        limit_mib: Four times the weights and 1.5 GB.
        stages: By name, in the order of their first visit.
        candidates: Name → seconds, and what it was shipped for or rejected as, as far as the run tells.
        told: Values that the run handed back, such as accuracy and sizes.
    """

    network: str
    command: str
    weights_mb: float
    seconds: float = 0.0
    done: bool = False
    first_build: float | None = None
    peak_mib: float = 0.0
    limit_mib: float = 0.0
    stages: dict[str, Stage] = field(default_factory=dict)
    candidates: dict[str, float] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    """Run what was asked for and print a table for each run, then all of them in one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=Path, default=Path("references/large"))
    parser.add_argument("--only", action="append", help="this network; repeatable")
    parser.add_argument("--command", choices=("quantize", "optimize"), action="append", help="repeatable")
    parser.add_argument("--format", choices=("pt2", "onnx"), default="pt2")
    parser.add_argument("--recipe", help="a recipe's file, for quantize")
    parser.add_argument(
        "--max-drop",
        type=float,
        default=1.0,
        help="for optimize; with a wide one, as a network that bears int8",
    )
    parser.add_argument("--time-budget", type=float, help="for optimize, seconds; without it, the default")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a run is stopped")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run(json.loads(arguments.one))
        return
    names = arguments.only or sorted(
        (path.stem for path in arguments.networks.glob("*.npz")),
        key=lambda name: (arguments.networks / f"{name}.onnx").stat().st_size,
    )
    costs = []
    for name in names:
        for command in arguments.command or ("quantize", "optimize"):
            costs.append(measure(name, command, arguments))
            print(table(costs[-1]), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=1) + "\n")
    for command in ("quantize", "optimize"):
        results.record(command, [recorded(cost) for cost in costs if cost.command == command])
    print(summary(costs))


def measure(name: str, command: str, arguments: argparse.Namespace) -> Cost:
    """Run one command on one network in a process of its own, and watch it."""
    directory = arguments.networks
    size = (directory / f"{name}.onnx").stat().st_size
    cost = Cost(name, command, size / 1e6, limit_mib=(4 * size + 1.5e9) / 2**20)
    with tempfile.TemporaryDirectory(prefix="cost-") as scratch:
        out = Path(scratch) / ("build" if command == "optimize" else "result.onnx")
        request = {
            "command": command,
            "model": str(directory / f"{name}.{arguments.format}"),
            "data": str(directory / f"{name}.npz"),
            "metric": "benchmarks.networks.large_networks:next_token" if _is_decoder(name) else None,
            "out": str(out),
            "recipe": arguments.recipe,
            "max_drop": arguments.max_drop,
            "time_budget": arguments.time_budget,
        }
        start = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.studies.cost", "--one", json.dumps(request)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        changes: list[tuple[float, str, str]] = []
        reader = threading.Thread(target=_read, args=(child, changes, cost.told))
        reader.start()
        memory: list[tuple[float, float]] = []
        while child.poll() is None and time.monotonic() - start < arguments.limit:
            memory.append((time.monotonic(), resident_mib(child.pid)))
            if cost.first_build is None and out.exists():
                cost.first_build = time.monotonic() - start
            time.sleep(_EVERY)
        cost.done = child.poll() == 0
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        reader.join()
        end = time.monotonic()
    cost.seconds = end - start
    cost.peak_mib = max(mib for _, mib in memory)
    _attribute(cost, start, end, changes, memory)
    return cost


def _attribute(
    cost: Cost,
    start: float,
    end: float,
    changes: list[tuple[float, str, str]],
    memory: list[tuple[float, float]],
) -> None:
    """Share time and memory out among stages and candidates."""
    marks = [(start, "start", ""), *changes, (end, "", "")]
    for (at, stage, candidate), (until, _, _) in pairwise(marks):
        seen = cost.stages.setdefault(stage, Stage())
        seen.seconds += until - at
        seen.peak_mib = max([seen.peak_mib, *(mib for when, mib in memory if at <= when < until)])
        if candidate:
            cost.candidates[candidate] = cost.candidates.get(candidate, 0.0) + until - at


def _read(child: subprocess.Popen[str], changes: list[tuple[float, str, str]], told: dict[str, Any]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        entry = json.loads(line)
        if "told" in entry:
            told.update(entry["told"])
        else:
            changes.append((entry["at"], entry["stage"], entry["candidate"]))


def resident_mib(pid: int) -> float:
    """Resident memory of a process and of all its descendants, in MiB; 0 where it is gone. From Linux."""
    total, waiting = 0.0, [pid]
    while waiting:
        each = waiting.pop()
        try:
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in Path(f"/proc/{each}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except (OSError, IndexError):
            continue
    return total / 2**20


class Told(Reporter):
    """Remembers what the run said last."""

    def __init__(self) -> None:
        self.text, self.candidate = "start", ""

    def stage(self, text: str) -> None:
        """Something that belongs to no candidate."""
        self.text, self.candidate = text, ""

    def begin(self, recipe: Any) -> None:
        """A candidate."""
        self.candidate = recipe.name

    def step(self, text: str, total: int = 0) -> None:
        """A step of the candidate."""
        self.text = text


def run(request: dict[str, Any]) -> None:
    """The process that is measured: runs the command and prints a line whenever its stage changes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not the answer

    def answer(entry: dict[str, Any]) -> None:
        answers.write(json.dumps(entry) + "\n")
        answers.flush()

    told, over = Told(), threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(threading.main_thread().ident, told, over, answer), daemon=True
    )
    watcher.start()
    try:
        answer(
            {
                "told": _optimize(request, told)
                if request["command"] == "optimize"
                else _quantize(request, told)
            }
        )
    finally:
        over.set()
        watcher.join()


def _watch(main: int, told: Told, over: threading.Event, answer: Callable[[dict[str, Any]], None]) -> None:
    last = None
    while not over.wait(_EVERY):
        now = stage_of(sys._current_frames()[main]) or told.text, told.candidate
        if now != last:
            answer({"at": time.monotonic(), "stage": now[0], "candidate": now[1]})
            last = now


def stage_of(frame: FrameType | None) -> str | None:
    """The stage that a call is in, by the innermost frame that has one."""
    for module, function in _calls(frame):
        if f"{module}:{function}" in STAGES:
            return STAGES[f"{module}:{function}"]
        parts = module.split(".")
        for length in range(len(parts), 1, -1):
            if ".".join(parts[:length]) in STAGES and function not in _SEEN_THROUGH:
                return STAGES[".".join(parts[:length])]
    return None


def _calls(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    while frame is not None:
        yield str(frame.f_globals.get("__name__", "")), frame.f_code.co_name
        frame = frame.f_back


def _quantize(request: dict[str, Any], told: Told) -> dict[str, Any]:
    from compress import quantize

    found = quantize(
        request["model"],
        data=request["data"],
        metric=request["metric"],
        out=request["out"],
        recipe=request["recipe"],
        reporter=told,
    ).to_dict()
    kept = ("original", "accuracy", "agreement")
    return {name: found[name] and found[name]["mean"] for name in kept} | {"bytes": found["bytes"]}


def _optimize(request: dict[str, Any], told: Told) -> dict[str, Any]:
    from compress import optimize

    found = optimize(
        request["model"],
        data=request["data"],
        metric=request["metric"],
        out=request["out"],
        max_drop=request["max_drop"],
        time_budget=request["time_budget"],
        reporter=told,
    ).to_dict()
    return {
        "shipped": found["shipped"],
        "reason": found["reason"],
        "verdicts": {each["recipe"]["name"]: each["verdict"] for each in found["candidates"]},
    }


def _is_decoder(name: str) -> bool:
    return name.startswith(("gpt", "decoder"))


def table(cost: Cost) -> str:
    """One run, stage by stage."""
    lines = [f"{cost.network}, compress {cost.command}", f"  {'stage':<36}{'seconds':>9}{'peak MiB':>10}"]
    for name, stage in sorted(cost.stages.items(), key=lambda item: -item[1].seconds):
        if stage.seconds >= 0.01 * cost.seconds:
            lines.append(f"  {name:<36}{stage.seconds:>9.1f}{stage.peak_mib:>10.0f}")
    ended = "" if cost.done else " (stopped or failed)"
    lines.append(f"  {'all' + ended:<36}{cost.seconds:>9.1f}{cost.peak_mib:>10.0f}")
    lines += [f"    {name:<34}{seconds:>9.1f}" for name, seconds in cost.candidates.items()]
    lines += [f"    {name}: {value}" for name, value in cost.told.items()]
    return "\n".join(lines) + "\n"


def recorded(cost: Cost) -> dict[str, Any]:
    """One run as a row of a result: sizes in MB and GiB, times in seconds; None where fp32 was not timed."""
    fp32 = cost.candidates.get("fp32")
    return {
        "network": cost.network,
        "weights_mb": round(cost.weights_mb),
        "seconds": round(cost.seconds),
        "done": cost.done,
        "fp32_seconds": None if fp32 is None else round(fp32),
        "peak_gib": cost.peak_mib / 1024,
        "goal_gib": cost.limit_mib / 1024,
    }


def summary(costs: list[Cost]) -> str:
    """All runs, one line each."""
    head = f"{'network':<16}{'command':<10}{'MB':>7}{'seconds':>9}{'first build':>13}{'peak MiB':>10}{'limit':>8}"
    lines = [head]
    for cost in costs:
        first = "–" if cost.first_build is None else f"{cost.first_build:.0f}"
        seconds = f"{cost.seconds:.0f}" if cost.done else f">{cost.seconds:.0f}"
        lines.append(
            f"{cost.network:<16}{cost.command:<10}{cost.weights_mb:>7.1f}{seconds:>9}{first:>13}"
            f"{cost.peak_mib:>10.0f}{cost.limit_mib:>8.0f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
