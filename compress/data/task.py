"""The task of a network: evaluation data, training data, and the meaning of 'accuracy'."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.core.code_identity import code_sha256
from compress.core.renamed_fields import renamed_fields
from compress.core.tensor_spec import TensorSpec, with_length
from compress.data import Batch, DetectionOptions, ImageOptions, Split, open_data
from compress.data.binding import bind_split
from compress.data.images import ImageFiles
from compress.data.metric_choice import MetricChoice, check_labels, detections_for, divided, metric_for
from compress.data.opening import follow_reference
from compress.data.split import Array
from compress.data.splitting import MIN_EVALUATION, choose_rows, rows_shared, split_rows
from compress.errors import DataError
from compress.metrics import Metric
from compress.metrics.output_kinds import OutputKind, output_kinds
from compress.metrics.selection import ByOutput, select

if TYPE_CHECKING:
    from compress.data.whole import Whole


#: How many samples are calibrated on at the most, where nothing else is said.
CALIBRATION_SAMPLES = 512

#: Samples whose shapes are compared, to see whether they differ.
_LOOKED_AT = 64


@renamed_fields(streams="whole")
@dataclass(frozen=True)
class Task:
    """The data and the metric that a network is judged by.

    Attributes:
        evaluation: Samples that accuracy is measured on, at least two.
        calibration: Samples that value ranges are measured on; none of them is in ``evaluation``.
        training: Samples that techniques may train on; None where there are none.
        metric: Metric of accuracy; once the task is bound, for the outputs that it reads.
        provenance: Source and division of the data, as a dict that JSON can hold; goes into the manifest.
        classes: Names of the classes, by label, where they are known; else None.
        by_output: Kind or metric that the caller names for single outputs, by the output's name.
        further: Metrics of the outputs that ``metric`` does not read; empty until the task is bound.
        kinds: Kind of each output's content; empty until the task is bound.
        detections: Options for reading a detector's outputs; None where the network is not known to be one.
        whole: How the network runs over a sample that takes several calls, such as a stream of frames; None where a
            sample is a single call.
        single: The same task for single calls; None where this task has single calls itself.
    """

    evaluation: Split
    calibration: Split
    training: Split | None
    metric: Metric
    provenance: dict[str, Any]
    classes: tuple[str, ...] | None = None
    by_output: ByOutput = field(default_factory=dict)
    further: tuple[Metric, ...] = ()
    kinds: tuple[OutputKind, ...] = ()
    detections: DetectionOptions | None = None
    whole: Whole | None = None
    single: Task | None = None

    @property
    def calls(self) -> Task:
        """The task for single calls, used for calibration, training, tracing and timing.

        Where a state is carried, its samples are frames with the state that the original has there.
        """
        return self.single or self

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All metrics that a network is judged by; the one with the worst drop decides."""
        return (self.metric, *self.further)

    @property
    def of_frames(self) -> bool:
        """Whether outputs are judged frame by frame, ``(n, frames, …)``."""
        return self.whole is not None and self.whole.of_frames

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on how the network is fed and judged, one line each; empty where a sample is a single call."""
        return () if self.whole is None else self.whole.notes(self)

    @property
    def judging_calls(self) -> int:
        """About how many of the calls that are timed it takes to judge a network."""
        return len(self.evaluation) if self.whole is None else self.whole.calls_in(self.evaluation)

    @property
    def identity(self) -> dict[str, Any]:
        """Return what measurements depend on, as a dict for JSON: all samples, and the code of the metrics."""
        return {
            **self.provenance,
            "metrics": self.metrics_sha256,
            "kinds": [str(kind) for kind in self.kinds],
            "training_sha256": None if self.training is None else self.training.sha256,
            "states": {} if self.whole is None else dict(self.whole.pairs),
        }

    @property
    def metrics_sha256(self) -> str:
        """Return a hash of the code of every metric, the user's own included."""
        return code_sha256([(metric.name, metric.per_sample, metric.over_data) for metric in self.metrics])

    def example(self, size: int = 2) -> dict[str, Array]:
        """Return the first ``size`` calibration samples by input name, repeated where there are fewer."""
        return self._first(size).inputs

    def samples(self, size: int = 2) -> dict[str, Array]:
        """Return the same samples as :meth:`example`, always along axis 0."""
        batch = self._first(size)
        return {name: np.moveaxis(array, batch.axes.get(name, 0), 0) for name, array in batch.inputs.items()}

    def _first(self, size: int) -> Batch:
        calibration = self.calls.calibration
        return next(calibration.take(np.arange(size) % len(calibration)).batches(size))

    def other_example(self) -> dict[str, Array] | None:
        """Return a sample of another shape than :meth:`example`'s, by input name; None where all shapes are equal.

        It differs along every axis that any of them differs in: where none does, it is the first that differs, with its
        values repeated or left out.
        """
        calibration = self.calls.calibration
        first: dict[str, tuple[int, ...]] = {}
        other: dict[str, Array] = {}
        differing: dict[tuple[str, int], int] = {}  # sizes of ``other`` that differ from the first sample's
        seen: dict[tuple[str, int], int] = {}  # of any
        looked = np.arange(min(len(calibration), _LOOKED_AT))
        for batch in calibration.take(looked).batches(_LOOKED_AT):
            first = first or {name: array.shape[1:] for name, array in batch.inputs.items()}
            differs = {
                (name, axis): size
                for name, array in batch.inputs.items()
                for axis, size in enumerate(array.shape[1:], start=1)
                if size != first[name][axis - 1]
            }
            seen = differs | seen
            if len(differs) > len(differing):
                other, differing = dict(batch.rows(slice(1)).inputs), differs
        for (name, axis), size in seen.items():
            if (name, axis) not in differing:
                other[name] = with_length(other[name], axis, size)
        return other or None

    def bind(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        kinds: Sequence[OutputKind] | None = None,
    ) -> Task:
        """Return the task under the network's input names and dtypes, with metrics for its outputs.

        A single input is renamed; float and integer widths are adapted where no value is lost but a float's
        rounding. Nothing is scaled, and integers never become floats.

        Args:
            inputs: The network's inputs.
            outputs: The network's outputs.
            kinds: Kind of each output's content; None judges it by names and types alone.

        Raises:
            DataError: Names, shapes, dtypes or labels do not fit the network.
            MetricError: The metric does not apply to such outputs.
        """
        kinds = output_kinds(outputs, None) if kinds is None else kinds
        metric, *further = select(self.metric, self.by_output, outputs, kinds, streams=self.of_frames)
        roles = {"evaluation": self.evaluation, "calibration": self.calibration, "training": self.training}
        splits = {role: split for role, split in roles.items() if split is not None}
        if metric.class_labels and not self.of_frames:
            for role, split in splits.items():
                check_labels(split, next(spec for spec in outputs if spec.name in metric.outputs), role)
        bound = {role: bind_split(split, inputs, f"{role} data") for role, split in splits.items()}
        return replace(
            self,
            metric=metric,
            further=tuple(further),
            kinds=tuple(kinds),
            evaluation=bound["evaluation"],
            calibration=bound["calibration"],
            training=bound.get("training"),
        )


