"""The options of the verbs on builds and on networks' files: profile, gate, inspect and lint.

They are declared as those of :mod:`compress.api.options` are; what two verbs share has one text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from compress.api.options import DataOptions, HostOptions, LoadOptions, TimingOptions
from compress.core.options import Options, like, option, required

if TYPE_CHECKING:
    from compress.api.opened_model import GivenInputs
    from compress.data.class_order import ClassNames
    from compress.data.image_options import ImageOptions
    from compress.data.metric_choice import MetricChoice
    from compress.gate.policy import GatePolicy
    from compress.target.target import Target

_DATA = "Evaluation data, in the forms that compress optimize takes"
_TARGET = "Name from `compress targets`, or a target's TOML file"
_SHAPE_FORM = "[NAME=]1x3x32x32[:DTYPE]"
_SHAPE_IN_PYTHON = (
    "a mapping from the input's name to the size of every axis, or the sizes of the only input: (1, 3, 8, 8)"
)


@dataclass(frozen=True, kw_only=True)
class JudgingOptions(Options):
    """The data that a build is judged on, and what accuracy means on it."""

    TITLE: ClassVar[str] = "Data"
    RANK: ClassVar[int] = 10
    data: Any = like(DataOptions, "data", help=_DATA, default=None)
    metric: MetricChoice = like(DataOptions, "metric")
    image_options: Mapping[str, Any] | ImageOptions | None = like(
        DataOptions,
        "image_options",
        default_text="as compress-data.toml in the folder says, else as the bundle records it, the baseline in a gate",
    )
    classes: ClassNames | None = like(
        DataOptions,
        "classes",
        default_text="classes in compress-data.toml, else the order that the bundle records, the baseline in a gate",
    )


@dataclass(frozen=True, kw_only=True)
class RecordedStateOptions(Options):
    """The states that a build carries from call to call."""

    TITLE: ClassVar[str] = "Network"
    RANK: ClassVar[int] = 80
    state: Mapping[str, str] | None = like(
        LoadOptions, "state", default_text="the states that the bundle records"
    )


@dataclass(frozen=True, kw_only=True)
class BuildHostOptions(HostOptions):
    """The machine with TensorRT that a build is measured on."""

    TITLE: ClassVar[str] = "Board"
    RANK: ClassVar[int] = 60
    host: str | None = like(HostOptions, "host", default_text="measured in this process, without trtexec")


@dataclass(frozen=True, kw_only=True)
class ProfileDataOptions(JudgingOptions):
    """The data of a profile, or the shapes of the noise that stands in for it."""

    TITLE: ClassVar[str] = "Data"
    RANK: ClassVar[int] = 10
    data: Any = like(JudgingOptions, "data", default_text="latency alone, on seeded noise")
    shape: GivenInputs = option(
        "Shape of an input that leaves axes open, for the noise; not with data",
        in_python=_SHAPE_IN_PYTHON,
        metavar=_SHAPE_FORM,
    )


@dataclass(frozen=True, kw_only=True)
class ProfileOptions(ProfileDataOptions, BuildHostOptions, RecordedStateOptions):
    """The options of :func:`compress.profile`."""

    TITLE: ClassVar[str] = "Measuring and output"
    RANK: ClassVar[int] = 30
    target: str | Path | Target = option(f"{_TARGET}; sets session options and batch sizes", "cpu")
    threads: int | None = like(
        TimingOptions, "threads", default_text="as the bundle was built, else every core"
    )
    batches: Sequence[int] = option(
        "Batch size, in samples", (), low=1, high=65_536, default_text="the target's", flag="--batch"
    )
    contexts: Sequence[int] = option(
        "Number of tokens of the prompt, at which a language model's speed is measured",
        (),
        low=1,
        high=1 << 20,
        default_text="16, 128 and 512, as far as its context has room",
        flag="--context",
    )
    scenarios: Sequence[str] = option(
        "Scenario of MLPerf Inference to measure too",
        (),
        choices=("single-stream", "multi-stream", "offline", "all"),
        default_text="none: one call after the other at each batch size, alone",
        flag="--scenario",
    )
    seconds: float = like(
        TimingOptions,
        "seconds",
        help="Time to measure each batch size, in seconds; also the longest warm-up. p90 needs 64 calls, p99 662",
    )
    out: str | Path | None = option(
        "File for the profile as JSON, which compress gate takes as a baseline",
        default_text="none is written",
        metavar="FILE",
    )


@dataclass(frozen=True, kw_only=True)
class GateDataOptions(JudgingOptions):
    """The data of a gate, and its slices."""

    TITLE: ClassVar[str] = "Data"
    RANK: ClassVar[int] = 10
    data: Any = like(JudgingOptions, "data", default_text="the outcomes recorded in the bundles")
    groups: str | Path | None = option(
        "File (.npy) with the slice of each sample of the data",
        default_text="'groups' in the .npz, or the classes",
        metavar="FILE",
    )


@dataclass(frozen=True, kw_only=True)
class GateOptions(GateDataOptions, BuildHostOptions, RecordedStateOptions):
    """The options of :func:`compress.gate_build`."""

    TITLE: ClassVar[str] = "Comparison"
    RANK: ClassVar[int] = 5
    baseline: str | Path = required(
        "Build that the candidate must not fall behind: a bundle, an ONNX file, or a profile that compress profile "
        "--out wrote",
        metavar="PATH",
    )
    policy: GatePolicy | str | Path | None = option(
        "Policy file (gate.toml) with the checks and their margins",
        in_python="also a GatePolicy",
        default_text="the default policy",
        metavar="FILE",
    )
    max_drop: float | None = option(
        "Largest drop of accuracy that is allowed, in points",
        low=0,
        high=10_000,
        default_text="1, or the policy's",
    )
    max_slowdown: float | None = option(
        "Largest rise of the median latency that is allowed, in %",
        low=0,
        high=10_000,
        default_text="2, or the policy's",
    )
    target: str | None = option(
        f"{_TARGET}, that engines are built for on a host", default_text="the bundle's own"
    )


@dataclass(frozen=True, kw_only=True)
class GraphOptions(Options):
    """Options for reading a network's file where there is no data to run it on."""

    TITLE: ClassVar[str] = "Network"
    RANK: ClassVar[int] = 80
    shape: GivenInputs = option(
        "Shape of an input, where the file does not state it or leaves axes open",
        in_python=_SHAPE_IN_PYTHON,
        metavar=_SHAPE_FORM,
    )
    factory: str | None = like(LoadOptions, "factory")
    trust_pickle: bool = like(LoadOptions, "trust_pickle")
    weights: str | None = like(LoadOptions, "weights")
    batch_axis: Mapping[str, int] | None = like(
        LoadOptions,
        "batch_axis",
        help="Axis of each given shape that counts samples, from 0; with INPUT= for one input alone. For files of "
        "torch: ONNX files and bundles state it",
        default_text="0",
    )


