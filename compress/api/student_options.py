"""The options of the verbs that train a student: ``distill`` and ``choose_student``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from compress.api.options import DeviceOptions, InputOptions
from compress.core.options import option, required
from compress.training.settings import DistillationOptions

if TYPE_CHECKING:
    import torch

    from compress.students.family import Family


@dataclass(frozen=True, kw_only=True)
class StudentOptions(InputOptions, DistillationOptions, DeviceOptions):
    """The options that :func:`compress.distill` and :func:`compress.choose_student` share."""

    TITLE: ClassVar[str] = "Student and output"
    RANK: ClassVar[int] = 30
    RENAMED: ClassVar[Mapping[str, str]] = {"precision": "training_precision"}

    train_data: Any = required(
        "Data to train on, in the same forms as DATA; labels are not needed", metavar="DATA"
    )
    out: str | Path = option("File to write, .pt2 or .onnx", "student.pt2")


@dataclass(frozen=True, kw_only=True)
class DistillOptions(StudentOptions):
    """The options of :func:`compress.distill`."""

    TITLE: ClassVar[str] = "Student and output"
    RANK: ClassVar[int] = 30
    out: str | Path = option(
        "File to write, .pt2 or .onnx; for a language model a new directory. An interrupted training is kept in "
        "OUT.partial, and the same call goes on at its last checkpoint",
        "student.pt2",
    )
    tune: int | None = option(
        "Trainings that search learning rate, batch size, averaging, temperature and weight of the labels before the "
        "last one, which has the best. They are judged on samples held out of the training data",
        low=1,
        high=10_000,
        metavar="TRIALS",
        default_text="none: the settings as they are given",
    )
    student: str | Path | torch.nn.Module = required(
        "Network to train: a callable that builds a module, with literal arguments where it takes any, or a network's "
        "file. It takes and returns tensors of the teacher's shapes",
        in_python="also a module",
        metavar="PACKAGE.MODULE:CALLABLE|FILE",
    )


@dataclass(frozen=True, kw_only=True)
class ChooseStudentOptions(StudentOptions):
    """The options of :func:`compress.choose_student`."""

    TITLE: ClassVar[str] = "Student and output"
    RANK: ClassVar[int] = 30
    student: str | Family = required(
        "Family of students: a callable that takes a width and builds a module",
        metavar="PACKAGE.MODULE:CALLABLE",
    )
    widths: Sequence[float] = required(
        "Three or more narrow widths to train; a scaling law is fitted to their errors, and the smallest width that it "
        "allows is trained and written",
        low=0,
        above=True,
        high=1_000_000,
        metavar="W,W,W,...",
    )
    max_drop: float = option(
        "Largest drop of accuracy that is allowed for the student, in points", 1.0, low=0, high=100
    )
    candidates: Sequence[float] = option(
        "Widths to choose from",
        (),
        low=0,
        above=True,
        high=1_000_000,
        default_text="multiples of the smallest trained one, up to the teacher's size",
        metavar="W,W,...",
    )
    runs: int = option("Number of training runs of each narrow width", 2, low=1, high=1000)
    longer_epochs: int | None = option(
        "Epochs of a second, longer training of the chosen width, whose result is then written",
        low=1,
        high=100_000,
    )
