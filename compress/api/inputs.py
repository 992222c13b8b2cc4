"""The network and the data of a command, checked against each other before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from compress.api.document_inputs import open_decoder
from compress.api.options import InputOptions
from compress.api.told_by_model import image_options_of
from compress.backends import load_backend
from compress.core.progress import Reporter
from compress.core.tensor_spec import fixed_batch
from compress.data.binding import matched
from compress.data.plausibility import doubts
from compress.data.sizes import Asked, input_ranges, resized
from compress.data.task import CALIBRATION_SAMPLES, Task, load_task
from compress.errors import DataError, UsageError
from compress.language.network import is_decoder
from compress.metrics.output_kinds import OutputKind, output_kinds
from compress.network.first_call import Opened, first_of_onnx, first_of_torch
from compress.network.formats import weight_sets
from compress.network.formats.detection import sniff
from compress.network.formats.first_reading import read_elsewhere
from compress.network.network import Network, load_network
from compress.network.preparation import outputs_as_it_came, prepared_faithfully
from compress.network.sample_axis import judged_examples
from compress.network.streams import in_streams, with_calls
from compress.target.target import Target, load_target

if TYPE_CHECKING:
    import torch

    from compress.data.split import Array


@dataclass(frozen=True)
class Inputs:
    """The inputs of a verb, read once.

    Attributes:
        network: The user's network, unchanged.
        task: The data and the metric, bound to the network's inputs and outputs.
        target: The device that the network is built for.
        doubts: Facts that speak against the network on this data, a sentence each; see
            :mod:`compress.data.plausibility`.
    """

    network: Network
    task: Task
    target: Target
    doubts: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """The doubts as notes for the user."""
        return tuple(f"warning: {doubt}" for doubt in self.doubts)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the result: what was chosen of the file, how samples are fed, and the doubts."""
        return (*axis_notes(self.network), *self.warnings)


def open_inputs(
    model: str | Path | torch.nn.Module,
    options: InputOptions,
    reporter: Reporter,
    *,
    target: str | Path | Target = "cpu",
    train_data: Any = None,
    calibration_data: Any = None,
    calibration_samples: int = CALIBRATION_SAMPLES,
    shape: Asked | None = None,
) -> Inputs:
    """Read the target, the data and the network of a verb, and check that they fit together.

    Args:
        model: A network's file, a Hugging Face directory, ``timm:NAME``, or a live module, which is not modified.
        options: The data, the metric, and how the network is loaded and called.
        reporter: Receives the progress.
        target: The device that the network is built for.
        train_data: Data to train on; None where nothing is trained.
        calibration_data: Data to calibrate on; None takes it from the training data, or sets it apart.
        calibration_samples: Largest number of calibration samples.
        shape: Sizes of open axes that the user names; None names none.

    Raises:
        UsageError: The target, data or network cannot be read, or they do not fit together.
    """
    reporter.stage("reading the target and the data")
    deployment = load_target(target)
    if is_decoder(model):
        if deployment.backend != "onnxruntime":
            raise UsageError(
                "a target that runs in ONNX Runtime, for a language model",
                f"{deployment.name}, which runs in {deployment.backend}",
                "choose another one, such as --target cpu",
            )
        network, task, problems = open_decoder(
            model,
            options,
            reporter,
            train_data=train_data,
            calibration_data=calibration_data,
            calibration_samples=calibration_samples,
        )
    else:
        for flag, option_value in (
            ("--sequence-length", options.sequence_length),
            ("--stride", options.stride),
        ):
            if option_value is not None:
                raise UsageError(f"a language model, for {flag}", str(model)[:80], f"leave {flag} out")
        if isinstance(model, str | Path):
            sniff(Path(model))  # what is no network is told before the data is read, which may take long
        task = load_task(
            options.data,
            metric=options.metric,
            train_data=train_data,
            calibration_data=calibration_data,
            calibration_samples=calibration_samples,
            image_options=image_options_of(model, options, reporter),
            seed=options.seed,
            streams=bool(options.state),
        )
        network, task = load_bound(
            task,
            model,
            factory=options.factory,
            trust_pickle=options.trust_pickle,
            weights=options.weights,
            batch_axis=options.batch_axis,
            shape=shape,
            state=options.state,
            reporter=reporter,
        )
        problems = doubts(
            lambda feeds: outputs_as_it_came(network, feeds), task, network.inputs, network.outputs
        )
    targets = task.evaluation.origin.get("targets")
    if targets is not None:
        reporter.note(f"the array '{targets}' of the data is taken as the targets")
    if problems and options.strict:
        raise DataError(
            "an original that does on the data what it was trained for (--strict)",
            "; ".join(problems),
            "correct the data, or leave --strict out",
        )
    inputs = Inputs(network, task, deployment, problems)
    for note in inputs.warnings:
        reporter.note(note)
    return inputs


def sized_target(inputs: Inputs, given_sizes: Asked | None) -> Target:
    """Return the target with sizes for open axes, where the user names them or its builds need fixed sizes.

    Args:
        inputs: The network, its data and the target.
        given_sizes: Sizes of open axes that the user names; None takes those of the data.
    """
    target, task = inputs.target, inputs.task
    engines = any(load_backend(name).builds_engines for name in (target.backend, *target.further_backends))
    if given_sizes is None and not engines:
        return target
    splits = (task.calls.evaluation, task.calls.calibration)
    shapes = input_ranges(inputs.network.inputs, splits, target.batch_sizes, given_sizes)
    return replace(target, input_shapes=shapes)


