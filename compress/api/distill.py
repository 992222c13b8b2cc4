"""The verb ``distill``: train a student network towards a teacher, without search and without timing it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from compress.api.decoder_files import check_out, saved, student_of
from compress.api.inputs import open_inputs
from compress.api.keywords import DistillKeywords
from compress.api.student_options import DistillOptions
from compress.backends.first_opening import open_elsewhere
from compress.backends.onnxruntime import OnnxRuntime
from compress.core.object_references import is_reference
from compress.core.options import takes
from compress.core.own_directories import kept_until_done, remove_own
from compress.core.progress import Reporter
from compress.core.ranks import is_first
from compress.core.tensor_spec import TensorSpec, fixed_batch
from compress.data.task import Task
from compress.errors import NetworkError
from compress.language.documents import step_shapes
from compress.metrics.outcomes import Outcomes
from compress.network.network import DECODER, Network, load_network
from compress.onnx_graph.layers import layers, totals
from compress.profiling.accuracy import accuracy_of, outcomes_of
from compress.records.profile import Accuracy
from compress.techniques.base import Context
from compress.techniques.distill import Distill
from compress.training.settings import DISTILLATION

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Evaluated:
    """A network of :func:`distill` on the evaluation data.

    Attributes:
        name: ``teacher``, ``student before`` or ``student after``.
        accuracy: Accuracy, with its drop against the teacher.
        parameters: Number of learned values.
        macs: Multiply-accumulate operations at batch 1; None where an operator's are unknown.
    """

    name: str
    accuracy: Accuracy
    parameters: int
    macs: int | None


@dataclass(frozen=True)
class DistillResult:
    """Result of :func:`distill`.

    Attributes:
        path: File of the student, whose inputs and outputs have the teacher's names; of a language model its directory.
        sha256: sha256 of that file; for a language model, of the file of its weights.
        networks: Teacher, student before training and student after it, measured on the same samples.
        report: Settings of the training, what it did, and which activations inside were matched.
        notes: Notes on how the teacher was read and samples are fed, and doubts about it, a sentence each.
    """

    path: Path
    sha256: str
    networks: tuple[Evaluated, ...]
    report: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as the dict that ``compress distill --json`` prints."""
        return {**asdict(self), "path": str(self.path)}


@takes(DistillOptions)
def distill(
    model: str | Path | torch.nn.Module,
    *,
    reporter: Reporter | None = None,
    **options: Unpack[DistillKeywords],
) -> DistillResult:
    """Train a student towards a trained network and write it, whole or not at all.

    An interrupted training is kept in ``<out>.partial``, and the same call goes on at its last checkpoint. Under
    ``torchrun`` all processes train together; the first measures and writes, and all return the same. The arguments are
    not modified.

    Args:
        model: The teacher: a torch.export, TorchScript, state-dict, pickled or ONNX file, a Hugging Face directory,
            ``timm:NAME``, or a live module.
        reporter: Receives the progress; None reports to nobody.

    Raises:
        UsageError: An argument cannot be used; the message says what to do.
    """
    request = DistillOptions.of(options)
    reporter = reporter or Reporter()
    technique = Distill(**{name: getattr(request, name) for name in DISTILLATION}, tune=request.tune)
    path = Path(request.out)
    check_out(path, model, request.student)

    from compress.training.devices import device_of

    device_of(request.device)  # told before anything is read

    inputs = open_inputs(model, request, reporter, train_data=request.train_data)
    teacher, task, seed = inputs.network, inputs.task, request.seed
    only_batch = fixed_batch(teacher.inputs)
    if teacher.origin.format == DECODER:
        before = student_of(request.student, teacher)
    else:
        untrained = load_student(
            request.student, task, only_batch=only_batch, seed=seed, trust_pickle=request.trust_pickle
        )
        before = named_like(untrained, teacher)

    partial = path.with_name(path.name + ".partial")
    context = Context(
        task.calls,
        inputs.target,
        seed,
        directory=partial,
        reporter=reporter,
        original=teacher,
        device=request.device,
    )
    with kept_until_done(partial, alone=is_first()):
        after = technique.apply(before, context)

    from compress.training.processes import joined

    processes = joined()
    done = None
    if processes.first:
        reporter.stage("measuring accuracy")
        networks = evaluate({"teacher": teacher, "student before": before, "student after": after}, task)
        sha256 = saved(after, path)
        remove_own(partial)
        done = DistillResult(path, sha256, networks, context.reports["distill"], inputs.notes)
    result: DistillResult = processes.broadcast(done)
    return result


