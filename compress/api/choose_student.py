"""The verb ``choose_student``: choose how wide a student must be, train it and write it, without timing it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from compress.api.distill import Evaluated, evaluate, named_like
from compress.api.inputs import open_inputs
from compress.api.keywords import ChooseStudentKeywords
from compress.api.student_options import ChooseStudentOptions
from compress.core.options import takes
from compress.core.progress import Reporter
from compress.core.ranks import processes
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
        notes: Notes on how the teacher was read and samples are fed, and doubts about it, a sentence each.
    """

    recommendation: Recommendation
    path: Path | None
    sha256: str | None
    networks: tuple[Evaluated, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as the dict that ``compress distill --widths … --json`` prints."""
        return {
            **self.recommendation.to_dict(),
            "notes": list(self.notes),
            "path": None if self.path is None else str(self.path),
            "sha256": self.sha256,
            "networks": [
                {
                    "name": network.name,
                    "accuracy": network.accuracy.mean,
                    "drop_points": None if network.accuracy.drop is None else network.accuracy.drop.points,
                    "parameters": network.parameters,
                    "macs": network.macs,
                }
                for network in self.networks
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
        model: The teacher: a torch.export, TorchScript, state-dict, pickled or ONNX file, a Hugging Face directory,
            ``timm:NAME``, or a live module.
        reporter: Receives the progress; None reports to nobody.

    Raises:
        UsageError: An argument cannot be used; the message says what to do.
    """
    if processes() > 1:
        raise RecipeError(
            "one process, to choose a width", "several, under torchrun", "start it without torchrun"
        )
    request = ChooseStudentOptions.of(options)
    reporter = reporter or Reporter()
    settings = Distill(**{name: getattr(request, name) for name in DISTILLATION})
    if settings.features:
        raise RecipeError(
            "students that learn outputs alone", f"features = {settings.features}", "leave it out"
        )
    longer = None if request.longer_epochs is None else replace(settings, epochs=request.longer_epochs)
    path = Path(request.out)
    check_writable(path, model)

    from compress.training.devices import device_of

    device = device_of(request.device)  # told before anything is read
    family = load_family(request.student) if isinstance(request.student, str) else request.student

    inputs = open_inputs(model, request, reporter, train_data=request.train_data)
    teacher, task = inputs.network, inputs.task
    students = StudentTraining(
        family,
        teacher,
        task.calls,
        settings,
        temperature=settings.temperature,
        label_weight=settings.label_weight,
        seed=request.seed,
        reporter=reporter,
        device=device,
    )
    recommendation = recommend(
        students,
        request.widths,
        max_drop=request.max_drop,
        candidates=request.candidates,
        runs=request.runs,
        longer=longer,
    )
    if recommendation.module is None:
        return StudentResult(recommendation, None, None, (), inputs.notes)
    reporter.stage("measuring accuracy")
    network = named_like(load_network(recommendation.module, example=task.samples()), teacher)
    networks = evaluate({"teacher": teacher, "student": network}, task)
    save_network(network, path)
    return StudentResult(recommendation, path, sha256_of(path), networks, inputs.notes)
