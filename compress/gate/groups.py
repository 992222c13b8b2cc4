"""The user's own slices: an array beside the samples, cut to the samples that are evaluated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import DataError
from compress.gate.slices import Groups

if TYPE_CHECKING:
    from compress.data.evaluation import MeasuredSamples
    from compress.data.image_options import ImageOptions
    from compress.data.metric_choice import MetricChoice
    from compress.data.task import Task
    from compress.gate.subject import Subject

#: The array of an ``.npz`` file that names the group of each sample.
GROUPS = "groups"


def load_task_and_groups(
    data: Any,
    *,
    groups: Path | None = None,
    subjects: Sequence[Subject] = (),
    metric: MetricChoice = None,
    image_options: Mapping[str, Any] | ImageOptions | None = None,
    streams: bool = False,
) -> tuple[Task, Groups | None]:
    """Read data as :func:`compress.data.evaluation.load_evaluation` does, and the group of each evaluation sample.

    Args:
        data: Evaluation data of any kind that :func:`compress.data.open_data` opens. An ``.npz`` file may hold an array
            ``groups``.
        groups: A ``.npy`` file ``(n,)`` of integers or texts, one for each sample of ``data``; wins over the array.
        subjects: The baseline, and the build that is compared with it: where one was measured on a part of the data,
            this part counts. Images are prepared and classes numbered as the baseline records it, where neither the
            caller nor the folder tells it.
        metric: Name of the metric, or a mapping; see :func:`compress.data.task.load_task`.
        image_options: Preparation of images; see :func:`compress.data.task.load_task`.
        streams: Whether samples are streams, see :func:`compress.data.task.load_task`; always True where one of the
            subjects carries a state.

    Returns:
        The task; and ``(evaluation samples,)``, or None where no groups are given.

    Raises:
        DataError: The data or the groups cannot be read, or are of different lengths; or the classes are numbered
            otherwise than a build records.
        MetricError: The metric is unknown or needs other targets.
    """
    from compress.data.evaluation import load_evaluation
    from compress.data.opening import follow_reference

    measured = [subject.measured for subject in subjects if subject.measured is not None]
    how: dict[str, Any] = {
        "metric": metric,
        "image_options": image_options,
        "like": _agreeing(subjects),
        "streams": streams or any(subject.states for subject in subjects),
    }
    source, named = _without_groups(data)
    if groups is not None:
        source, named = follow_reference(source), _read(groups)
    if named is None:
        return load_evaluation(data, measured, **how)[0], None
    task, rows = load_evaluation(source, measured, **how)
    if rows is None:
        return task, _checked(named, len(task.evaluation))
    apart = 0 if task.provenance["split"]["calibration_from"] is None else len(task.calibration)
    return task, _checked(named, len(rows) + apart)[rows]


def _agreeing(subjects: Sequence[Subject]) -> MeasuredSamples | None:
    """Return what the baseline records of its samples, whose classes all the others number alike.

    The candidate's own record decides nothing: it comes with the change that is judged.

    Raises:
        DataError: Another build numbers its classes otherwise.
    """
    from compress.data.class_order import disagreement

    measured = subjects[0].measured if subjects else None
    if measured is None:
        return None
    first_classes = measured.classes or ()
    for subject in subjects[1:]:
        classes = subject.measured.classes if subject.measured is not None else None
        other = disagreement([(name,) for name in classes or ()], [(name,) for name in first_classes])
        if other is not None:
            name, label, recorded = other
            raise DataError(
                f"builds that number their classes alike: '{name}' is class {recorded} in {subjects[0].name}",
                f"'{name}' as class {label} in {subject.name}",
                "build the two with the same --classes",
            )
    return measured


def _without_groups(data: Any) -> tuple[Any, Groups | None]:
    """Return the arrays of an ``.npz`` file without its groups; other data unchanged."""
    from compress.data.arrays import read_npz

    if not isinstance(data, str | Path) or not _is_zip(Path(data)):
        return data, None
    arrays = read_npz(Path(data))
    if GROUPS not in arrays:
        return data, None
    groups = arrays.pop(GROUPS)
    return arrays, groups


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except (OSError, ValueError):  # load_task says what is wrong with it
        return False


def _read(path: Path) -> Groups:
    from compress.data.arrays import read_npy

    return read_npy(path, "an array of groups")


def _checked(groups: Groups, samples: int) -> Groups:
    if groups.shape != (samples,) or groups.dtype.kind not in "biuU":
        raise DataError(
            f"groups of {samples} samples, an integer or a text for each",
            f"{groups.dtype}{list(groups.shape)}",
            "save one group for each sample of --data",
        )
    return groups
