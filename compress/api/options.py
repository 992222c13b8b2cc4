"""The options of every verb: one class each, made of groups that several verbs share.

Each field states its help, default and range; Python's signatures and the command line's flags follow from it. The
dictionaries at the end name the same keywords for type checkers and editors, and a test holds the two alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Required, TypedDict

from compress.core.options import Options, option, required
from compress.training.settings import DistillationOptions

if TYPE_CHECKING:
    import torch

    from compress.data.class_order import ClassNames
    from compress.data.sizes import Asked
    from compress.data.task import MetricChoice
    from compress.recipe import Recipe
    from compress.students.family import Family
    from compress.target.target import Target


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    """The data, and what accuracy means on it."""

    TITLE: ClassVar[str] = "Data"
    RANK: ClassVar[int] = 10
    data: Any = required(
        "Evaluation data: an .npz file, a folder of images (with class folders, with boxes as COCO or YOLO write them, "
        "or with masks), or package.module:callable; in Python also a pair of arrays, or a Task",
        metavar="DATA",
    )
    calibration_data: Any = option(
        "Data to calibrate on, in the same forms; it never shares a sample with the evaluation data",
        default_text="taken from the training data, or set apart of the evaluation data",
        metavar="DATA",
    )
    metric: MetricChoice = option(
        "Metric that accuracy is judged by: top-1, top-k, f1, f1-macro, auc, map, map-50, miou, wer, cer, mean-error, "
        "pearson, spearman, psnr, ssim, agreement, or package.module:callable, with settings as in miou:ignore=255. "
        "With OUTPUT= for one output alone, where it may also be what the output holds: classes, tokens, "
        "probabilities, boxes, embeddings, values or ignore",
        default_text="top-1 for class labels, map for boxes, miou for class maps, mean-error for numbers, agreement "
        "without labels",
        metavar="[OUTPUT=]METRIC",
    )
    image_options: Mapping[str, Any] | None = option(
        "Preparation of image files: size, resize, mean, std and the other keys of compress-data.toml, which they "
        "override",
        default_text="as compress-data.toml in the folder says, else unchanged pixels divided by 255",
    )
    classes: ClassNames | None = option(
        "File with the names of the class folders in the network's order: a name a line, or JSON such as torchvision's "
        "imagenet_class_index.json; in Python also the names",
        default_text="classes in compress-data.toml, else the order of the alphabet",
        metavar="FILE",
    )
    seed: int = option("Seed of every random choice", 0, low=0)
    strict: bool = option(
        "End with an error where the original itself is right by chance alone on the data, or where another order of "
        "its classes or another preparation of its images explains its outputs far better; else a warning tells it",
        False,
    )


@dataclass(frozen=True, kw_only=True)
class LoadOptions(Options):
    """Options for reading the network's file, and for calling the network."""

    TITLE: ClassVar[str] = "Network"
    RANK: ClassVar[int] = 80
    factory: str | None = option(
        "Callable that makes the module which a state dict belongs to, with literal arguments where it takes any: "
        "torchvision.models:resnet18(num_classes=10)",
        metavar="PACKAGE.MODULE:CALLABLE[(...)]",
    )
    trust_pickle: bool = option(
        "Unpickle a whole module. RUNS WHATEVER CODE THE FILE HOLDS: only for files you trust", False
    )
    weights: str | None = option(
        "Set of weights to take where a checkpoint holds several: ema for averaged ones, model for the others, or the "
        "key they lie under",
        default_text="those under the most usual key; a note tells which",
        metavar="ema|model|KEY",
    )
    batch_axis: Mapping[str, int] | None = option(
        "Axis of the inputs that counts samples, from 0; with INPUT= for one input alone",
        default_text="found by running two samples of the data alone and together",
        metavar="[INPUT=]AXIS",
    )
    state: Mapping[str, str] | None = option(
        "State that is carried from call to call: OUTPUT is the next value of INPUT, which begins at zero, or at its "
        "value in the data. Each sample of the data is then a stream of frames, [streams, frames, …], and builds are "
        "judged over whole streams",
        default_text="no state",
        metavar="INPUT=OUTPUT",
    )


@dataclass(frozen=True, kw_only=True)
class InputOptions(DataOptions, LoadOptions):
    """The options that every verb reads first: the data and the network."""


@dataclass(frozen=True, kw_only=True)
class TargetOptions(Options):
    """The target that the network is built for."""

    TITLE: ClassVar[str] = "Target"
    RANK: ClassVar[int] = 20
    target: str | Path | Target = option("Name from `compress targets`, or a target's TOML file", "cpu")


@dataclass(frozen=True, kw_only=True)
class TimingOptions(Options):
    """Options for timing builds."""

    TITLE: ClassVar[str] = "Timing"
    RANK: ClassVar[int] = 70
    threads: int | None = option(
        "Number of threads of the runtime",
        low=1,
        high=1024,
        default_text="as many as are measured to be fastest",
    )
    seconds: float = option(
        "Time spent on timing each build at each batch size, in seconds; more gives narrower intervals",
        2.0,
        low=0,
        above=True,
    )


