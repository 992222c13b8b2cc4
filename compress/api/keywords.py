"""The keywords of every verb, for type checkers and editors; a test holds them alike with the options classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Required, TypedDict

if TYPE_CHECKING:
    import torch

    from compress.api.opened_model import GivenInputs
    from compress.data.class_order import ClassNames
    from compress.data.image_options import ImageOptions
    from compress.data.metric_choice import MetricChoice
    from compress.gate.policy import GatePolicy
    from compress.recipe import Recipe
    from compress.students.family import Family
    from compress.target.target import Target


class OptionalDataKeywords(TypedDict, total=False):
    """The keywords of :class:`DataOptions`, for a verb that may do without data."""

    data: Any
    metric: MetricChoice
    image_options: Mapping[str, Any] | ImageOptions | None
    classes: ClassNames | None
    sequence_length: int | None
    stride: int | None
    seed: int
    strict: bool


class DataKeywords(OptionalDataKeywords, total=False):
    """The keywords of :class:`DataOptions`."""

    data: Required[Any]  # type: ignore[misc]  # stricter than in the class before it, which nobody makes


class CalibrationKeywords(TypedDict, total=False):
    """The keywords of :class:`CalibrationOptions`."""

    calibration_data: Any


class LoadKeywords(TypedDict, total=False):
    """The keywords of :class:`LoadOptions`."""

    factory: str | None
    trust_pickle: bool
    weights: str | None
    batch_axis: Mapping[str, int] | None
    state: Mapping[str, str] | None


class TargetKeywords(TypedDict, total=False):
    """The keywords of :class:`TargetOptions`."""

    target: str | Path | Target


class TimingKeywords(TypedDict, total=False):
    """The keywords of :class:`TimingOptions`."""

    threads: int | None
    seconds: float


class HostKeywords(TypedDict, total=False):
    """The keywords of :class:`HostOptions`."""

    host: str | None
    keep_on_host: bool


class DeviceKeywords(TypedDict, total=False):
    """The keywords of :class:`DeviceOptions`."""

    device: str


class TrainingKeywords(TypedDict, total=False):
    """The keywords of :class:`compress.training.settings.DistillationOptions`."""

    epochs: int | None
    epoch_samples: int | None
    batch_size: int | None
    learning_rate: float | None
    average: float | None
    held_out: float | None
    patience: int | None
    training_precision: str | None
    temperature: float | None
    label_weight: float | None
    features: float | None


class OptimizeKeywords(
    DataKeywords,
    CalibrationKeywords,
    TargetKeywords,
    HostKeywords,
    LoadKeywords,
    TimingKeywords,
    DeviceKeywords,
    total=False,
):
    """The keywords of :class:`OptimizeOptions`."""

    out: str | Path
    train_data: Any
    max_drop: float
    max_latency: float | None
    max_size: float | None
    max_memory: float | None
    max_power: float | None
    objective: str
    front: bool
    draft: str | Path | None
    recipes: Sequence[Recipe | str | Path]
    backends: Sequence[str]
    time_budget: float | None
    shape: Mapping[str, Sequence[Sequence[int]]] | None
    retry_failed: bool
    tune: int | None
    cluster: str | None
    cache: str | Path | None


class BenchmarkKeywords(
    DataKeywords, CalibrationKeywords, TargetKeywords, HostKeywords, LoadKeywords, TimingKeywords, total=False
):
    """The keywords of :class:`BenchmarkOptions`."""

    backends: Sequence[str]


class QuantizeKeywords(OptionalDataKeywords, CalibrationKeywords, TargetKeywords, LoadKeywords, total=False):
    """The keywords of :class:`QuantizeOptions`."""

    out: str | Path | None
    precision: str
    recipe: Recipe | str | Path | None
    method: str | None
    percentile: float | None
    scope: str | None
    exclude: Sequence[str]
    calibration_samples: int


class PruneKeywords(
    DataKeywords,
    CalibrationKeywords,
    TargetKeywords,
    LoadKeywords,
    TimingKeywords,
    TrainingKeywords,
    DeviceKeywords,
    total=False,
):
    """The keywords of :class:`PruneOptions`."""

    out: str | Path
    latency_share: float | None
    ratio: float | None
    untrained_drop: float | None
    importance: str | None
    per_layer: bool
    keep: Sequence[str]
    timing_precision: str
    rounds: int
    train_data: Any


class StudentKeywords(DataKeywords, LoadKeywords, TrainingKeywords, DeviceKeywords, total=False):
    """The keywords of :class:`StudentOptions`."""

    train_data: Required[Any]
    out: str | Path


class DistillKeywords(StudentKeywords, total=False):
    """The keywords of :class:`DistillOptions`."""

    tune: int | None
    student: Required[str | Path | torch.nn.Module]


class ChooseStudentKeywords(StudentKeywords, total=False):
    """The keywords of :class:`ChooseStudentOptions`."""

    student: Required[str | Family]
    widths: Required[Sequence[float]]
    max_drop: float
    candidates: Sequence[float]
    runs: int
    longer_epochs: int | None


class JudgingKeywords(TypedDict, total=False):
    """The keywords of :class:`compress.api.build_options.JudgingOptions`, and of the states and the host of a build."""

    data: Any
    metric: MetricChoice
    image_options: Mapping[str, Any] | ImageOptions | None
    classes: ClassNames | None
    state: Mapping[str, str] | None
    host: str | None
    keep_on_host: bool


class ProfileKeywords(JudgingKeywords, total=False):
    """The keywords of :class:`compress.api.build_options.ProfileOptions`."""

    shape: GivenInputs
    target: str | Path | Target
    threads: int | None
    batches: Sequence[int]
    contexts: Sequence[int]
    scenarios: Sequence[str]
    seconds: float
    out: str | Path | None


class GateKeywords(JudgingKeywords, total=False):
    """The keywords of :class:`compress.api.build_options.GateOptions`."""

    groups: str | Path | None
    baseline: Required[str | Path]
    policy: GatePolicy | str | Path | None
    max_drop: float | None
    max_slowdown: float | None
    target: str | None


class GraphKeywords(TypedDict, total=False):
    """The keywords of :class:`compress.api.build_options.GraphOptions`."""

    shape: GivenInputs
    factory: str | None
    trust_pickle: bool
    weights: str | None
    batch_axis: Mapping[str, int] | None


class InspectKeywords(GraphKeywords, total=False):
    """The keywords of :class:`compress.api.build_options.InspectOptions`."""

    target: str | Path | Target | None
    batch: int | None


class DebugKeywords(GraphKeywords, total=False):
    """The keywords of :class:`compress.api.build_options.DebugOptions`."""

    data: Required[Any]
    image_options: Mapping[str, Any] | ImageOptions | None
    samples: int
    threshold: float
    check: str | None
    check_seconds: float
    out: str | Path


class LintKeywords(GraphKeywords, total=False):
    """The keywords of :class:`compress.api.build_options.LintOptions`."""

    target: Required[str | Path | Target]
    backend: str | None
    dla: bool
    fix: str | Path | None
    sarif: str | Path | None
