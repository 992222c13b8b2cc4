"""The measurements of one build, and their JSON.

A :class:`Profile` belongs to one file, named by its sha256: accuracy and latency in it were taken from that very
file. Figures that were not measured say so in ``source`` ("estimated"), here and wherever they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from compress.records.coverage import Coverage
from compress.records.decoder_speed import DecoderSpeed
from compress.records.draft_speed import DraftSpeed
from compress.records.greedy import GreedyText

# Named as themselves: readers of profiles find these here.
from compress.records.latency import Interval as Interval
from compress.records.latency import Latency as Latency
from compress.records.latency import Source as Source
from compress.records.latency import WarmUp as WarmUp
from compress.records.latency import interval_of, interval_or_none, latency_of, warm_up_of
from compress.records.layer_time import LayerTime

#: Version of the JSON written here; readers refuse a later one.
SCHEMA = 1

#: Key of the content's hash in profiles that are files of their own; see :mod:`compress.bundle.profile_file`.
DIGEST = "sha256"


@dataclass(frozen=True)
class Drop:
    """The accuracy drop against the original network, paired by sample.

    Attributes:
        points: Percentage points, or, where ``relative``, percent of the original's mean; positive is worse.
        interval: Confidence interval of ``points``; Tango's score interval for right-or-wrong metrics, Gaffke's bounds
            for others.
        churn: Share of samples in [0, 1] whose outcome differs from the original's.
        output: Name of the output with this drop, where several are judged; None for one.
        rounding: Largest difference of any output from the original's, as a share of the output's largest value, where
            the recipe computes the same and every difference is rounding: nothing is lost then, whatever the interval
            of a few samples leaves open. None for other builds.
        relative: Whether ``points`` is percent of the original's mean, as for an error, a score or a rate; right or
            wrong answers, and the share of the original's own scores, are told in percentage points.
    """

    points: float
    interval: Interval
    churn: float
    output: str | None = None
    rounding: float | None = None
    relative: bool = False

    @property
    def unit(self) -> str:
        """Unit of ``points`` and of the interval: ``points``, or ``% of the mean``."""
        return "% of the mean" if self.relative else "points"


@dataclass(frozen=True)
class OutputAccuracy:
    """Accuracy of one of several outputs.

    Attributes:
        output: Name of the output.
        metric: Name of the metric.
        mean: Mean of the shown figure over all samples, in the metric's own unit.
        drop: Accuracy drop against the original network; None for the original itself.
        beside: Further figures by name, for information only.
    """

    output: str
    metric: str
    mean: float
    drop: Drop | None = None
    beside: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Accuracy:
    """The metric over the evaluation data.

    Attributes:
        metric: Name of the metric.
        mean: Mean of the metric over the samples, in its own unit (a share in [0, 1] where ``percent``).
        interval: Confidence interval of the mean; Wilson's for shares of samples, Gaffke's bounds or the bootstrap for
            others.
        samples: Number of evaluation samples.
        data_sha256: Hash of the evaluation data, inputs and targets in order.
        right_or_wrong: Whether every per-sample value is 0 or 1.
        higher_is_better: Direction of the metric.
        drop: Accuracy drop against the original network, for the output with the worst drop; None for the original
            itself.
        kept: Mean of the values that decide, where another figure is shown: without labels, the share of the original's
            own scores that is kept. None where the shown figure decides.
        percent: Whether the mean is a share, shown in percent.
        beside: Further figures by name, for information only.
        outputs: Every output, where several are judged; empty for one.
    """

    metric: str
    mean: float
    interval: Interval
    samples: int
    data_sha256: str
    right_or_wrong: bool
    higher_is_better: bool
    drop: Drop | None = None
    kept: float | None = None
    percent: bool = False
    beside: dict[str, float] = field(default_factory=dict)
    outputs: tuple[OutputAccuracy, ...] = ()

    @property
    def in_percent(self) -> bool:
        """Whether the mean is a share of 1, to be shown in percent."""
        return self.right_or_wrong or self.percent


#: Samples below which a metric that is not right or wrong for each of them decides nothing.
LEAST_SAMPLES = 30


def inside_margin(drop: Drop | None, max_drop: float) -> bool:
    """Whether the upper bound of the drop is at or below the margin, or the build computes the same."""
    if drop is None or drop.interval.high <= max_drop:
        return True
    return drop.rounding is not None and drop.points <= max_drop


def decidable(accuracy: Accuracy) -> bool:
    """Whether there are enough samples to decide on right-or-wrong outcomes, or on other values."""
    return accuracy.right_or_wrong or accuracy.samples >= LEAST_SAMPLES


@dataclass(frozen=True)
class Slice:
    """Accuracy in one slice of the evaluation data, such as a class.

    Attributes:
        name: Name of the slice.
        samples: Number of evaluation samples in it, ≥ 1.
        mean: Mean of the metric over these samples, in the metric's own unit.
        drop: Accuracy drop against the original network; its interval's level is that of all slices together, shared
            among them. None for the original itself, and where there are too few samples to bound it.
    """

    name: str
    samples: int
    mean: float
    drop: Drop | None = None


@dataclass(frozen=True)
class Scenario:
    """A scenario of MLPerf Inference, measured; see :mod:`compress.profiling.scenarios`.

    Attributes:
        name: Name of the scenario: "single-stream", "multi-stream" or "offline".
        query_samples: Number of samples in one query; all samples for offline.
        batch: Number of samples in one call; offline, the size of the highest throughput.
        queries: Number of timed queries after warm-up.
        percentile: Percentile of the latency that counts, in percent; None for offline, where throughput counts.
        latency_ms: Latency of a query at that percentile, in milliseconds; None for offline, and with too few queries.
        interval: Confidence interval of ``latency_ms``, in milliseconds, from order statistics.
        early_stopping_ms: The latency that LoadGen's early stopping reports: the percentile is below it with
            99 % confidence. None where ``latency_ms`` is.
        throughput_per_s: Samples per second.
        sweep: Offline: the latency at each batch size that was tried, in ascending order.
        knee: Offline: the smallest of these sizes whose throughput is close to the highest.
        warm_up: Calls that were dropped; offline, each entry of ``sweep`` has its own.
    """

    name: Literal["single-stream", "multi-stream", "offline"]
    query_samples: int
    batch: int
    queries: int
    percentile: int | None
    latency_ms: float | None
    interval: Interval | None
    early_stopping_ms: float | None
    throughput_per_s: float
    sweep: tuple[Latency, ...] = ()
    knee: int | None = None
    warm_up: WarmUp | None = None


@dataclass(frozen=True)
class Profile:
    """All measurements of one build.

    Attributes:
        recipe: Name of the recipe that made it.
        artifact_sha256: sha256 of the file that was measured.
        artifact_bytes: Size of that file (with its external data), in bytes.
        backend: Back end that ran it.
        options: Session options it ran with.
        target: Name of the target it was built for.
        accuracy: Accuracy over the evaluation data; None where no data was given.
        latency: Latencies, one entry per batch size, the target's first batch size first.
        peak_memory_mb: Peak resident memory for loading and running it in a process of its own, above the idle runtime,
            in MiB; for a build on a GPU the memory of the GPU, above what was in use before. None where not measured.
        coverage: Coverage by fused int8 kernels, from the graph that the runtime really runs.
        layers: Time of each layer at the first batch size, estimated, or measured by the runtime's own profiler. What
            measured ones' shares leave of 1 was spent between operators.
        fingerprint: The machine the measured figures were taken on.
        versions: Versions of the packages that made and ran it, by name.
        outcomes: The metric of every evaluation sample, in order.
        slices: Accuracy class by class; empty where the data has no class labels.
        network: Name of the network that it is a build of; None where it is not known.
        network_sha256: sha256 of the file that the network came from; None where it is not known.
        inputs: Inputs of the artifact, each as :meth:`TensorSpec.to_dict` returns it; empty where they were not
            recorded.
        outputs: Outputs of the artifact, in the same form.
        recorded_at: Time of the measurement, ISO 8601 in UTC; None where it was not recorded.
        conditions: Conditions of the measurement, which change from run to run on one machine; see
            :mod:`compress.profiling.conditions`. None for estimates and where they were not recorded.
        scenarios: Results of the MLPerf Inference scenarios that were asked for.
        energy_mj: Energy of one call at the batch size that decided, in millijoules, by the own counter of the
            processor or GPU, or the board's sensors; None where there is none to read.
        warnings: Reasons to doubt the measured figures, a sentence each.
        energy_interval: Confidence interval of ``energy_mj``, in millijoules; None where too few runs bound it.
        energy_batch: Number of samples in the call that ``energy_mj`` and ``power_w`` are of; None where it was not
            recorded, and for the first batch size then.
        power_w: Mean power of these calls, back to back, in watts; None where it was not measured.
        parts_ms: Median time of each part of a call at the batch size that decided, in milliseconds, by its name, where
            a call has parts: the encoder of an encoder–decoder, and one step of the answer; empty for others.
        greedy: Answers of a decoder of text to the beginnings of documents, held against the original; None for other
            networks, and where it was not recorded.
        decoding: Speed of a decoder of text under each set of conditions that was measured; empty for other networks,
            and where it was not measured.
        draft: Comparison of the build with a draft and without; None where none was given.
    """

    recipe: str
    artifact_sha256: str
    artifact_bytes: int
    backend: str
    options: dict[str, Any]
    target: str
    accuracy: Accuracy | None
    latency: tuple[Latency, ...]
    peak_memory_mb: float | None
    coverage: Coverage | None
    fingerprint: dict[str, Any]
    versions: dict[str, str]
    layers: tuple[LayerTime, ...] = ()
    outcomes: tuple[float, ...] = field(default=(), repr=False)
    slices: tuple[Slice, ...] = ()
    network: str | None = None
    network_sha256: str | None = None
    inputs: tuple[dict[str, Any], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    recorded_at: str | None = None
    conditions: dict[str, Any] | None = None
    scenarios: tuple[Scenario, ...] = ()
    energy_mj: float | None = None
    warnings: tuple[str, ...] = ()
    energy_interval: Interval | None = None
    energy_batch: int | None = None
    power_w: float | None = None
    parts_ms: dict[str, float] = field(default_factory=dict)
    greedy: GreedyText | None = None
    decoding: tuple[DecoderSpeed, ...] = ()
    draft: DraftSpeed | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold; right-or-wrong outcomes as a string of ``0`` and ``1``, one per sample."""
        data = {"schema": SCHEMA, **asdict(self)}
        data["coverage"] = None if self.coverage is None else self.coverage.to_dict()
        data["layers"] = [layer.to_dict() for layer in self.layers]
        data["outcomes"] = _pack(self.outcomes)
        data["greedy"] = None if self.greedy is None else self.greedy.to_dict()
        data["decoding"] = [speed.to_dict() for speed in self.decoding]
        data["draft"] = None if self.draft is None else self.draft.to_dict()
        for name in ("greedy", "decoding", "draft"):  # of language models alone
            if not data[name]:
                del data[name]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Profile:
        """Read back what :meth:`to_dict` returned.

        Raises:
            KeyError: A field is missing.
            TypeError: A field is of the wrong type.
            ValueError: The schema is later than this version reads.
        """
        if data["schema"] > SCHEMA:
            raise ValueError(f"profile schema {data['schema']} is later than {SCHEMA}")
        fields = {key: value for key, value in data.items() if key not in ("schema", DIGEST)}
        fields["accuracy"] = _accuracy(data["accuracy"])
        relative = _relative(data["accuracy"])
        coverage = data["coverage"]
        fields["coverage"] = None if coverage is None else Coverage.from_dict(coverage)
        fields["latency"] = tuple(latency_of(entry) for entry in data["latency"])
        fields["layers"] = tuple(LayerTime.from_dict(entry) for entry in data.get("layers", ()))
        for name in ("inputs", "outputs"):
            fields[name] = tuple(data.get(name, ()))
        fields["outcomes"] = _unpack(data["outcomes"])
        fields["slices"] = tuple(
            Slice(**{**entry, "drop": _drop(entry["drop"], relative)}) for entry in data.get("slices", ())
        )
        answers = data.get("greedy")
        fields["greedy"] = None if answers is None else GreedyText.from_dict(answers)
        fields["decoding"] = tuple(DecoderSpeed.from_dict(entry) for entry in data.get("decoding", ()))
        draft = data.get("draft")
        fields["draft"] = None if draft is None else DraftSpeed.from_dict(draft)
        fields["scenarios"] = tuple(_scenario(entry) for entry in data.get("scenarios", ()))
        fields["warnings"] = tuple(data.get("warnings", ()))
        between = data.get("energy_interval")
        fields["energy_interval"] = None if between is None else interval_of(between)
        return cls(**fields)


