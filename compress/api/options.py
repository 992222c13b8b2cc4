"""The options of every verb: one class each, made of groups that several verbs share.

Each field states its help, default and range; Python's signatures and the command line's flags follow from it. The
dictionaries at the end name the same keywords for type checkers and editors, and a test holds the two alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from compress.core.options import Options, like, option, required
from compress.errors import UsageError
from compress.training.settings import DistillationOptions

if TYPE_CHECKING:
    from compress.data.class_order import ClassNames
    from compress.data.image_options import ImageOptions
    from compress.data.metric_choice import MetricChoice
    from compress.recipe import Recipe
    from compress.target.target import Target


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    """The data, and what accuracy means on it."""

    TITLE: ClassVar[str] = "Data"
    RANK: ClassVar[int] = 10
    data: Any = required(
        "Evaluation data: an .npz file, a folder of images (with class folders, with boxes as COCO or YOLO write them, "
        "or with masks), or package.module:callable; for a language model texts: JSON lines with a 'text', a folder of "
        "text files, or a callable that yields strings; for an encoder–decoder JSON lines with an 'input' and a "
        "'target', or an .npz file with 'features' and 'targets'",
        in_python="also arrays by the input's name, a pair of arrays, or a Task",
        metavar="DATA",
    )
    metric: MetricChoice = option(
        "Metric that accuracy is judged by: top-1, top-k, f1, f1-macro, auc, map, map-50, miou, wer, cer, mean-error, "
        "pearson, spearman, psnr, ssim, embedding-cosine, retrieval-agreement, perplexity, token-agreement, agreement, "
        "or package.module:callable, with settings as in miou:ignore=255. With OUTPUT= for one output alone, where it "
        "may also be what the output holds: classes, tokens, probabilities, boxes, embeddings, values or ignore",
        default_text="top-1 for class labels, map for boxes, miou for class maps, mean-error for numbers, "
        "perplexity for texts, agreement without labels",
        in_python="also a callable, a Metric, or a mapping from an output's name to one of these, '' for the targets",
        metavar="[OUTPUT=]METRIC",
    )
    image_options: Mapping[str, Any] | ImageOptions | None = option(
        "Preparation of image files: size, resize, mean, std and the other keys of compress-data.toml, which they "
        "override",
        default_text="as compress-data.toml in the folder says, else unchanged pixels divided by 255",
    )
    classes: ClassNames | None = option(
        "File with the names of the class folders in the network's order: a name a line, or JSON such as torchvision's "
        "imagenet_class_index.json",
        in_python="also a list of the names",
        default_text="classes in compress-data.toml, else the order of the alphabet",
        metavar="FILE",
    )
    sequence_length: int | None = option(
        "Largest number of tokens of a document, for a language model; what is behind them is left out",
        low=2,
        high=1 << 21,
        default_text="512, or the model's context where that is shorter",
    )
    stride: int | None = option(
        "Number of tokens, below --sequence-length, after which another window of that length begins in a longer "
        "document of a language model: nothing is left out, each token is judged once, and a document still has one "
        "value; it takes length / stride times as long",
        low=1,
        high=1 << 21,
        default_text="what is behind the first --sequence-length tokens is left out",
    )
    seed: int = option("Seed of every random choice", 0, low=0, high=2**32 - 1)
    strict: bool = option(
        "End with an error where the original itself is right by chance alone on the data, or where another order of "
        "its classes or another preparation of its images explains its outputs far better; else it is a warning",
        False,
    )


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions(Options):
    """The data that ranges and importances are taken from."""

    TITLE: ClassVar[str] = "Data"
    RANK: ClassVar[int] = 11
    calibration_data: Any = option(
        "Data to calibrate on, in the same forms as DATA; it never shares a sample with the evaluation data",
        default_text="taken from the training data, or set apart of the evaluation data",
        metavar="DATA",
    )


@dataclass(frozen=True, kw_only=True)
class LoadOptions(Options):
    """Options for reading the network's file, and for calling the network."""

    TITLE: ClassVar[str] = "Network"
    RANK: ClassVar[int] = 80
    factory: str | None = option(
        "Callable that makes the module which a state dict belongs to, with literal arguments where it takes any: "
        "torchvision.models:resnet18(num_classes=10); or timm:NAME, as timm:resnet18(num_classes=10)",
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
        low=0,
        high=63,
        default_text="found by running two samples of the data alone and together",
        in_python="a mapping from the input's name to its axis, with '' for all others: {'': 1}",
        metavar="[INPUT=]AXIS",
    )
    state: Mapping[str, str] | None = option(
        "State that is carried from call to call: OUTPUT is the next value of INPUT, which begins at zero, or at its "
        "value in the data. Each sample of the data is then a stream of frames, [streams, frames, …], and builds are "
        "judged over whole streams",
        default_text="no state",
        in_python="a mapping: {'h': 'hn'}",
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
class DeviceOptions(Options):
    """The device that trains."""

    TITLE: ClassVar[str] = "Training"
    RANK: ClassVar[int] = 40
    device: str = option(
        "Device to train on: cpu, cuda (a GPU for each process), cuda:N (the GPU with that number), or auto: a GPU "
        "where there is one. Quantization-aware training computes on the processor",
        "auto",
        metavar="DEVICE",
    )


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
        high=86_400,
    )


