"""Options that several commands share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import click

from compress.errors import UsageError

Command = Callable[..., Any]


class Seconds(click.FloatRange):
    """More than 0 and finite: ``nan`` is outside no range, and a deadline that is never reached."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See :meth:`click.ParamType.convert`."""
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value} is not finite", param, ctx)
        return seconds


class Duration(Seconds):
    """A number of seconds above 0, minutes or hours: ``90``, ``90s``, ``10m``, ``2h``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See :meth:`click.ParamType.convert`; in seconds."""
        text = str(value).strip()
        unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
        number = super().convert(text if unit is None else text[:-1], param, ctx)
        return number * (unit or 1.0)


def network_options(command: Command) -> Command:
    """How a network's file is read."""

    @functools.wraps(command)
    def with_axes(batch_axes: tuple[str, ...], **settings: Any) -> Any:
        return command(batch_axis=_axes(batch_axes), **settings)

    wrapped: Command = with_axes
    for option in (
        click.option(
            "--batch-axis",
            "batch_axes",
            multiple=True,
            metavar="[INPUT=]AXIS",
            help="The axis of the inputs that counts samples, from 0; with INPUT= of one input alone. May be given "
            "again. [default: found by running two samples of --data alone and together]",
        ),
        click.option(
            "--trust-pickle",
            is_flag=True,
            help="Unpickle a whole module. RUNS WHATEVER CODE THE FILE HOLDS: only for files you trust.",
        ),
        click.option(
            "--factory",
            metavar="PACKAGE.MODULE:CALLABLE",
            help="Makes the module that a state dict belongs to.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def state_option(command: Command) -> Command:
    """Which outputs are fed back as inputs; they arrive as ``state``, None where there is none."""

    @functools.wraps(command)
    def with_states(states: tuple[str, ...], **settings: Any) -> Any:
        return command(state=_states(states), **settings)

    wrapped: Command = with_states
    return click.option(
        "--state",
        "states",
        multiple=True,
        metavar="INPUT=OUTPUT",
        help="Carry a state from call to call: OUTPUT is the next value of INPUT, which begins at zero, or at its "
        "value in the data. Each sample of the data is then a stream of frames, [streams, frames, …], and builds are "
        "judged over whole streams. May be given again.",
    )(wrapped)


def _states(given: tuple[str, ...]) -> dict[str, str] | None:
    """The next value of each state, by the state's name; None where none is named."""
    states: dict[str, str] = {}
    for each in given:
        name, _, output = each.partition("=")
        if not name or not output:
            raise UsageError("--state of the form INPUT=OUTPUT", f"'{each}'", "correct it")
        if name in states:
            raise UsageError(f"one --state for '{name}'", f"'{states[name]}' and '{output}'", "leave one out")
        states[name] = output
    return states or None


def _axes(given: tuple[str, ...]) -> dict[str, int] | None:
    """The axis that counts samples by input, under ``""`` of all others; None where none is named."""
    axes: dict[str, int] = {}
    for each in given:
        name, _, axis = each.rpartition("=")
        if not axis.isascii() or not axis.isdigit():
            raise UsageError("--batch-axis of the form 1 or x=1", f"'{each}'", "correct it")
        if name in axes:
            what = f"for '{name}'" if name else "for all inputs"
            raise UsageError(f"one --batch-axis {what}", f"{axes[name]} and {axis}", "leave one out")
        axes[name] = int(axis)
    return axes or None


def deployment_options(command: Command) -> Command:
    """What a network is built for, and the data that decides."""
    for option in (
        click.option("--seed", default=0, show_default=True, help="Of every random choice."),
        click.option("--calibration-data", help="Data to calibrate on; never shares a sample with --data."),
        click.option(
            "--data",
            required=True,
            help="Evaluation data: .npz, folder of images with classes, boxes (COCO, YOLO) or masks, or "
            "module:callable.",
        ),
        click.option(
            "--target",
            default="cpu",
            show_default=True,
            help="A name from `compress targets`, or a TOML file.",
        ),
    ):
        command = option(command)
    return command


def training_options(command: Command) -> Command:
    """How to train by distillation; what is not given arrives as None, for the default of the technique ``distill``."""
    for option in (
        click.option(
            "--features",
            type=float,
            help="Weight of activations that both have in equal shape. [default: 0]",
        ),
        click.option(
            "--label-weight",
            type=float,
            help="From 0, MODEL alone, to 1, the labels alone. [default: 0]",
        ),
        click.option("--temperature", type=float, help="Of class scores. [default: 1]"),
        click.option("--learning-rate", type=float, help="At the peak of the schedule. [default: 0.001]"),
        click.option(
            "--batch-size", type=int, help="Samples a step, of all processes together. [default: 64]"
        ),
        click.option("--epoch-samples", type=int, help="Samples an epoch. [default: all]"),
        click.option(
            "--epochs", type=int, help="At most so many; fewer where nothing gets better. [default: 8]"
        ),
    ):
        command = option(command)
    return command


def host_options(command: Command) -> Command:
    """The machine that a TensorRT target is."""
    for option in (
        click.option(
            "--keep-on-host",
            is_flag=True,
            help="Leave engines and timing caches on the host: the next run is faster.",
        ),
        click.option(
            "--host",
            help="Build and measure there with TensorRT's trtexec: user@board as ssh takes it, or 'local'. "
            "[default: this machine, or an estimate]",
        ),
    ):
        command = option(command)
    return command


def data_options(command: Command) -> Command:
    """Where samples come from and what accuracy means; the image flags arrive together as ``image_options``."""

    @functools.wraps(command)
    def with_image_options(
        image_size: str | None,
        image_resize: str | None,
        image_mean: str | None,
        image_std: str | None,
        metrics: tuple[str, ...],
        **settings: Any,
    ) -> Any:
        options = _image_options(image_size, image_resize, image_mean, image_std)
        return command(image_options=options, metric=_metric(metrics), **settings)

    wrapped: Command = with_image_options
    for option in (
        click.option(
            "--metric",
            "metrics",
            multiple=True,
            metavar="[OUTPUT=]METRIC",
            help="top-1, top-k, f1, f1-macro, auc, map, map-50, miou, wer, cer, mean-error, pearson, spearman, psnr, "
            "ssim, agreement, or package.module:callable, with settings as in miou:ignore=255; with OUTPUT= for one "
            "output alone, where it may also be what the output holds: classes, tokens, probabilities, boxes, "
            "embeddings, values or ignore. May be given again. "
            "[default: top-1 for class labels, map for boxes, miou for class maps, mean-error for numbers, agreement "
            "without labels]",
        ),
        click.option("--image-size", metavar="HxW", help="Resize images, e.g. 224x224."),
        click.option(
            "--image-resize",
            type=click.Choice(("stretch", "center-crop", "letterbox")),
            help="How images reach that size. [default: stretch]",
        ),
        click.option(
            "--image-mean", metavar="M[,M,M]", help="Mean per channel, subtracted after scaling to 0–1."
        ),
        click.option("--image-std", metavar="S[,S,S]", help="Standard deviation per channel, divided by."),
    ):
        wrapped = option(wrapped)
    return wrapped


def _metric(given: tuple[str, ...]) -> str | dict[str, str] | None:
    """A metric for the targets, or a mapping with metrics of single outputs; None where none is named."""
    named: dict[str, str] = {}
    for each in given:
        # A metric's own options follow a colon, and may hold "=" too.
        output, equals, metric = each.partition("=")
        if not equals or ":" in output:
            output, metric = "", each
        if output in named:
            what = f"for '{output}'" if output else "for the targets"
            raise UsageError(f"one --metric {what}", f"'{named[output]}' and '{metric}'", "leave one out")
        named[output] = metric
    return named.get("") if set(named) <= {""} else named


def _image_options(
    size: str | None, resize: str | None, mean: str | None, std: str | None
) -> dict[str, Any] | None:
    options: dict[str, Any] = {}
    if size is not None:
        options["size"] = [int(number) for number in _numbers("--image-size", size, "x", 2)]
    if resize is not None:
        options["resize"] = resize
    if mean is not None:
        options["mean"] = _numbers("--image-mean", mean, ",", None)
    if std is not None:
        options["std"] = _numbers("--image-std", std, ",", None)
    return options or None


def _numbers(flag: str, text: str, separator: str, count: int | None) -> list[float]:
    parts = text.split(separator)
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if not numbers or (count is not None and len(numbers) != count):
        example = separator.join(["224"] * (count or 1))
        raise UsageError(f"{flag} of the form {example}", f"'{text}'", "correct it")
    return numbers