def load_task(
    data: Any,
    *,
    metric: MetricChoice = None,
    train_data: Any = None,
    calibration_data: Any = None,
    calibration_samples: int = CALIBRATION_SAMPLES,
    seed: int = 0,
    image_options: Mapping[str, Any] | ImageOptions | None = None,
    detections: Mapping[str, Any] | None = None,
    calibrates: bool = True,
    streams: bool = False,
) -> Task:
    """Read data, set calibration samples apart, and choose the metric.

    Args:
        data: Evaluation data, of any kind that :func:`compress.data.open_data` opens; or a Task.
        metric: Metric, as :func:`compress.metrics.load_metric` takes it. None chooses by the targets: top-1 for class
            labels, mean-error for floats, map for boxes, miou for class maps, agreement with the original network where
            there are none. A mapping names a metric, or one of :data:`compress.metrics.output_kinds.KINDS`, for outputs
            by their names; under ``""`` it may hold the metric of the targets.
        train_data: Data to train on, of any kind.
        calibration_data: Data to calibrate on. None takes samples of ``train_data``, or where there is none sets
            at most a quarter of ``data`` apart. Samples that evaluation has too are left out.
        calibration_samples: Largest number of calibration samples, ≥ 1.
        seed: Seed of the choice of these samples, ≥ 0; recorded.
        image_options: Preparation of images; wins over the ``compress-data.toml`` in their folder.
        detections: Options for reading a detector's outputs, by the keys of :class:`compress.data.DetectionOptions`;
            each wins over the table ``[detections]`` of ``compress-data.toml``.
        calibrates: Whether anything is calibrated. If not, none of ``data`` is set apart, and evaluation samples serve
            as calibration samples.
        streams: Whether each sample is a stream of frames, for a network that carries a state from call to call; then
            targets may be those of every frame, ``(streams, frames, …)``.

    Raises:
        DataError: Data is missing, damaged or too little, or calibration and evaluation are the same samples.
        MetricError: The metric is unknown or needs other targets.
        UnavailableError: The data is images, and Pillow is not installed.
    """
    if calibration_samples < 1 or seed < 0:
        given_values = f"{calibration_samples} calibration samples, seed {seed}"
        raise DataError("at least 1 calibration sample and a seed from 0", given_values, "correct them")
    source = follow_reference(data)
    reference = data if source is not data else None
    if isinstance(source, Task):
        if train_data is not None or calibration_data is not None:
            raise DataError("a Task alone", "a Task and other data with it", "put all data into the Task")
        _check_image_options(image_options, ())  # a Task has prepared its images already
        return _completed(source, metric, detections, streams)

    evaluation = open_data(source, image_options, reference)
    training = None if train_data is None else open_data(train_data, image_options)
    if calibration_data is not None:
        pool, taken_from = open_data(calibration_data, image_options), "calibration data"
    elif training is not None:
        pool, taken_from = training, "training data"
    else:
        pool, taken_from = evaluation, "evaluation data"
    _check_image_options(image_options, (evaluation, pool))

    how: dict[str, Any] = {
        "calibration_from": taken_from,
        "calibration_samples": calibration_samples,
        "seed": seed,
    }
    if not calibrates:
        _check_enough(evaluation)
        calibration, how["calibration_from"] = evaluation, None
    elif pool is evaluation:
        content = [digest.inputs for digest in evaluation.digests]
        rows, evaluation_rows = split_rows(content, calibration_samples, seed)
        calibration, evaluation = pool.take(rows), pool.take(evaluation_rows)
    else:
        _check_enough(evaluation)
        calibration = pool.take(choose_rows(len(pool), calibration_samples, seed))
        calibration, how["left_out_of_calibration"] = _without_shared(calibration, evaluation, taken_from)

    metric_of_whole, by_output = divided(metric)
    how_found = detections_for(evaluation, detections)
    chosen = metric_for(evaluation, metric_of_whole, by_output, how_found, streams)
    provenance = _describe(evaluation, calibration, training) | {"split": how, "metric": chosen.name}
    if by_output:
        named = {
            name: choice if isinstance(choice, str) else choice.name for name, choice in by_output.items()
        }
        provenance["metric_of_outputs"] = named
    if how_found is not None:
        provenance["detections"] = json.loads(json.dumps(asdict(how_found)))
    return Task(
        evaluation,
        calibration,
        training,
        chosen,
        provenance,
        evaluation.classes,
        by_output,
        detections=how_found,
    )