def load_bound(
    task: Task,
    model: str | Path | torch.nn.Module,
    *,
    factory: str | None = None,
    trust_pickle: bool = False,
    weights: str | None = None,
    batch_axis: Mapping[str, int] | None = None,
    shape: Asked | None = None,
    state: Mapping[str, str] | None = None,
    reporter: Reporter | None = None,
) -> tuple[Network, Task]:
    """Load a network on a sample of the data, and bind the data to its inputs and outputs.

    Args:
        task: The data; a sample of it traces a module.
        model: A network's file, a Hugging Face directory, ``timm:NAME``, or a live module, which is not modified.
        factory: ``package.module:callable`` that makes the module a state dict in ``model`` belongs to.
        trust_pickle: Whether to unpickle a module, which runs any code that the file holds.
        weights: Set of weights to take where a checkpoint holds several; see :func:`load_network`.
        batch_axis: The axis of an input that counts samples, by the input's name; ``""`` names that of all others. None
            finds the axes by running two samples alone and together.
        shape: Sizes of open axes that the user names; a module whose data has one size is opened for them. None names
            none.
        state: The output that is the next value of each input that is carried from call to call, by the input's name;
            the data is streams then. None where no state is carried.
        reporter: Receives the progress.

    Returns:
        The network, and the task with its inputs by the network's names; with states it is that of whole streams, and
        :attr:`Task.calls` that of single calls.

    Raises:
        NetworkError: The network cannot be read, or its weights in an ONNX file exceed 2 GiB.
        DataError: The data has no array for one of its inputs, or one of another shape.
    """
    if reporter is not None:
        reporter.stage("loading the network")
    if isinstance(model, str | Path):
        from compress.network.formats.onnx_size import check_size

        check_size(Path(model))
    load = partial(
        load_network,
        model,
        factory=factory,
        trust_pickle=trust_pickle,
        weights=weights,
        batch_axis=batch_axis,
    )
    if _is_onnx(model):
        network = load(batch_axis=None)  # the file states its axes; they are held against the user's below
        first = first_of_onnx(network, task, state)
        read_elsewhere(Path(model), "onnx run", example=first, batch_axis=batch_axis)
        network = _as_it_runs(network, first, batch_axis)
    elif state:
        network = load(example=first_of_torch(load, task, state, model))
    else:
        network = load(example=task.example(), other=_of_other_size(task, shape, batch_axis))
    if reporter is not None:
        for note in axis_notes(network):
            reporter.note(note)
    streams, single = in_streams(task, Opened(network), state) if state else (task, task)
    bound = single.bind(network.inputs, network.outputs)
    if network.origin.format == "onnx":
        network = prepared_faithfully(network, bound)
    if any(metric.needs != "labels" for metric in bound.metrics) or len(network.outputs) > 1:
        bound = single.bind(network.inputs, network.outputs, kinds_of(network, bound))
    if state:
        bound = with_calls(streams, bound)
        if reporter is not None:
            for note in bound.notes:
                reporter.note(note)
    return network, bound


def axis_notes(network: Network) -> tuple[str, ...]:
    """Return notes on what was chosen of the file, and on how samples are fed where not along axis 0, in any number."""
    placed = [f"axis {spec.batch_axis} of '{spec.name}'" for spec in network.inputs if spec.batch_axis]
    only = fixed_batch(network.inputs)
    notes = []
    chosen = weight_sets.choice_note(network.origin.weights)
    if chosen is not None:
        notes.append(chosen)
    if placed:
        source = "found by running two alone and together, or named by --batch-axis"
        notes.append(f"samples lie along {', '.join(placed)}: {source}")
    if only is not None:
        number = "1 sample" if only == 1 else f"{only} samples"
        notes.append(f"the network takes {number} at a time, and is built for that")
    if network.rearranged:
        notes.append(
            "the network takes a sample without an axis that counts samples: a build has one more, of size 1"
        )
    return tuple(notes)


def _of_other_size(
    task: Task, given_sizes: Asked | None, batch_axis: Mapping[str, int] | None
) -> Mapping[str, Array] | None:
    """Return samples of another size than the first: from the data, else of the size that the user names."""
    other = task.other_example()
    if other is None and given_sizes:
        return resized(task.example(), given_sizes, batch_axis or {})
    return other


def _as_it_runs(
    network: Network, example: Mapping[str, Array], batch_axis: Mapping[str, int] | None
) -> Network:
    """Return an ONNX model with the axes and the output shapes that it has when it runs."""
    from compress.network.onnx_interface import as_it_runs

    samples = matched(example, network.inputs)
    return network.described_by(as_it_runs(network.to_onnx(), network.inputs, samples, batch_axis))


def _is_onnx(model: str | Path | torch.nn.Module) -> TypeGuard[str | Path]:
    """Whether the file is ONNX, which states its open axes itself."""
    return isinstance(model, str | Path) and sniff(Path(model)).format == "onnx"


def kinds_of(network: Network, task: Task) -> tuple[OutputKind, ...]:
    """Return what each output of a network holds, judged by its graph and its outputs for a few samples.

    Args:
        network: The network.
        task: Task with the network's data, bound to its inputs.
    """
    return output_kinds(
        network.outputs,
        network.to_onnx(),
        judged_examples(
            lambda feeds: outputs_as_it_came(network, feeds), task, network.inputs, network.outputs
        ),
    )
