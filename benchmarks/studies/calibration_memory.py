"""Peak memory of calibration with few and with many samples, for each method: it must not grow with their number.

    python -m benchmarks run calibration_memory [--model references/resnet20.onnx] [--data calibration.npz]

Each figure comes from a process of its own: peak resident memory of quantizing, above what the process held with the
network and all samples loaded. Without the reference networks a small convolutional network on noise takes their place.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks import results

COUNTS = (64, 4096)
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=Path("references/resnet20.onnx"))
    parser.add_argument("--data", type=Path, default=Path("references/data/calibration.npz"))
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "SAMPLES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.model, arguments.data, arguments.one[0], int(arguments.one[1]))))
        return
    from compress.quantization import METHODS

    print(
        f"{'method':16}"
        + "".join(f"{count:>8} samples" for count in COUNTS)
        + "   MiB above the loaded process"
    )
    rows = []
    for method in METHODS:
        found = [in_own_process(arguments, method, count) for count in COUNTS]
        cells = "".join(f"{each['peak_mib']:12.1f} MiB" for each in found)
        seconds = ", ".join(f"{each['seconds']:.1f} s" for each in found)
        print(f"{method:16}{cells}   ({seconds})", flush=True)
        peaks = {f"{count}_samples": each["peak_mib"] for count, each in zip(COUNTS, found, strict=True)}
        rows.append({"method": method, **peaks})
    results.record("peaks", rows)


def in_own_process(arguments: argparse.Namespace, method: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.studies.calibration_memory", "--one", method, str(count)]
    command += ["--model", str(arguments.model), "--data", str(arguments.data)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(path: Path, data: Path, method: str, count: int) -> dict[str, float]:
    """Quantize once; MiB above the process with everything loaded, and seconds."""
    from compress.quantization import Settings, quantize_static
    from compress.target.target import load_target

    model = onnx.load(path) if path.exists() else small_network()
    name = model.graph.input[0].name
    samples = np.load(data)["x"] if path.exists() and data.exists() else noise(model)
    flavour, settings = load_target("cpu").quantization, Settings(method=method)
    before, start = status("VmRSS"), time.perf_counter()
    quantize_static(model, batches(samples, name, count), flavour, settings)
    return {"peak_mib": status("VmHWM") - before, "seconds": time.perf_counter() - start}


def batches(samples: NDArray[Any], name: str, count: int) -> Iterator[dict[str, NDArray[Any]]]:
    """``count`` samples, from the first again where there are fewer."""
    for start in range(0, count, BATCH):
        rows = np.arange(start, min(start + BATCH, count)) % len(samples)
        yield {name: samples[rows]}


def status(field: str) -> float:
    """MiB, from Linux."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def small_network() -> onnx.ModelProto:
    """Eight convolutions of 32 channels on 3×32×32."""
    random = np.random.default_rng(0)
    nodes, weights, name, channels = [], [], "x", 3
    for index in range(8):
        values = random.standard_normal((32, channels, 3, 3)) * np.sqrt(2 / (9 * channels))
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{index}"))
        nodes.append(helper.make_node("Conv", [name, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        name, channels = f"r{index}", 32
    shape = ["batch", 3, 32, 32]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 32, 32, 32])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def noise(model: onnx.ModelProto) -> NDArray[np.float32]:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    return np.random.default_rng(0).standard_normal((64, *shape)).astype(np.float32)


if __name__ == "__main__":
    main()
