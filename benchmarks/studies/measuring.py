"""Cost of measuring: our single-stream median against a bare loop and against ONNX Runtime's own tools.

    python -m benchmarks run measuring  # the ResNet-20 and a network of about 30 µs

Four ways to time the same session on the same feeds take turns, in blocks of calls whose order is drawn each round:

ours           compress.profiling.latency: a prepared call between two readings of the clock
bare           InferenceSession.run(names, feeds) between two readings of the clock, in a plain loop
ORT's timing   timeit.repeat(lambda: session.run(None, feeds), number=1), which is how
               onnxruntime.transformers.benchmark_helper.inference_ort of the wheel times a session (the function
               itself prints two digits of a millisecond); None makes the runtime look up the outputs' names each time
ORT's loop     total time over the number of calls, which is how onnxruntime.tools.onnxruntime_test of the wheel
               does it

The first three are compared by the median of a block, the last by its mean, with ours by its mean too. Each round
gives a ratio ours / theirs; told are the median of the ratios over rounds and its 95 % interval from order statistics.
The last column times a second session of the same file, and shows what two equal things differ by.
ONNX Runtime's C++ tool onnxruntime_perf_test is in no wheel: it comes with a build from source.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from compress.backends.base import Artifact
from compress.backends.onnxruntime import DEFAULTS, OnnxRuntime, OnnxRuntimeSession
from compress.onnx_graph.files import sha256_of, size_of
from compress.profiling.latency import no_collection, sample_feeds, timer
from compress.statistics.quantiles import quantile_interval

Times = np.ndarray[Any, np.dtype[np.float64]]
#: Times so many calls, in milliseconds each; one number where only the mean is known.
Way = Callable[[int], Times]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", type=Path, default=Path("references"))
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.04, help="of each block, by the first call's time")
    arguments = parser.parse_args()

    table = Table(title="our time over theirs (95 % interval), one thread", title_justify="left")
    for heading in ("network", "median", "bare", "ORT's timing", "ORT's loop (means)", "a second session"):
        table.add_column(heading, justify="right", no_wrap=True)
    with tempfile.TemporaryDirectory() as directory:
        small = Path(directory) / "small.onnx"
        onnx.save(small_network(), small)
        for name, path in (("resnet20", arguments.references / "resnet20.onnx"), ("small", small)):
            table.add_row(name, *compare(path, arguments.rounds, arguments.seconds))
    Console(width=120 if not sys.stdout.isatty() else None).print(table)
    return 0


def compare(path: Path, rounds: int, seconds: float) -> list[str]:
    artifact = Artifact(path, sha256_of(path), size_of(path), "onnxruntime", dict(DEFAULTS))
    backend = OnnxRuntime()
    with backend.open(artifact) as session, backend.open(artifact) as second:
        feeds = sample_feeds(session, None)
        ways = {
            "ours": ours(timer(session.prepared(feeds))),
            "bare": bare(runtime_session(session), feeds),
            "timing": timing(runtime_session(session), feeds),
            "loop": loop(runtime_session(session), feeds),
            "second": ours(timer(second.prepared(feeds))),
        }
        count = max(20, int(1e3 * seconds / np.median(ways["ours"](200))))
        ratios: dict[str, list[float]] = {name: [] for name in ways if name != "ours"}
        medians: list[float] = []
        order, random = list(ways), np.random.default_rng(0)
        with no_collection():
            for _ in range(rounds):
                random.shuffle(order)
                blocks = {name: ways[name](count) for name in order}
                medians.append(float(np.median(blocks["ours"])))
                for name, found in ratios.items():
                    of = np.mean if name == "loop" else np.median
                    found.append(float(of(blocks["ours"]) / of(blocks[name])))
    return [f"{1e3 * np.median(medians):.4g} µs", *map(ratio_text, ratios.values())]


def ours(call: Callable[[], float]) -> Way:
    return lambda count: np.array([call() for _ in range(count)])


def bare(session: onnxruntime.InferenceSession, feeds: Mapping[str, Any]) -> Way:
    names = [output.name for output in session.get_outputs()]

    def way(count: int) -> Times:
        times = []
        for _ in range(count):
            start = time.perf_counter_ns()
            session.run(names, feeds)
            times.append(time.perf_counter_ns() - start)
        return np.array(times) / 1e6

    return way


def timing(session: onnxruntime.InferenceSession, feeds: Mapping[str, Any]) -> Way:
    return lambda count: (
        1e3 * np.array(timeit.repeat(lambda: session.run(None, feeds), number=1, repeat=count))
    )


def loop(session: onnxruntime.InferenceSession, feeds: Mapping[str, Any]) -> Way:
    def way(count: int) -> Times:
        start = timeit.default_timer()
        for _ in range(count):
            session.run([], feeds)
        return np.array([1e3 * (timeit.default_timer() - start) / count])

    return way


def runtime_session(session: object) -> onnxruntime.InferenceSession:
    """The runtime's own session inside ours: every way has to time the very same one."""
    if not isinstance(session, OnnxRuntimeSession) or session._session is None:
        raise TypeError(f"an open session of ONNX Runtime, not {type(session).__name__}")
    return session._session


def small_network(width: int = 224, depth: int = 6) -> onnx.ModelProto:
    """A perceptron that one core runs in about 30 µs."""
    random = np.random.default_rng(0)
    nodes, weights, read = [], [], "x"
    for layer in range(depth):
        matrix = random.standard_normal((width, width)).astype(np.float32) / np.sqrt(np.float32(width))
        weights.append(numpy_helper.from_array(matrix, f"w{layer}"))
        nodes.append(helper.make_node("Gemm", [read, f"w{layer}"], [f"h{layer}"], f"gemm{layer}"))
        nodes.append(helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"], f"relu{layer}"))
        read = f"r{layer}"
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info(read, TensorProto.FLOAT, ["batch", width])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def ratio_text(ratios: list[float]) -> str:
    interval = quantile_interval(ratios, 0.5)
    bounds = "" if interval is None else f" ({interval.lower:.3f}–{interval.upper:.3f})"
    return f"{np.median(ratios):.3f}{bounds}"


if __name__ == "__main__":
    sys.exit(main())