@dataclass(frozen=True, kw_only=True)
class HostOptions(Options):
    """The machine with TensorRT that builds are made and timed on."""

    TITLE: ClassVar[str] = "Board"
    RANK: ClassVar[int] = 60
    host: str | None = option(
        "Machine on which engines are built and measured with TensorRT's trtexec: user@board as ssh takes it, "
        "docker://NAME for a container that runs here, or 'local'",
        default_text="this machine, or an estimate",
    )
    keep_on_host: bool = option(
        "Leave engines and timing caches on the host, so that the next run is faster", False
    )

    def __post_init__(self) -> None:
        if self.keep_on_host and self.host is None:
            raise UsageError("--host with --keep-on-host", "none", "give --host, or leave --keep-on-host out")


@dataclass(frozen=True, kw_only=True)
class OptimizeOptions(
    InputOptions, CalibrationOptions, TargetOptions, HostOptions, TimingOptions, DeviceOptions
):
    """The options of :func:`compress.optimize`."""

    TITLE: ClassVar[str] = "Limits, search and output"
    RANK: ClassVar[int] = 30
    out: str | Path = option(
        "Directory of the bundle. Builds of an interrupted run are kept in OUT.partial; the same call takes them over",
        "build",
    )
    train_data: Any = option("Data to train and calibrate on, in the same forms as DATA", metavar="DATA")
    max_drop: float = option(
        "Largest drop of accuracy that is allowed, in points; of an error or a score in percent of its mean",
        1.0,
        low=0,
        high=100,
    )
    max_latency: float | None = option(
        "Largest median latency that is allowed at the first batch size, in milliseconds",
        low=0,
        above=True,
        high=86_400_000,
    )
    max_size: float | None = option(
        "Largest size of the build that is allowed, in MB", low=0, above=True, high=1_000_000
    )
    max_memory: float | None = option(
        "Largest peak memory that is allowed for loading and running the build, in MB; refused where none is measured",
        low=0,
        above=True,
        high=100_000_000,
    )
    max_power: float | None = option(
        "Largest mean power that is allowed while calls run back to back, in watts; refused where it is not measured",
        low=0,
        above=True,
        high=1_000_000,
    )
    objective: str = option(
        "Quantity to minimise inside the limits: latency at batch 1, time a sample at the largest batch (throughput), "
        "bytes (size), measured energy of a sample at batch 1 (energy), or money per million samples at the largest "
        "batch, from the target's [price] (cost)",
        "latency",
        choices=("latency", "throughput", "size", "energy", "cost"),
    )
    front: bool = option(
        "Write every build of the Pareto front of accuracy and the objective that is inside the limits, each as a "
        "bundle of its own: OUT-NAME. More builds are measured in full",
        False,
    )
    draft: str | Path | None = option(
        "Smaller language model of the same vocabulary that writes ahead for what is shipped: its directory, or an "
        "ONNX decoder that compress wrote. It is shipped too where that is proven faster with equal greedy text",
        metavar="PATH",
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
        "Time after which no further build is begun; those begun are finished: 90s, 10m or 2h",
        in_python="in seconds",
        low=0,
        above=True,
        high=31_536_000,
        default_text="4m, or 5 times what the original takes; no limit with training data or recipes, or where "
        "engines are built",
        metavar="DURATION",
    )
    shape: Mapping[str, Sequence[Sequence[int]]] | None = option(
        "Sizes that engines are built for where an axis of an input is open besides the number of samples: one shape, "
        "SMALLEST..LARGEST, or SMALLEST..USUAL..LARGEST",
        low=1,
        high=2**31 - 1,
        default_text="those of the data",
        in_python="a mapping from the input's name, '' for the only one, to one, two or three shapes: "
        "{'x': [(1, 3, 224, 224)]}",
        metavar="[INPUT=]1x3x224x224[..1x3x640x640]",
    )
    retry_failed: bool = option("Try builds again that failed before an interruption", False)
    tune: int | None = option(
        "Trainings that search the settings of each training of a pruned network, before the one that counts; judged "
        "on samples held out of the training data",
        low=1,
        high=10_000,
        metavar="TRIALS",
        default_text="none: the settings as they are",
    )
    cluster: str | None = option(
        "Ray cluster whose machines make builds meanwhile: auto for the one that this machine is in, or HOST:PORT of "
        "its head. This machine measures; with --host, the worker that holds the resource board:HOST reaches the board",
        default_text="this machine alone",
        metavar="auto|ADDRESS",
    )
    cache: str | Path | None = option(
        "Directory for what takes long and later runs take over: what steps of recipes made, and times of layers; off "
        "keeps nothing",
        default_text="~/.cache/compress",
        metavar="DIR|off",
    )


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(InputOptions, CalibrationOptions, TargetOptions, HostOptions, TimingOptions):
    """The options of :func:`compress.benchmark`."""

    TITLE: ClassVar[str] = "Back ends"
    RANK: ClassVar[int] = 30
    backends: Sequence[str] = option(
        "Back end to measure in, such as onnxruntime or openvino",
        (),
        default_text="every back end of the target that is installed",
        flag="--backend",
        metavar="NAME",
    )


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(InputOptions, CalibrationOptions, TargetOptions):
    """The options of :func:`compress.quantize`."""

    TITLE: ClassVar[str] = "Quantization and output"
    RANK: ClassVar[int] = 30
    data: Any = like(
        DataOptions,
        "data",
        default=None,
        default_text="none, for a language model and a recipe of weight_only that needs none: only weights are read",
    )
    out: str | Path | None = option(
        "File (.onnx) to write; without data, OUT.partial keeps what is written until all is, and the same call takes "
        "it up",
        default_text="MODEL.PRECISION.onnx in the working directory",
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
    calibration_samples: int = option(
        "Largest number of samples to calibrate on", 512, low=1, high=10_000_000
    )


@dataclass(frozen=True, kw_only=True)
class PruneOptions(
    InputOptions, CalibrationOptions, TargetOptions, TimingOptions, DistillationOptions, DeviceOptions
):
    """The options of :func:`compress.prune`."""

    TITLE: ClassVar[str] = "Pruning and output"
    RANK: ClassVar[int] = 30
    RENAMED: ClassVar[Mapping[str, str]] = {
        "latency": "latency_share",
        "precision": "timing_precision",
        "max_drop": "untrained_drop",
    }

    out: str | Path = option(
        "File to write: .pt2, which every command reads and trains on, or .onnx; for a language model a new directory. "
        "Measured times and trained weights are kept in OUT.partial until it is written, and the same call takes them "
        "over",
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
        high=100,
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
        "each. Not with the ratio; int4 for a language model alone",
        "fp32",
        choices=("fp32", "int8", "int4"),
    )
    rounds: int = option("Rounds in which to prune and, with training data, to train", 1, low=1, high=1000)
    train_data: Any = option(
        "Data to train on after each round, in the same forms as DATA; labels are not needed", metavar="DATA"
    )
