"""Torch's simulation of int8 against what ONNX Runtime makes of the same ranges: how often do both decide alike?

    python -m benchmarks run quantization --parity [--only resnet20] [--samples 10000]

The network is placed and calibrated once, as ``compress`` does. From that come the simulation that quantization-aware
training begins with, untrained, and the ONNX file with Q/DQ, which ONNX Runtime runs with all its fusions. Told is the
share of samples with the same largest logit, and the largest difference of a logit.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from rich.console import Console
from rich.table import Table

from compress.backends.onnxruntime import OnnxRuntime
from compress.data.task import Task, load_task
from compress.errors import CompressError
from compress.network.network import load_network
from compress.quantization import Settings, place, prepare
from compress.quantization.aware import Simulation
from compress.quantization.calibration import calibrate
from compress.quantization.insertion import insert
from compress.quantization.observers import new_observer
from compress.statistics.proportions import wilson
from compress.target.target import load_target
from compress.techniques.base import CALIBRATION_BATCH_SIZE

WANTED = 0.999
BATCH = 250


@dataclass(frozen=True)
class Parity:
    """Likeness of a simulation and its result.

    Attributes:
        agreeing: Samples with the same decision.
        samples: All of them.
        difference: The largest absolute difference of a logit.
        spread: Standard deviation of the logits, to read ``difference`` by.
    """

    agreeing: int
    samples: int
    difference: float
    spread: float

    @property
    def share(self) -> float:
        """Share of the samples with the same decision, in [0, 1]."""
        return self.agreeing / self.samples


def print_parity(references: Path, folders: Mapping[str, str], samples: int) -> int:
    """Print a line for each network; the exit code is 1 where one of them agrees too seldom.

    Args:
        references: Directory of the networks.
        folders: Network → the folder of its data below ``data``.
        samples: Number of samples of the evaluation data, at most.
    """
    table = Table(title=f"same top-1 in the simulation and in ONNX Runtime; wanted {WANTED:.1%}")
    for heading in ("network", "agree", "95 % interval", "of", "largest difference", "spread of logits"):
        table.add_column(heading, no_wrap=True)
    short = False
    for name, folder in folders.items():
        data = references / "data" / folder
        try:
            task = load_task(data / "val.npz", calibration_data=data / "calibration.npz")
            found = parity(references / f"{name}.pt2", task, samples)
        except CompressError as error:
            print(f"{name}: {error}", file=sys.stderr)
            short = True
            continue
        low, high = wilson(found.agreeing, found.samples, 0.95)
        counted = (f"{found.share:.2%}", f"{low:.2%}–{high:.2%}", str(found.samples))
        table.add_row(name, *counted, f"{found.difference:.3g}", f"{found.spread:.3g}")
        short = short or found.share < WANTED
    Console(width=120 if not sys.stdout.isatty() else None).print(table)
    return int(short)


def parity(path: Path, task: Task, samples: int) -> Parity:
    """Simulate and export the same int8 network, and run both.

    Args:
        path: Path of the float network.
        task: Its data, not yet bound.
        samples: Number of samples of the evaluation data, at most.

    Raises:
        CompressError: The network cannot be quantized or simulated.
    """
    network = load_network(path, example=task.example())
    task = task.bind(network.inputs, network.outputs)
    simulation, model = both(network.to_onnx(), task)
    agreeing = total = 0
    difference, logits = 0.0, []
    backend = OnnxRuntime()
    with tempfile.TemporaryDirectory() as directory, torch.inference_mode():
        artifact = backend.compile(model, Path(directory), {})
        with backend.open(artifact) as session:
            rows = np.arange(min(samples, len(task.evaluation)))
            for batch in task.evaluation.take(rows).batches(BATCH):
                real = session.run(batch.inputs)[0]
                tensors = [torch.from_numpy(batch.inputs[name]) for name in simulation.input_names]
                simulated = simulation(*tensors)[0].numpy()
                agreeing += int((real.argmax(axis=1) == simulated.argmax(axis=1)).sum())
                total += len(real)
                difference = max(difference, float(np.abs(real - simulated).max()))
                logits.append(real)
    return Parity(agreeing, total, difference, float(np.concatenate(logits).std()))


def both(model: onnx.ModelProto, task: Task) -> tuple[Simulation, onnx.ModelProto]:
    """The untrained simulation, in evaluation mode, and the network with Q/DQ at the same ranges."""
    flavour, settings = load_target("cpu").quantization, Settings()
    prepared = prepare(model)
    placement = place(prepared, flavour, settings)
    own = [name for name in placement.activations if placement.same_scale_as[name] == name]
    batches = (batch.inputs for batch in task.calibration.batches(CALIBRATION_BATCH_SIZE))
    ranges = calibrate(prepared, own, batches, lambda: new_observer(settings, flavour)).ranges
    simulation = Simulation(prepared, placement, ranges, flavour).eval()
    learned = simulation.learned()
    return simulation, insert(learned.model, placement, learned.ranges, flavour, learned.weight_scales)