def _completed(task: Task, metric: MetricChoice, detections: Mapping[str, Any] | None, streams: bool) -> Task:
    """Check and complete a Task that the caller made."""
    _check_enough(task.evaluation)
    shared = rows_shared(task.calibration, task.evaluation)
    if len(shared):
        repeated = f"{len(shared)} of {len(task.calibration)} calibration samples in both"
        raise DataError(
            "calibration data apart from evaluation data", repeated, "take them out of one of the two"
        )
    metric_of_whole, by_output = divided(metric)
    how_found = detections_for(task.evaluation, detections) if detections else task.detections
    task_metric = task.metric if metric_of_whole is None else metric_of_whole
    chosen = metric_for(task.evaluation, task_metric, by_output, how_found, streams)
    provenance = _describe(task.evaluation, task.calibration, task.training) | task.provenance
    by_output = by_output or task.by_output
    provenance["metric"] = chosen.name
    return replace(task, metric=chosen, by_output=by_output, provenance=provenance, detections=how_found)


def _check_enough(evaluation: Split) -> None:
    if len(evaluation) < MIN_EVALUATION:
        raise DataError(
            f"at least {MIN_EVALUATION} evaluation samples", str(len(evaluation)), "give more data"
        )


def _check_image_options(options: Mapping[str, Any] | ImageOptions | None, splits: tuple[Split, ...]) -> None:
    has_options = (
        options
        if isinstance(options, ImageOptions)
        else any(value is not None for value in (options or {}).values())
    )
    if has_options and not any(isinstance(split, ImageFiles) for split in splits):
        raise DataError(
            "a folder of images, for the image options", "data of another kind", "leave the options out"
        )


def _without_shared(calibration: Split, evaluation: Split, taken_from: str) -> tuple[Split, int]:
    shared = rows_shared(calibration, evaluation)
    if not len(shared):
        return calibration, 0
    if len(shared) == len(calibration):
        repeated = f"{taken_from} whose samples are all in the evaluation data too"
        raise DataError(
            "samples to calibrate on that are not evaluated on", repeated, "give other data, or only one set"
        )
    unshared = np.setdiff1d(np.arange(len(calibration)), shared)
    return calibration.take(unshared), len(shared)


def _describe(evaluation: Split, calibration: Split, training: Split | None) -> dict[str, Any]:
    """Describe the data as a dict for JSON; training data is not hashed, as it may be large and judges nothing."""
    described: dict[str, Any] = {
        "evaluation": {**evaluation.origin, "samples": len(evaluation), "sha256": evaluation.sha256},
        "calibration": {**calibration.origin, "samples": len(calibration), "sha256": calibration.sha256},
        "training": None if training is None else {**training.origin, "samples": len(training)},
    }
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain
