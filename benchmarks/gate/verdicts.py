"""Rate at which the latency gate is wrong on this machine, while its other core is loaded.

    python -m benchmarks run verdicts                                  # 500 A/A gates, 200 at +5 %, 100 at +10 %: hours
    python -m benchmarks run verdicts --same 50 --slower 20 --slow 10  # a first look
    python -m benchmarks run gate_statistics                           # the statistics behind it, by simulation

Every gate is a `compress gate` in a process of its own, as CI runs it: default policy, latency alone, ONNX files. The
candidate is the baseline itself (a verdict of `fail` is a false alarm), or the same network padded by further equal
blocks: truly +5 % or +10 %. Two networks: calls of about a millisecond, and calls of a fifth of
that. Rows are appended to a file, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks import results
from compress.statistics.proportions import wilson

VERDICTS = {0: "pass", 1: "fail", 3: "inconclusive"}
POLICY = 'checks = ["latency"]\n'


def convolutions(blocks: int) -> onnx.ModelProto:
    """Equal blocks of a 3x3 convolution of 16 channels and a ReLU, over [1, 16, 28, 28]."""
    draw = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for number in range(blocks):
        weight = draw.standard_normal((16, 16, 3, 3)).astype(np.float32) / 12
        weights.append(numpy_helper.from_array(weight, f"w{number}"))
        nodes.append(helper.make_node("Conv", [last, f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
        last = f"r{number}" if number < blocks - 1 else "y"
        nodes.append(helper.make_node("Relu", [f"c{number}"], [last]))
    return _model(nodes, weights, [1, 16, 28, 28])


def dense(blocks: int) -> onnx.ModelProto:
    """Equal blocks of a matrix product of 128 columns and a ReLU, over [1, 128]."""
    draw = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for number in range(blocks):
        weight = draw.standard_normal((128, 128)).astype(np.float32) / 11
        weights.append(numpy_helper.from_array(weight, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{number}"], [f"m{number}"]))
        last = f"r{number}" if number < blocks - 1 else "y"
        nodes.append(helper.make_node("Relu", [f"m{number}"], [last]))
    return _model(nodes, weights, [1, 128])


#: Builder, blocks, and the further blocks that make a call take 5 % more (a call has a cost of its own besides).
NETWORKS = {"convolutions": (convolutions, 20, 1), "dense": (dense, 54, 3)}


def _model(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], shape: list[int]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "padded",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--same", type=int, default=500, help="gates of a network against its own copy")
    parser.add_argument("--slower", type=int, default=200, help="gates of a candidate that takes 5 %% more")
    parser.add_argument("--slow", type=int, default=100, help="gates of a candidate that takes 10 %% more")
    parser.add_argument("--idle", action="store_true", help="leave the other core alone")
    parser.add_argument("--out", type=Path, default=Path("gate-runs"))
    arguments = parser.parse_args()

    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "gate.toml").write_text(POLICY, encoding="utf-8")
    for name, (network, blocks, five_percent) in NETWORKS.items():
        for steps in (0, 1, 2):
            onnx.save(network(blocks + steps * five_percent), str(file_of(arguments.out, name, 5 * steps)))
    for name in NETWORKS:
        ratios = [true_ratio(arguments.out, name, percent) for percent in (5, 10)]
        print(f"{name}: one thread, 1,000 pairs: true ratios {ratios[0]:.3f} and {ratios[1]:.3f}", flush=True)
    wanted = Counter(
        {
            (name, 5 * steps): -(-count // len(NETWORKS))
            for steps, count in enumerate((arguments.same, arguments.slower, arguments.slow))
            for name in NETWORKS
        }
    )
    rows = arguments.out / "rows.jsonl"
    wanted -= Counter((str(row["network"]), int(str(row["padding_percent"]))) for row in read(rows))
    # In random order, so that the machine's moods meet every kind alike.
    cases = list(wanted.elements())
    random.Random(0).shuffle(cases)
    load = None if arguments.idle else multiprocessing.Process(target=_busy, daemon=True)
    if load is not None:
        load.start()
    for name, percent in cases:
        row = one_gate(arguments.out, name, percent)
        with rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    if load is not None:
        load.kill()
    results.record("gates", recorded(read(rows)))
    print(summary(read(rows)))
    return 0


def file_of(directory: Path, network: str, percent: int) -> Path:
    """The network padded by 0, 5 or 10 %."""
    return directory / f"{network}+{percent}.onnx"


def true_ratio(directory: Path, network: str, percent: int) -> float:
    """The median over many interleaved pairs of sessions on one thread, before the other core is loaded."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    padded, plain = (
        onnxruntime.InferenceSession(str(file_of(directory, network, each)), options) for each in (percent, 0)
    )
    shape = plain.get_inputs()[0].shape
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    ratios = []
    for number in range(1000):
        times = {}
        for session in (padded, plain) if number % 2 else (plain, padded):
            start = time.perf_counter()
            session.run(None, feeds)
            times[session] = time.perf_counter() - start
        ratios.append(times[padded] / times[plain])
    return float(np.median(ratios))


