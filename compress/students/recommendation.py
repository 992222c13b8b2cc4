"""Recommendation of a student's width by a scaling law of small students, checked by training that student.

A few small widths are trained briefly, the law is fitted to their errors, and the errors of other widths are told. All
of it holds for that brief schedule: the larger student is predicted, and checked, as it is after the same schedule. A
longer one makes every width better, so what is recommended can be trained longer afterwards.

Students are judged by a part of the training data that none of them has seen. The teacher has seen it, so its error is
taken from the evaluation data, where students are judged only once one was chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from compress.errors import NetworkError, RecipeError
from compress.profiling.accuracy import drop_of
from compress.records.profile import Drop
from compress.statistics.bounds import normal_quantile
from compress.students.family import parameters_of
from compress.students.scaling_law import LEAST_SIZES, Point, Prediction, ScalingLaw, fit
from compress.students.training import StudentTraining, TrainedStudent
from compress.training.settings import TrainingOptions

#: A width trained twice tells how much training scatters; without it the law's form must be believed.
RUNS = 2

_MOST_CANDIDATES = 64
_DIGITS = 12


@dataclass(frozen=True)
class Forecast:
    """Prediction of the law for a width.

    Attributes:
        width: Width within the family.
        parameters: Number of its parameters.
        prediction: Predicted error on the held-out samples after the same schedule.
        drop: Predicted accuracy drop against the teacher, in percentage points.
        drop_bound: Upper 95 % bound of the drop, the teacher's own uncertainty included.
    """

    width: float
    parameters: int
    prediction: Prediction
    drop: float
    drop_bound: float


@dataclass(frozen=True)
class Check:
    """The trained student of the recommended width.

    Attributes:
        student: Student after the same schedule, from other first weights.
        held: Whether its error is inside the predicted bounds of the law.
        drop: Accuracy drop on the evaluation data, paired with the teacher's outcomes.
        longer: Student after the longer schedule; None where none was asked for.
        longer_drop: Accuracy drop of the student that was trained longer, in absolute points.
    """

    student: TrainedStudent
    held: bool
    drop: Drop
    longer: TrainedStudent | None = None
    longer_drop: Drop | None = None


@dataclass(frozen=True)
class Recommendation:
    """The trained students, the recommendation that follows, and its check.

    Attributes:
        teacher: Error of the teacher on the evaluation data; with deviation 0 where it is right by definition.
        max_drop: Accuracy drop allowed, in percentage points.
        trained: The small students that were trained.
        law: Scaling law fitted to them.
        forecasts: Forecasts of all widths, fewest parameters first.
        chosen: Forecast of the smallest width whose bound is within ``max_drop``; None where there is none.
        check: Check of the chosen student.
    """

    teacher: Point
    max_drop: float
    trained: tuple[TrainedStudent, ...]
    law: ScalingLaw
    forecasts: tuple[Forecast, ...]
    chosen: Forecast | None
    check: Check | None

    @property
    def module(self) -> nn.Module | None:
        """Recommended student in inference mode, trained by the longer schedule where there is one."""
        if self.check is None:
            return None
        return (self.check.longer or self.check.student).module

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold, without weights."""
        check = self.check
        return {
            "teacher": {"parameters": self.teacher.size, "error": self.teacher.error},
            "max_drop_points": self.max_drop,
            "trained": [_told(point) for point in self.trained],
            "law": self.law.to_dict(),
            "forecasts": [_forecast_told(forecast) for forecast in self.forecasts],
            "chosen": None if self.chosen is None else self.chosen.width,
            "check": None
            if check is None
            else {
                **_told(check.student),
                "held": check.held,
                "drop_points": check.drop.points,
                "longer": None if check.longer is None else _told(check.longer),
                "longer_drop_points": None if check.longer_drop is None else check.longer_drop.points,
            },
        }


