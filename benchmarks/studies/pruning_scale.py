"""Time and peak memory of finding channel groups: the shape of ResNet-56, and chains and ResNets of growing depth.

    python -m benchmarks run pruning_scale [--depths 50 100 200 800]

Each figure comes from a process of its own: seconds of processor time of `find_channels` without the one forward
pass that it makes, and peak resident memory above what the process held with the network. Weights are random.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from benchmarks import results

WIDTH = 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depths", nargs="+", type=int, default=[50, 100, 200, 800])
    parser.add_argument("--one", nargs=2, metavar=("KIND", "LAYERS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], int(arguments.one[1]))))
        return
    print(f"{'network':<12}{'layers':>8}{'units':>8}{'groups':>8}{'seconds':>10}{'ms/layer':>10}{'MB':>8}")
    rows = []
    for kind, layers in [
        ("cifar", 56),
        *((kind, n) for kind in ("chain", "residual") for n in arguments.depths),
    ]:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.studies.pruning_scale", "--one", kind, str(layers)],
            check=True,
            capture_output=True,
            text=True,
        )
        found = json.loads(done.stdout)
        print(
            f"{kind:<12}{layers:>8}{found['units']:>8}{found['groups']:>8}{found['seconds']:>10.2f}"
            f"{1e3 * found['seconds'] / layers:>10.2f}{found['bytes'] / 1e6:>8.1f}"
        )
        per_layer = 1e3 * found["seconds"] / layers
        size = {"layers": layers, "units": found["units"], "groups": found["groups"]}
        cost = {"seconds": found["seconds"], "ms_a_layer": per_layer, "mb": found["bytes"] / 1e6}
        rows.append({"network": kind, **size, **cost})
    results.record("networks", rows)


def measure(kind: str, layers: int) -> dict[str, Any]:
    """Find the groups of one network in this process."""
    from compress.pruning.groups import find_channels

    torch.set_num_threads(1)
    graph = build(kind, layers)
    example = [torch.randn(2, 3, 8, 8)]
    find_channels(build("chain", 2), example)  # imports
    start = time.process_time()
    with torch.no_grad():
        graph(*example)
    forward = time.process_time() - start
    before = peak()
    start = time.process_time()
    channels = find_channels(graph, example)
    seconds = time.process_time() - start - forward
    return {
        "seconds": seconds,
        "bytes": peak() - before,
        "groups": len(channels.groups),
        "units": sum(len(group) for group in channels.groups),
    }


def peak() -> int:
    """Peak resident memory of this process, bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("peak memory is read from /proc/self/status; run this on Linux")


def build(kind: str, layers: int) -> fx.GraphModule:
    """A network of so many convolutions as a graph of layers and aten calls, as the lift makes them.

    Args:
        kind: ``cifar`` for the widths 16, 32, 64 of He et al. 2016; ``residual`` for blocks of two convolutions;
            ``chain`` without sums.
        layers: Convolutions, and the linear layer.
    """
    aten = torch.ops.aten
    modules: dict[str, nn.Module] = {}
    graph = fx.Graph()

    def layer(name: str, module: nn.Module, operand: fx.Node) -> fx.Node:
        modules[name] = module
        return graph.call_module(name, (operand,))

    def block(name: str, inputs: int, outputs: int, operand: fx.Node) -> fx.Node:
        convolved = layer(f"{name}_conv", nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), operand)
        return layer(f"{name}_bn", nn.BatchNorm2d(outputs), convolved)

    widths = [16, 32, 64] if kind == "cifar" else [WIDTH]
    inputs = widths[0]
    x = graph.call_function(aten.relu.default, (block("stem", 3, inputs, graph.placeholder("x")),))
    pairs = (layers - 2) // 2
    for pair in range(pairs):
        outputs = widths[pair * len(widths) // pairs]
        y = graph.call_function(aten.relu.default, (block(f"first{pair}", inputs, outputs, x),))
        y = block(f"second{pair}", outputs, outputs, y)
        if kind != "chain":
            short = x if inputs == outputs else layer(f"short{pair}", nn.Conv2d(inputs, outputs, 1), x)
            y = graph.call_function(aten.add.Tensor, (y, short))
        x, inputs = graph.call_function(aten.relu.default, (y,)), outputs
    x = graph.call_function(aten.mean.dim, (x, [2, 3]))
    graph.output(layer("head", nn.Linear(inputs, 10), x))
    return fx.GraphModule(modules, graph).eval()


if __name__ == "__main__":
    main()