@dataclass(frozen=True, kw_only=True)
class InspectOptions(GraphOptions):
    """The options of :func:`compress.inspect`."""

    TITLE: ClassVar[str] = "Figures"
    RANK: ClassVar[int] = 20
    target: str | Path | Target | None = option(
        f"{_TARGET}, to estimate each layer's time and its bound for", default_text="no estimate"
    )
    batch: int | None = option(
        "Batch size of all figures, in samples", low=1, high=65_536, default_text="the file's, or 1"
    )


@dataclass(frozen=True, kw_only=True)
class DebugOptions(GraphOptions):
    """The options of :func:`compress.debug`."""

    TITLE: ClassVar[str] = "Comparison and output"
    RANK: ClassVar[int] = 20
    data: Any = required(
        "Samples to run, in the forms that compress optimize takes; labels are not needed. Of a language model, or an "
        "encoder of texts with its tokenizer, also texts",
        metavar="DATA",
    )
    image_options: Mapping[str, Any] | ImageOptions | None = like(DataOptions, "image_options")
    samples: int = option(
        "Largest number of samples to run; a network of a fixed batch size runs whole batches, and at least one",
        64,
        low=1,
        high=10_000_000,
    )
    threshold: float = option(
        "Signal-to-noise ratio below which a tensor counts as diverged, in dB", 20.0, low=-200, high=200
    )
    check: str | None = option(
        "Command that ends with another code than 0 where a network shows a fault; {model} stands for an ONNX file, "
        "{inputs} for an .npz file with its inputs. The second network is then halved to the smallest part that still "
        "shows it. The command runs without a shell",
        default_text="no part is looked for",
        metavar="COMMAND",
    )
    check_seconds: float = option(
        "Longest time that the command may take for one part, in seconds; where it takes longer, compress ends it and "
        "stops with exit code 2",
        600.0,
        low=0,
        above=True,
        high=86_400,
    )
    out: str | Path = option("File (.onnx) for that part, with a command to check", "part.onnx")


@dataclass(frozen=True, kw_only=True)
class LintOptions(GraphOptions):
    """The options of :func:`compress.lint_network`."""

    TITLE: ClassVar[str] = "Checks and output"
    RANK: ClassVar[int] = 20
    target: str | Path | Target = required(_TARGET)
    backend: str | None = option(
        "Back end to check for, such as openvino", default_text="the target's own", metavar="NAME"
    )
    dla: bool = option("Check for the target's deep learning accelerator too", False)
    fix: str | Path | None = option(
        "File for the repaired graph, whose outputs are compared with the network's",
        default_text="nothing is repaired",
        metavar="OUT.onnx",
    )
    sarif: str | Path | None = option(
        "File for the findings as SARIF 2.1.0", default_text="none is written", metavar="FILE"
    )
