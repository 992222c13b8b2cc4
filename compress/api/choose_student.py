"""One step alone: choose how wide a student must be, train it and write it, without timing it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.api.distill import Evaluated, evaluate, named_like
from compress.api.inputs import open_inputs
from compress.core.progress import Reporter
from compress.data.task import MetricChoice, load_task
from compress.errors import RecipeError
from compress.network.network import load_network
from compress.network.saving import check_writable, save_network
from compress.onnx_graph.files import sha256_of
from compress.recipe import Step
from compress.students.family import Family, load_family
from compress.students.recommendation import RUNS, Recommendation, recommend
from compress.students.training import StudentTraining
from compress.techniques import load_technique
from compress.techniques.distill import Distill

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class StudentResult:
    """What :func:`choose_student` found and wrote.

    Attributes:
        recommendation: The widths trained, the law, what it tells, and the check.
        path: The recommended student; None where no width is predicted to keep the margin, and nothing was written.
        sha256: Of that file, or None.
        networks: Teacher and student on the evaluation data, in ONNX Runtime; empty where there is no student.
    """

    recommendation: Recommendation
    path: Path | None
    sha256: str | None
    networks: tuple[Evaluated, ...]

    def to_dict(self) -> dict[str, Any]:
        """As ``compress distill --widths … --json`` prints it."""
        return {
            **self.recommendation.to_dict(),
            "path": None if self.path is None else str(self.path),
            "sha256": self.sha256,
            "networks": [
                {
                    "name": each.name,
                    "accuracy": each.accuracy.mean,
                    "drop_points": None if each.accuracy.drop is None else each.accuracy.drop.points,
                    "parameters": each.parameters,
                    "macs": each.macs,
                }
                for each in self.networks
            ],
        }


def choose_student(
    model: str | Path | torch.nn.Module,
    *,
    student: str | Family,
    widths: Sequence[float],
    data: Any,
    train_data: Any,
    out: str | Path = "student.pt2",
    max_drop: float = 1.0,
    candidates: Sequence[float] = (),
    runs: int = RUNS,
    longer_epochs: int | None = None,
    training: Mapping[str, Any] | None = None,
    metric: MetricChoice = None,
    factory: str | None = None,
    trust_pickle: bool = False,
    batch_axis: Mapping[str, int] | None = None,
    state: Mapping[str, str] | None = None,
    image_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> StudentResult:
    """Train narrow students briefly, recommend a width by a scaling law, train that one and write it.

    Args:
        model: The teacher: a torch.export, TorchScript, state-dict, pickled or ONNX file, or a live module.
        student: The family: a callable that takes a width, or ``package.module:callable``.
        widths: At least three narrow ones to train; numbers as the family takes them.
        data: Evaluation data, of any kind that :func:`compress.optimize` takes; it judges the teacher, and the student
            once it was chosen.
        train_data: Data to train on; a part of it judges the widths. Labelled, unless the metric is ``agreement``.
        out: The file to write; ``.pt2`` or ``.onnx``.
        max_drop: The margin in percentage points, ≥ 0: it must hold after the brief schedule already.
        candidates: Widths to choose from; see :func:`compress.students.recommendation.recommend`.
        runs: How often each of ``widths`` is trained.
        longer_epochs: Train the recommended width by so many epochs too, and write that one.
        training: Settings of the brief schedule, by the names that the technique ``distill`` has.
        metric: See :func:`compress.optimize`; it must be right or wrong for each sample.
        factory: ``package.module:callable`` that makes the module a state dict in ``model`` belongs to.
        trust_pickle: Unpickle a module; this runs whatever code the file holds.
        batch_axis: See :func:`compress.optimize`.
        state: See :func:`compress.optimize`.
        image_options: How images are resized and normalised.
        seed: Of every random choice.
        reporter: Receives the progress.

    Raises:
        UsageError: Something given cannot be used; the message says what to do.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError(
            "one process, to choose a width", "several, under torchrun", "start it without torchrun"
        )
    reporter = reporter or Reporter()
    settings = load_technique(Step("distill", dict(training or {})))
    assert isinstance(settings, Distill)
    if settings.features:
        raise RecipeError(
            "students that learn outputs alone", f"features = {settings.features}", "leave it out"
        )
    longer = None if longer_epochs is None else replace(settings, epochs=longer_epochs)
    path = Path(out)
    check_writable(path, model)
    family = load_family(student) if isinstance(student, str) else student

    reporter.stage("reading the data")
    task = load_task(
        data,
        metric=metric,
        train_data=train_data,
        image_options=image_options,
        seed=seed,
        streams=bool(state),
    )
    teacher, task = open_inputs(
        task,
        model,
        factory=factory,
        trust_pickle=trust_pickle,
        batch_axis=batch_axis,
        state=state,
        reporter=reporter,
    )
    students = StudentTraining(
        family,
        teacher,
        task.calls,
        settings.training(None),
        temperature=settings.temperature,
        label_weight=settings.label_weight,
        seed=seed,
        reporter=reporter,
    )
    found = recommend(
        students,
        widths,
        max_drop=max_drop,
        candidates=candidates,
        runs=runs,
        longer=None if longer is None else longer.training(None),
    )
    if found.module is None:
        return StudentResult(found, None, None, ())
    reporter.stage("measuring accuracy")
    network = named_like(load_network(found.module, example=task.samples()), teacher)
    networks = evaluate({"teacher": teacher, "student": network}, task)
    save_network(network, path)
    return StudentResult(found, path, sha256_of(path), networks)
