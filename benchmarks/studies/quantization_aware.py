"""Quantization-aware training of a reference network: accuracy before and after, and what the simulation is worth.

    python -m benchmarks run train                            # once
    python -m benchmarks run quantization_aware               # the MobileNet, 1,024 steps, about ten minutes
    python -m benchmarks run quantization_aware --per-tensor  # one scale a weight and seven bits: int8 loses more

'agreement' is with the float network on the 10,000 test images; 'parity' is the share of them on which the trained
simulation in PyTorch and the exported file in ONNX Runtime name the same class.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from compress.data.task import load_task
from compress.network.network import load_network
from compress.onnx_module import OnnxModule
from compress.quantization import Settings, place_and_calibrate
from compress.quantization.aware import Simulation
from compress.quantization.insertion import insert
from compress.target.target import load_target
from compress.techniques.base import Context, calibration_batches
from compress.training.loop import Progress, train
from compress.training.losses import Distillation
from compress.training.settings import TrainingOptions


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", type=Path, default=Path("references"))
    parser.add_argument("--network", default="mobilenet")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--epoch-samples", type=int, default=8192)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--label-weight", type=float, default=0.0)
    parser.add_argument("--per-tensor", action="store_true", help="weights of one scale each and seven bits")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    data = arguments.references / "data"
    task = load_task(
        data / "val.npz", train_data=data / "train.npz", calibration_data=data / "calibration.npz"
    )
    network = load_network(arguments.references / f"{arguments.network}.pt2", example=task.example())
    task = task.bind(network.inputs, network.outputs)
    if task.training is None:
        raise SystemExit("references/data/train.npz is empty")
    target = load_target("cpu")
    flavour = target.quantization
    if arguments.per_tensor:
        flavour = replace(flavour, per_channel=False, reduce_range=True)
    start = place_and_calibrate(
        network.to_onnx(), calibration_batches(network, Context(task, target)), flavour, Settings()
    )
    student, teacher = (
        Simulation(start.model, start.placement, start.ranges, flavour),
        OnnxModule(start.model),
    )
    plain = insert(start.model, start.placement, start.ranges, flavour)
    settings = TrainingOptions(
        epochs=arguments.epochs,
        epoch_samples=arguments.epoch_samples,
        learning_rate=arguments.learning_rate,
    )
    loss = Distillation(classes=True, label_weight=arguments.label_weight)
    report = train(student, teacher, task.training, loss, settings, inputs=student.input_names, report=_tell)
    learned = student.learned()
    trained = insert(learned.model, start.placement, learned.ranges, flavour, learned.weight_scales)

    batches = list(task.evaluation.batches(250))
    inputs = [batch.inputs for batch in batches]
    labels = np.concatenate([batch.targets for batch in batches if batch.targets is not None])
    original = _classes(_runtime(start.model), inputs)
    print(f"\nheld-out loss {report.held_out_losses[0]:.2e} → {min(report.held_out_losses):.2e}")
    for name, model in (("float", start.model), ("int8", plain), ("int8, trained", trained)):
        found = _classes(_runtime(model), inputs)
        accuracy, agreement = 100 * np.mean(found == labels), 100 * np.mean(found == original)
        print(f"{name:14} accuracy {accuracy:.2f} %  agreement {agreement:.2f} %")
    simulated = _classes(_module(student), inputs)
    print(f"parity {100 * np.mean(simulated == found):.2f} %")
    return 0


Run = Callable[[dict[str, np.ndarray]], np.ndarray]


def _classes(run: Run, inputs: list[dict[str, np.ndarray]]) -> np.ndarray:
    return np.concatenate([run(batch).argmax(1) for batch in inputs])


def _runtime(model: onnx.ModelProto) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda batch: np.asarray(session.run(None, batch)[0])


def _module(module: OnnxModule) -> Run:
    def run(batch: dict[str, np.ndarray]) -> np.ndarray:
        with torch.no_grad():
            scores: np.ndarray = module(*map(torch.from_numpy, batch.values()))[0].numpy()
        return scores

    return run


def _tell(progress: Progress) -> None:
    print(
        f"\rstep {progress.step} of {progress.steps}, {progress.seconds_left:.0f} s left",
        end="",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