def recommend(
    training: StudentTraining,
    widths: Sequence[float],
    *,
    max_drop: float = 1.0,
    candidates: Sequence[float] = (),
    runs: int = RUNS,
    longer: TrainingOptions | None = None,
) -> Recommendation:
    """Recommend the smallest width that is predicted to keep the margin, and train it.

    Args:
        training: Training with the family, the teacher, the data, and the brief schedule.
        widths: Small widths, at least three, each trained ``runs`` times.
        max_drop: Accuracy drop allowed, in percentage points, ≥ 0.
        candidates: Widths to choose from; where none are named, the multiples of the smallest width whose students
            have no more parameters than the teacher, up to the first that the family refuses, and ``widths``.
        runs: Number of training runs of each width, ≥ 1.
        longer: Longer schedule, by which the recommended student is trained too; None for none.

    Raises:
        RecipeError: There are fewer than three widths, or a setting is out of its range.
        NetworkError: The family cannot build a width that was named, or what it builds does not fit.
        DataError: There are too few samples, or errors rise with size.
    """
    _check(widths, candidates, max_drop, runs)
    sizes = _sizes(training, candidates or _considered(training, widths))
    trained = [training.train(width, run) for width in sorted(set(widths)) for run in range(runs)]
    law = fit([student.point for student in trained])
    original = training.outcomes(training.teacher)
    teacher = _teacher(training, int((original == 0).sum()), len(original))
    forecasts = tuple(_forecast(width, size, law, teacher) for width, size in sizes)
    chosen = next((forecast for forecast in forecasts if forecast.drop_bound <= max_drop), None)

    def drop(student: TrainedStudent) -> Drop:
        return drop_of(training.outcomes(student.module), original, training.task.metric)

    check = None
    if chosen is not None:
        student = training.train(chosen.width, runs)
        held = chosen.prediction.lower <= student.error <= chosen.prediction.upper
        check = Check(student, held, drop(student))
        if longer is not None:
            further = training.train(chosen.width, runs, longer)
            check = replace(check, longer=further, longer_drop=drop(further))
    return Recommendation(teacher, max_drop, tuple(trained), law, forecasts, chosen, check)


def _check(widths: Sequence[float], candidates: Sequence[float], max_drop: float, runs: int) -> None:
    if len(set(widths)) < LEAST_SIZES or not all(0 < width < math.inf for width in (*widths, *candidates)):
        raise RecipeError(
            f"at least {LEAST_SIZES} different widths above 0, to fit a scaling law",
            ", ".join(f"{width:g}" for width in (*widths, *candidates)) or "none",
            "name small ones, such as 0.125,0.25,0.375,0.5",
        )
    if not 0 <= max_drop < math.inf or runs < 1:
        raise RecipeError(
            "a largest drop from 0 points, and at least 1 run of each width",
            f"{max_drop:g} points and {runs} runs",
            "correct them",
        )


def _teacher(training: StudentTraining, wrong: int, samples: int) -> Point:
    size = training.teacher_parameters
    if training.task.metric.needs == "reference":
        return Point(size, 0.0, 0.0)  # It agrees with itself.
    return Point.counted(size, wrong, samples)


def _considered(training: StudentTraining, widths: Sequence[float]) -> list[float]:
    """Return the multiples of the smallest width up to the teacher's size, and the widths themselves.

    A family may end earlier: at the first multiple that it refuses.
    """
    step, largest = min(widths), training.teacher_parameters
    considered = set(widths)
    for multiple in range(1, _MOST_CANDIDATES + 1):
        width = round(multiple * step, _DIGITS)  # 3 × 0.1 is 0.30000000000000004
        try:
            parameters = parameters_of(training.build(width))
        except NetworkError:
            break
        if parameters > largest:
            break
        considered.add(width)
    return list(considered)


def _sizes(training: StudentTraining, widths: Sequence[float]) -> list[tuple[float, int]]:
    """Widths and their parameters, the smallest first; whatever does not fit is told before anything is trained."""
    sizes = [(width, parameters_of(training.build(width))) for width in widths]
    return sorted(sizes, key=lambda width_and_size: width_and_size[1])


def _forecast(width: float, parameters: int, law: ScalingLaw, teacher: Point) -> Forecast:
    prediction = law.predict(parameters)
    drop = prediction.error - teacher.error
    doubt = normal_quantile((1 + law.level) / 2) * teacher.deviation
    bound = drop + math.hypot(prediction.upper - prediction.error, doubt)
    return Forecast(width, parameters, prediction, 100 * drop, 100 * bound)


def _told(student: TrainedStudent) -> dict[str, Any]:
    return {
        "width": student.width,
        "parameters": student.parameters,
        "wrong": student.wrong,
        "samples": student.samples,
        "error": student.error,
        "seconds": student.seconds,
    }


def _forecast_told(forecast: Forecast) -> dict[str, Any]:
    return {
        "width": forecast.width,
        "parameters": forecast.parameters,
        **forecast.prediction._asdict(),
        "drop_points": forecast.drop,
        "drop_bound_points": forecast.drop_bound,
    }