@dataclass(frozen=True, kw_only=True)
class HostOptions(Options):
    """The machine with TensorRT that builds are made and timed on."""

    TITLE: ClassVar[str] = "Board"
    RANK: ClassVar[int] = 60
    host: str | None = option(
        "Machine on which engines are built and measured with TensorRT's trtexec: user@board as ssh takes it, or "
        "'local'",
        default_text="this machine, or an estimate",
    )
    keep_on_host: bool = option(
        "Leave engines and timing caches on the host, so that the next run is faster", False
    )


@dataclass(frozen=True, kw_only=True)
class OptimizeOptions(InputOptions, TargetOptions, HostOptions, TimingOptions):
    """The options of :func:`compress.optimize`."""

    TITLE: ClassVar[str] = "Limits, search and output"
    RANK: ClassVar[int] = 30
    out: str | Path = option(
        "Directory of the bundle. An interrupted run is kept in OUT.partial, and the same call resumes it",
        "build",
    )
    train_data: Any = option("Data to train and calibrate on, in the same forms as DATA", metavar="DATA")
    max_drop: float = option("Largest drop of accuracy that is allowed, in points", 1.0, low=0, high=100)
    max_latency: float | None = option(
        "Largest median latency that is allowed at the first batch size, in milliseconds", low=0, above=True
    )
    max_size: float | None = option("Largest size of the build that is allowed, in MB", low=0, above=True)
    objective: str = option(
        "Quantity to minimise inside the limits: latency at batch 1, time a sample at the largest batch (throughput), "
        "or bytes (size)",
        "latency",
        choices=("latency", "throughput", "size"),
    )
    recipes: Sequence[Recipe | str | Path] = option(
        "Recipe (TOML) to try instead of those that the target suggests", (), flag="--recipe", metavar="FILE"
    )
    backends: Sequence[str] = option(
        "Back end that competes, such as onnxruntime or openvino",
        (),
        default_text="every back end of the target that is installed",
        flag="--backend",
        metavar="NAME",
    )
    time_budget: float | None = option(
        "Time after which no further build is begun; those begun are finished. In Python in seconds, on the command "
        "line as 90s, 10m or 2h",
        low=0,
        above=True,
        default_text="4m; no limit with training data or recipes, or where engines are built",
        metavar="DURATION",
    )
    shape: Asked | None = option(
        "Sizes that engines are built for where an axis of an input is open besides the number of samples: one shape, "
        "SMALLEST..LARGEST, or SMALLEST..USUAL..LARGEST",
        default_text="those of the data",
        metavar="[INPUT=]1x3x224x224[..1x3x640x640]",
    )
    retry_failed: bool = option("Try builds again that failed before an interruption", False)


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(InputOptions, TargetOptions):
    """The options of :func:`compress.quantize`."""

    TITLE: ClassVar[str] = "Quantization and output"
    RANK: ClassVar[int] = 30
    out: str | Path | None = option(
        "File (.onnx) to write", default_text="MODEL.PRECISION.onnx in the working directory"
    )
    precision: str = option(
        "Precision to quantize or cast to", "int8", choices=("int8", "int8+fp16", "fp16", "bf16", "fp8")
    )
    recipe: Recipe | str | Path | None = option(
        "Recipe (TOML) in place of a precision; the settings below then override its own", metavar="FILE"
    )
    method: str | None = option(
        "Method that derives the range of a tensor from the values seen in it",
        choices=("min-max", "moving-average", "percentile", "entropy", "mse"),
        default_text="mse",
    )
    percentile: float | None = option(
        "Share of the values inside the range, in percent, for the method percentile",
        low=50,
        above=True,
        high=100,
        default_text="99.99",
    )
    scope: str | None = option(
        "Operators to quantize: whole chains (all), or Conv, Gemm and MatMul alone (weights-ops)",
        choices=("all", "weights-ops"),
        default_text="all",
    )
    exclude: Sequence[str] = option(
        "Node to keep in float, or operator type whose nodes are all kept in float",
        (),
        metavar="NODE|OPERATOR",
    )
    calibration_samples: int = option("Largest number of samples to calibrate on", 512, low=1)


