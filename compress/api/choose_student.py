"""The verb ``choose_student``: choose how wide a student must be, train it and write it, without timing it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from compress.api.distill import Evaluated, evaluate, named_like
from compress.api.inputs import open_inputs
from compress.api.options import ChooseStudentKeywords, ChooseStudentOptions
from compress.core.options import takes
from compress.core.progress import Reporter
from compress.errors import RecipeError
from compress.network.network import load_network
from compress.network.saving import check_writable, save_network
from compress.onnx_graph.files import sha256_of
from compress.students.family import load_family
from compress.students.recommendation import Recommendation, recommend
from compress.students.training import StudentTraining
from compress.techniques.distill import Distill
from compress.training.settings import DISTILLATION

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class StudentResult:
    """Result of :func:`choose_student`.

    Attributes:
        recommendation: The trained widths, the scaling law, its recommendation, and the check of it.
        path: File of the recommended student; None where no width is predicted to keep the margin, and nothing was
            written.
        sha256: sha256 of that file; None where none was written.
        networks: Teacher and student on the evaluation data, in ONNX Runtime; empty where there is no student.
    """

    recommendation: Recommendation
    path: Path | None
    sha256: str | None
    networks: tuple[Evaluated, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as the dict that ``compress distill --widths … --json`` prints."""
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


@takes(ChooseStudentOptions)
def choose_student(
    model: str | Path | torch.nn.Module,
    *,
    reporter: Reporter | None = None,
    **options: Unpack[ChooseStudentKeywords],
) -> StudentResult:
    """Train narrow students briefly, recommend a width by a scaling law, train that one and write it.

    The options of training say how each width is trained; the margin must hold after that brief schedule already. The
    evaluation data judges the teacher, and the student once it was chosen; a part of the training data judges the
    widths, and is labelled unless the metric is ``agreement``. The metric is right or wrong for each sample.

    Args:
        model: The teacher: a torch.export, TorchScript, state-dict, pickled or ONNX file, or a live module.
        reporter: Receives the progress; None reports to nobody.

    Raises:
        UsageError: An argument cannot be used; the message says what to do.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError(
            "one process, to choose a width", "several, under torchrun", "start it without torchrun"
        )
    asked = ChooseStudentOptions.of(options)
    reporter = reporter or Reporter()
    settings = Distill(**{name: getattr(asked, name) for name in DISTILLATION})
    if settings.features:
        raise RecipeError(
            "students that learn outputs alone", f"features = {settings.features}", "leave it out"
        )
    longer = None if asked.longer_epochs is None else replace(settings, epochs=asked.longer_epochs)
    path = Path(asked.out)
    check_writable(path, model)
    family = load_family(asked.student) if isinstance(asked.student, str) else asked.student

    inputs = open_inputs(model, asked, reporter, train_data=asked.train_data)
    teacher, task = inputs.network, inputs.task
    students = StudentTraining(
        family,
        teacher,
        task.calls,
        settings,
        temperature=settings.temperature,
        label_weight=settings.label_weight,
        seed=asked.seed,
        reporter=reporter,
    )
    recommendation = recommend(
        students,
        asked.widths,
        max_drop=asked.max_drop,
        candidates=asked.candidates,
        runs=asked.runs,
        longer=longer,
    )
    if recommendation.module is None:
        return StudentResult(recommendation, None, None, ())
    reporter.stage("measuring accuracy")
    network = named_like(load_network(recommendation.module, example=task.samples()), teacher)
    networks = evaluate({"teacher": teacher, "student": network}, task)
    save_network(network, path)
    return StudentResult(recommendation, path, sha256_of(path), networks)