def one_gate(directory: Path, network: str, percent: int) -> dict[str, object]:
    """One `compress gate` in a process of its own."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "compress", "gate", str(file_of(directory, network, percent))]
    command += ["--baseline", str(file_of(directory, network, 0)), "--json"]
    command += ["--policy", str(directory / "gate.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in VERDICTS:
        raise SystemExit(f"exit code {done.returncode}: {done.stderr}")
    (check,) = json.loads(done.stdout)["checks"]
    return {
        "network": network,
        "padding_percent": percent,
        "verdict": VERDICTS[done.returncode],
        "figures": check["figures"],
        "seconds": round(time.perf_counter() - start, 1),
        "load": round(os.getloadavg()[0], 2),
    }


def read(rows: Path) -> list[dict[str, object]]:
    """Return the rows of earlier gates, and of an earlier run."""
    return [json.loads(line) for line in rows.read_text().splitlines()] if rows.is_file() else []


def summary(rows: list[dict[str, object]]) -> str:
    """A line for each network and padding, with Wilson's interval of the share that matters."""
    lines = []
    for percent, told in ((0, "false failures"), (5, "+5 % found"), (10, "+10 % found")):
        for network in (*NETWORKS, None):
            chosen = [
                row for row in rows if row["padding_percent"] == percent and network in (row["network"], None)
            ]
            if not chosen:
                continue
            verdicts = Counter(str(row["verdict"]) for row in chosen)
            low, high = wilson(verdicts["fail"], len(chosen))
            seconds = float(np.median([float(str(row["seconds"])) for row in chosen]))
            lines.append(
                f"{told:15} {network or 'both':13} {verdicts['fail']:4} of {len(chosen):4}: "
                f"{100 * verdicts['fail'] / len(chosen):5.1f} % ({100 * low:.1f}-{100 * high:.1f}); "
                f"pass {verdicts['pass']}, inconclusive {verdicts['inconclusive']}; {seconds:.0f} s a gate"
            )
    return "\n".join(lines)


#: What the candidate of each padding, in percent, shows.
_CANDIDATES = {0: "the baseline itself: false failures", 5: "truly +5 %: found", 10: "truly +10 %: found"}


def recorded(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return a row for each padding: gates that failed, of how many, with Wilson's 95 % interval in percent."""
    found = []
    for percent, told in _CANDIDATES.items():
        line: dict[str, object] = {"candidate": told}
        padded = [row for row in rows if row["padding_percent"] == percent]
        for network in (*NETWORKS, "both"):
            verdicts = [row["verdict"] for row in padded if network in (row["network"], "both")]
            low, high = wilson(verdicts.count("fail"), len(verdicts)) if verdicts else (0.0, 1.0)
            line[network] = {
                "found": verdicts.count("fail"),
                "gates": len(verdicts),
                "inconclusive": verdicts.count("inconclusive"),
                "interval": [round(100 * low, 1), round(100 * high, 1)],
            }
        found.append(line)
    return found


def _busy() -> None:
    while True:
        sum(range(10_000))


if __name__ == "__main__":
    sys.exit(main())