@dataclass(frozen=True, kw_only=True)
class PruneOptions(InputOptions, TargetOptions, TimingOptions, DistillationOptions):
    """The options of :func:`compress.prune`."""

    TITLE: ClassVar[str] = "Pruning and output"
    RANK: ClassVar[int] = 30
    RENAMED: ClassVar[Mapping[str, str]] = {
        "latency": "latency_share",
        "precision": "timing_precision",
        "max_drop": "untrained_drop",
    }

    out: str | Path = option(
        "File to write: .pt2, which every command reads and trains on, or .onnx. Intermediate results are "
        "kept in OUT.partial until it is written, and the same call resumes an interrupted run",
        "pruned.pt2",
    )
    latency_share: float | None = option(
        "Share of the unpruned latency to reach on the target",
        low=0,
        above=True,
        high=1,
        below=True,
        default_text="0.5 with training data",
    )
    ratio: float | None = option(
        "Share of all channels, heads and hidden units to remove, instead of a share of the latency",
        low=0,
        high=1,
        below=True,
    )
    untrained_drop: float | None = option(
        "Accuracy that removing may cost before any training, in points, judged on the calibration data; instead of a "
        "share of the latency",
        low=0,
        above=True,
        default_text="1 without training data",
    )
    importance: str | None = option(
        "Criterion for ranking channels, heads and hidden units: those of least importance go first",
        choices=("magnitude", "batch_norm_scale", "taylor", "hessian_diagonal"),
        default_text="hessian_diagonal where there are calibration samples, else magnitude",
    )
    per_layer: bool = option(
        "Remove the ratio from every layer alike; otherwise all units compete. With the ratio alone", False
    )
    keep: Sequence[str] = option("Layer, or block of layers, whose outputs stay whole", (), metavar="LAYER")
    timing_precision: str = option(
        "Precision in which layers are timed; the one that the network will run in, since other widths are fastest in "
        "each. Not with the ratio",
        "fp32",
        choices=("fp32", "int8"),
    )
    rounds: int = option("Rounds in which to prune and, with training data, to train", 1, low=1)
    train_data: Any = option(
        "Data to train on after each round, in the same forms as DATA; labels are not needed", metavar="DATA"
    )


@dataclass(frozen=True, kw_only=True)
class StudentOptions(InputOptions, DistillationOptions):
    """The options that :func:`compress.distill` and :func:`compress.choose_student` share."""

    TITLE: ClassVar[str] = "Student and output"
    RANK: ClassVar[int] = 30
    RENAMED: ClassVar[Mapping[str, str]] = {"precision": "training_precision"}

    train_data: Any = required(
        "Data to train on, in the same forms as DATA; labels are not needed", metavar="DATA"
    )
    out: str | Path = option(
        "File to write, .pt2 or .onnx. An interrupted training is kept in OUT.partial, and the same call resumes it",
        "student.pt2",
    )


@dataclass(frozen=True, kw_only=True)
class DistillOptions(StudentOptions):
    """The options of :func:`compress.distill`."""

    TITLE: ClassVar[str] = "Student and output"
    RANK: ClassVar[int] = 30
    student: str | Path | torch.nn.Module = required(
        "Network to train: a callable that builds a module without arguments, a network's file, or in Python a module. "
        "It takes and returns tensors of the teacher's shapes",
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
        metavar="W,W,W,...",
    )
    max_drop: float = option(
        "Largest drop of accuracy that is allowed for the student, in points", 1.0, low=0
    )
    candidates: Sequence[float] = option(
        "Widths to choose from",
        (),
        default_text="multiples of the smallest trained one, up to the teacher's size",
        metavar="W,W,...",
    )
    runs: int = option("Number of training runs of each narrow width", 2, low=1)
    longer_epochs: int | None = option(
        "Epochs of a second, longer training of the chosen width, whose result is then written", low=1
    )


class DataKeywords(TypedDict, total=False):
    """The keywords of :class:`DataOptions`."""

    data: Required[Any]
    calibration_data: Any
    metric: MetricChoice
    image_options: Mapping[str, Any] | None
    classes: ClassNames | None
    seed: int
    strict: bool


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


class OptimizeKeywords(DataKeywords, TargetKeywords, HostKeywords, LoadKeywords, TimingKeywords, total=False):
    """The keywords of :class:`OptimizeOptions`."""

    out: str | Path
    train_data: Any
    max_drop: float
    max_latency: float | None
    max_size: float | None
    objective: str
    recipes: Sequence[Recipe | str | Path]
    backends: Sequence[str]
    time_budget: float | None
    shape: Asked | None
    retry_failed: bool


class QuantizeKeywords(DataKeywords, TargetKeywords, LoadKeywords, total=False):
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
    DataKeywords, TargetKeywords, LoadKeywords, TimingKeywords, TrainingKeywords, total=False
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


class StudentKeywords(DataKeywords, LoadKeywords, TrainingKeywords, total=False):
    """The keywords of :class:`StudentOptions`."""

    train_data: Required[Any]
    out: str | Path


class DistillKeywords(StudentKeywords, total=False):
    """The keywords of :class:`DistillOptions`."""

    student: Required[str | Path | torch.nn.Module]


class ChooseStudentKeywords(StudentKeywords, total=False):
    """The keywords of :class:`ChooseStudentOptions`."""

    student: Required[str | Family]
    widths: Required[Sequence[float]]
    max_drop: float
    candidates: Sequence[float]
    runs: int
    longer_epochs: int | None