def load_student(
    student: str | Path | torch.nn.Module,
    task: Task,
    *,
    only_batch: int | None = None,
    seed: int = 0,
    trust_pickle: bool = False,
) -> Network:
    """Return the network to train, from a callable, a file or a live module.

    Args:
        student: The student, as :func:`distill` takes it.
        task: Task, bound to the teacher; a batch of its data traces the student.
        only_batch: The only batch size that the teacher takes, so that a student may be written for it; None where it
            takes any.
        seed: Seed of the weights of a module that is built anew.
        trust_pickle: Whether to unpickle a module, which runs any code that the file holds.

    Raises:
        NetworkError: There is no such callable or file, or its network does not take the teacher's inputs.
    """
    import torch

    from compress.network.formats.checkpoint import build_module

    if isinstance(student, str) and is_reference(student.partition("(")[0]) and not Path(student).exists():
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            student = build_module(student, kind="a student factory")
    try:
        return load_network(student, example=task.samples(), trust_pickle=trust_pickle)
    except NetworkError:
        if only_batch is None:
            raise
    return load_network(student, example=task.samples(only_batch), trust_pickle=trust_pickle)


def named_like(student: Network, teacher: Network) -> Network:
    """Return the student with the teacher's names of inputs and outputs, so that it can replace the teacher.

    Raises:
        NetworkError: The student is an ONNX model, or takes or returns tensors of other shapes or kinds.
    """
    if student.graph is None:
        raise student.untrainable("which cannot be trained as a student")
    for what, specs, teacher_specs in (
        ("inputs", student.inputs, teacher.inputs),
        ("outputs", student.outputs, teacher.outputs),
    ):
        if len(specs) != len(teacher_specs) or not all(map(_fits, specs, teacher_specs)):
            raise NetworkError(
                f"a student with the teacher's {what}, {_described(teacher_specs)}",
                _described(specs),
                "change the student",
            )
    return Network(
        inputs=tuple(
            replace(spec, name=like.name) for spec, like in zip(student.inputs, teacher.inputs, strict=True)
        ),
        outputs=tuple(
            replace(spec, name=like.name) for spec, like in zip(student.outputs, teacher.outputs, strict=True)
        ),
        origin=student.origin,
        graph=student.graph,
        sample=student.sample,
        form=teacher.form or student.form,
    )


def evaluate(networks: Mapping[str, Network], task: Task) -> tuple[Evaluated, ...]:
    """Measure the accuracy of each network in ONNX Runtime; drops are against the first network.

    Raises:
        NetworkError: A network has no ONNX form, or returns NaN or infinity.
    """
    backend = OnnxRuntime()
    evaluated: list[Evaluated] = []
    first: tuple[Outcomes, ...] | None = None
    with tempfile.TemporaryDirectory(prefix="compress-") as scratch:
        directory = Path(scratch)
        artifacts = []
        for number, network in enumerate(networks.values()):
            (directory / str(number)).mkdir()
            artifact = backend.compile(network.to_onnx(), directory / str(number), {"intra_op_threads": 1})
            open_elsewhere(artifact, task.example(fixed_batch(network.inputs) or 1))
            artifacts.append(artifact)
        with backend.open(artifacts[0]) as reference:
            for (name, network), artifact in zip(networks.items(), artifacts, strict=True):
                with backend.open(artifact) as session:
                    outcomes = outcomes_of(session, task, None if first is None else reference)
                accuracy = accuracy_of(outcomes, first, task.evaluation.sha256)
                evaluated.append(Evaluated(name, accuracy, *_cost(network, task)))
                first = outcomes if first is None else first
    return tuple(evaluated)


def _cost(network: Network, task: Task) -> tuple[int, int | None]:
    """Return the number of parameters, and of MACs at batch 1 where all operators' are known.

    Those of a language model are of a decoding step.
    """
    example = task.example()
    shapes = {
        spec.name: [
            size
            if isinstance(size, int)
            else 1
            if axis == spec.batch_axis
            else example[spec.name].shape[axis]
            for axis, size in enumerate(spec.shape)
        ]
        for spec in network.inputs
    }
    shapes = {**shapes, **{name: list(shape) for name, shape in step_shapes(network.inputs).items()}}
    counted = totals(layers(network.to_onnx(), shapes=shapes))
    return counted.parameters, None if counted.uncounted else counted.macs


def _fits(spec: TensorSpec, expected: TensorSpec) -> bool:
    return (
        spec.dtype == expected.dtype
        and len(spec.shape) == len(expected.shape)
        and all(
            one == other or isinstance(one, str) or isinstance(other, str)
            for one, other in zip(spec.shape, expected.shape, strict=True)
        )
    )


def _described(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.dtype}[{', '.join(map(str, spec.shape))}]" for spec in specs)
