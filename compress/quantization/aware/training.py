"""From a float network and training data to an int8 one: prepare, place, calibrate, simulate, train, insert."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from compress.data.split import Split
from compress.onnx_module import OnnxModule
from compress.quantization import QuantizationReport, Settings, place_and_calibrate
from compress.quantization.aware.simulation import Simulation
from compress.quantization.aware.verification import check_agreement
from compress.quantization.insertion import insert
from compress.target.target import QuantizationFlavour
from compress.training.loop import Progress, TrainingReport, train
from compress.training.losses import Distillation
from compress.training.settings import TrainingOptions

_FLOAT_TOLERANCE = 1e-3  # of an output's norm: sums in another order
_INT8_TOLERANCE = 0.1  # where that tips a rounding, an int8 value differs by a step


def quantize_aware(
    model: onnx.ModelProto,
    calibration: Iterable[Mapping[str, NDArray[Any]]],
    data: Split,
    flavour: QuantizationFlavour,
    settings: Settings,
    training: TrainingOptions,
    loss: Distillation,
    *,
    teacher: nn.Module | None = None,
    seed: int = 0,
    save_to: Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> tuple[onnx.ModelProto, QuantizationReport, TrainingReport]:
    """Quantize a float network to int8 and train it to do what it did.

    Args:
        model: A float32 network; it is not modified.
        calibration: For each input its array; the ranges that training begins with are measured on them.
        data: What to train on.
        flavour: How Q/DQ must look for the back end.
        settings: What to quantize and how to find those ranges.
        training: How to train.
        loss: Loss between the outputs; it is fitted to the outputs of model and teacher for the first samples.
        teacher: Takes the model's inputs as positional tensors and returns a tuple of its outputs; None for the
            model itself.
        seed: Seed of the training.
        save_to: A checkpoint's file, with which a killed training goes on.
        report: Called after every step.

    Returns:
        The quantized model, with the same inputs and outputs, and what was done. Where no epoch was better on the
        held-out samples, it is what post-training quantization makes.

    Raises:
        NetworkError: The model breaks ONNX's rules, is quantized already, has nothing to quantize, or has an
            operator that cannot be trained.
        RecipeError: A node to be excluded is not in the network.
        DataError: The samples do not fit, are too few, or make NaN or infinity.
        InternalError: The simulation does not compute what ONNX Runtime computes.
        OutputError: A checkpoint cannot be written.
    """
    batches = iter(calibration)
    first = list(islice(batches, 1))
    start = place_and_calibrate(model, chain(first, batches), flavour, settings)
    own = OnnxModule(start.model)
    check_agreement(start.model, own, first[0], _FLOAT_TOLERANCE)
    student = Simulation(start.model, start.placement, start.ranges, flavour)
    master = own if teacher is None else teacher
    sample = [torch.from_numpy(first[0][name]) for name in student.input_names]
    with torch.no_grad():
        fitted = loss.fitted(own(*sample), master.eval()(*sample))
    trained = train(
        student,
        master,
        data,
        fitted,
        training,
        inputs=student.input_names,
        seed=seed,
        save_to=save_to,
        report=report,
        device=torch.device("cpu"),  # whose kernels the simulation agrees with, to the bit
    )
    learned = student.learned()
    quantized = insert(learned.model, start.placement, learned.ranges, flavour, learned.weight_scales)
    check_agreement(quantized, student, first[0], _INT8_TOLERANCE)
    done = QuantizationReport(
        flavour=flavour,
        settings=settings,
        int8_nodes=start.placement.int8_nodes,
        float_nodes=start.placement.float_nodes,
        ranges=learned.ranges,
        samples=start.samples,
        recovery=start.rewrites,
    )
    return quantized, done, trained
