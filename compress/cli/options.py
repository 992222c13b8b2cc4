"""The flags that several commands share, made from the fields of the options classes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import Field
from typing import Any

import click

from compress.cli.generated import Command, Flag, GroupedOption, options_of, repeated
from compress.cli.shape_option import read_shapes
from compress.core.options import Options
from compress.errors import UsageError


def verb_options(
    kind: type[Options], special: Mapping[str, Flag] | None = None
) -> Callable[[Command], Command]:
    """Give a command a flag for each option of its verb; the values arrive as ``options``, by name.

    Args:
        kind: The options class of the verb.
        special: Makers of the flags that this command has otherwise than the others, by the option's name.
    """
    return options_of(kind, special={**SPECIAL, **(special or {})})


def _states(texts: tuple[str, ...]) -> dict[str, str] | None:
    """Read the output with the next value of each state, by the state's name; None where none is named."""
    states: dict[str, str] = {}
    for text in texts:
        name, _, output = text.partition("=")
        if not name or not output:
            raise UsageError("--state of the form INPUT=OUTPUT", f"'{text}'", "correct it")
        if name in states:
            raise UsageError(f"one --state for '{name}'", f"'{states[name]}' and '{output}'", "leave one out")
        states[name] = output
    return states or None


def _axes(texts: tuple[str, ...]) -> dict[str, int] | None:
    """Read the axis that counts samples by input, under ``""`` for all others; None where none is named."""
    axes: dict[str, int] = {}
    for text in texts:
        name, _, axis = text.rpartition("=")
        if not axis.isascii() or not axis.isdigit():
            raise UsageError("--batch-axis of the form 1 or x=1", f"'{text}'", "correct it")
        if name in axes:
            what = f"for '{name}'" if name else "for all inputs"
            raise UsageError(f"one --batch-axis {what}", f"{axes[name]} and {axis}", "leave one out")
        axes[name] = int(axis)
    return axes or None


def _metric(texts: tuple[str, ...]) -> str | dict[str, str] | None:
    """Read a metric for the targets, or a mapping with metrics of single outputs; None where none is named."""
    named: dict[str, str] = {}
    for text in texts:
        # A metric's own options follow a colon, and may hold "=" too.
        output, equals, metric = text.partition("=")
        if not equals or ":" in output:
            output, metric = "", text
        if output in named:
            what = f"for '{output}'" if output else "for the targets"
            raise UsageError(f"one --metric {what}", f"'{named[output]}' and '{metric}'", "leave one out")
        named[output] = metric
    return named.get("") if set(named) <= {""} else named


#: The flags that image options have on the command line: flag, help, and what its text becomes.
_IMAGE_FLAGS: dict[str, tuple[str, str | None, Callable[[str], Any]]] = {
    "size": (
        "Size that images are resized to, in pixels, such as 224x224, or 224 for a square.",
        "HxW|N",
        lambda text: _size(text),
    ),
    "resize": ("Method of resizing images to that size. [default: stretch]", None, str),
    "mean": (
        "Mean of each channel, subtracted after scaling to 0–1.",
        "M[,M,M]",
        lambda text: _numbers("--image-mean", text, ",", None),
    ),
    "std": (
        "Standard deviation of each channel, the divisor after that.",
        "S[,S,S]",
        lambda text: _numbers("--image-std", text, ",", None),
    ),
}


def _image_options(field: Field[Any], group: str | None) -> Callable[[Command], Command]:
    """Add the flags for preparing images; they arrive together as ``image_options``, None where none is given."""
    return functools.partial(_with_image_flags, name=field.name, group=group)


def _with_image_flags(command: Command, name: str, group: str | None) -> Command:

    @functools.wraps(command)
    def with_image_options(**settings: Any) -> Any:
        image_texts = {key: settings.pop(f"image_{key}") for key in _IMAGE_FLAGS}
        read = {key: _IMAGE_FLAGS[key][2](text) for key, text in image_texts.items() if text is not None}
        return command(**{name: read or None}, **settings)

    wrapped: Command = with_image_options
    for key, (help_text, metavar, _) in reversed(_IMAGE_FLAGS.items()):
        kind = click.Choice(("stretch", "center-crop", "letterbox")) if key == "resize" else None
        wrapped = click.option(
            f"--image-{key}", cls=GroupedOption, group=group, type=kind, metavar=metavar, help=help_text
        )(wrapped)
    return wrapped


def _size(text: str) -> list[int]:
    if text.strip().isdigit():
        return [int(text), int(text)]
    return [int(number) for number in _numbers("--image-size", text.lower(), "x", 2)]


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


#: Options that are more than one plain flag.
SPECIAL: Mapping[str, Flag] = {
    "metric": functools.partial(repeated, read=_metric),
    "image_options": _image_options,
    "batch_axis": functools.partial(repeated, read=_axes),
    "state": functools.partial(repeated, read=_states),
    "shape": functools.partial(repeated, read=read_shapes),
}
