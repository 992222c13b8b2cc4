"""Quantization-aware training from a float network: prepare, place, calibrate, simulate, train, insert."""

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
    """Quantize a float network to int8 and train it to answer as before.

    Args:
        model: A float32 network; it is not modified.
        calibration: Calibration samples, an array for each input, for the initial ranges.
        data: Training samples.
        flavour: Form of Q/DQ that the back end needs.
        settings: Operators to quantize, and method to find the initial ranges.
        training: Settings of the training.
        loss: Loss between the outputs; it is fitted to the outputs of model and teacher for the first samples.
        teacher: Module that takes the model's inputs as positional tensors and returns a tuple of outputs; None for the
            model itself.
        seed: Seed of the training.
        save_to: File of a checkpoint, with which a killed training is resumed; None saves none.
        report: Function that is called after every step; None reports nothing.

    Returns:
        The quantized model, with the same inputs and outputs, and the reports. Where no epoch was better on the
        held-out samples, it is the result of post-training quantization.

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
    float_module = OnnxModule(start.model)
    check_agreement(start.model, float_module, first[0], _FLOAT_TOLERANCE)
    student = Simulation(start.model, start.placement, start.ranges, flavour)
    master = float_module if teacher is None else teacher
    sample = [torch.from_numpy(first[0][name]) for name in student.input_names]
    with torch.no_grad():
        fitted = loss.fitted(float_module(*sample), master.eval()(*sample))
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