def _accuracy(data: dict[str, Any] | None) -> Accuracy | None:
    if data is None:
        return None
    relative = _relative(data)
    outputs = tuple(
        OutputAccuracy(**{**entry, "drop": _drop(entry["drop"], relative)})
        for entry in data.get("outputs", ())
    )
    read = {
        "interval": interval_of(data["interval"]),
        "drop": _drop(data["drop"], relative),
        "outputs": outputs,
    }
    return Accuracy(**{"percent": data["right_or_wrong"], **data, **read})


def _relative(accuracy: dict[str, Any] | None) -> bool:
    """Whether drops of a profile that does not say so, an earlier one, are percent of the original's mean."""
    return accuracy is not None and not accuracy["right_or_wrong"] and accuracy.get("kept") is None


def _drop(data: dict[str, Any] | None, relative: bool) -> Drop | None:
    """Read a drop; one without points is of an original whose mean is 0, and exceeds any margin."""
    if data is None:
        return None
    points = math.inf if data["points"] is None else data["points"]
    ends = data["interval"]
    low = math.inf if data["points"] is None and ends["low"] is None else ends["low"]
    return Drop(
        **{"relative": relative, **data, "points": points, "interval": interval_of({**ends, "low": low})}
    )


def _scenario(data: dict[str, Any]) -> Scenario:
    return Scenario(
        **{
            **data,
            "interval": interval_or_none(data["interval"]),
            "sweep": tuple(latency_of(entry) for entry in data["sweep"]),
            "warm_up": warm_up_of(data["warm_up"]),
        }
    )


def _pack(outcomes: Sequence[float]) -> str | list[float]:
    if all(value in (0.0, 1.0) for value in outcomes):
        return "".join("1" if value else "0" for value in outcomes)
    return list(outcomes)


def _unpack(packed: str | list[float]) -> tuple[float, ...]:
    if isinstance(packed, str):
        if set(packed) - {"0", "1"}:
            raise ValueError("outcomes hold something other than 0 and 1")
        return tuple(float(character) for character in packed)
    return tuple(float(value) for value in packed)
