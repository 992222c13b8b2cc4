"""The options and the output of ``compress distill --widths``."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from compress.api.options import ChooseStudentOptions
from compress.cli.generated import Command, GroupedOption, Number, help_of
from compress.cli.saying import say
from compress.core.json_text import json_text
from compress.core.options import option_fields, spec_of

if TYPE_CHECKING:
    from rich.table import Table

    from compress.api.choose_student import StudentResult
    from compress.students.recommendation import Recommendation

#: The options that choosing a width has beside those of training one student.
_NAMES = ("widths", "candidates", "max_drop", "runs", "longer_epochs")


def _numbers(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[float, ...] | None:
    """Read numbers separated by commas; whole numbers stay integers, since a family may take channel counts."""
    if text is None:
        return None
    try:
        return tuple(int(part) if part.strip().isdigit() else float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text} is not numbers with commas between") from error


def width_options(command: Command) -> Command:
    """Add the options for choosing a student's width; they arrive as ``choice``, None without ``--widths``."""

    @functools.wraps(command)
    def with_choice(**settings: Any) -> Any:
        choice = {name: settings.pop(name) for name in _NAMES}
        given = {name: value for name, value in choice.items() if value is not None}
        return command(choice=None if choice["widths"] is None else given, **settings)

    wrapped: Command = with_choice
    for field in reversed(option_fields(ChooseStudentOptions)):
        if field.name in _NAMES:
            spec, kind = spec_of(field), str(field.type)
            numbers = kind.startswith("Sequence")
            told = help_of(field)
            wrapped = click.option(
                f"--{field.name.replace('_', '-')}",
                type=None if numbers else Number(spec, whole=kind.startswith("int")),
                callback=_numbers if numbers else None,
                metavar=spec.metavar,
                cls=GroupedOption,
                group="Choosing a width",
                help=f"{'Choose a width. ' if field.name == 'widths' else 'With --widths: '}{told}",
            )(wrapped)
    return wrapped


def choose_and_print(model: str, options: dict[str, Any], *, as_json: bool) -> int:
    """Choose a width, train it and write it; returns the exit code."""
    from compress.api.choose_student import choose_student
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter, print_whole

    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        chosen = choose_student(model, reporter=reporter, **options)
    if as_json:
        click.echo(json_text(chosen.to_dict(), indent=2))
        return 0 if chosen.path is not None else 1
    print_whole(PlainConsole(), _table(chosen.recommendation))
    for line in _lines(chosen):
        say(line)
    return 0 if chosen.path is not None else 1


def _table(found: Recommendation) -> Table:
    from compress.cli.terminal import plain_table

    table = plain_table()
    for heading in ("width", "parameters", "error trained", "predicted (90 %)", "drop at most (points)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for forecast in found.forecasts:
        trained = [each.error for each in found.trained if each.width == forecast.width]
        error, lower, upper = forecast.prediction
        table.add_row(
            f"{forecast.width:g}",
            f"{forecast.parameters:,}",
            ", ".join(f"{each:.1%}" for each in trained),
            f"{error:.1%} ({lower:.1%} to {upper:.1%})",
            f"{forecast.drop_bound:.1f}",
        )
    return table


def _lines(chosen: StudentResult) -> Iterator[str]:
    found, law = chosen.recommendation, chosen.recommendation.law
    yield f"error = {law.floor:.3g} + {law.factor:.3g} · N^-{law.exponent:.3g} after this schedule"
    if law.freedom == 0:
        yield "three points fit any such law: train more widths, or each more often"
    if found.chosen is None or found.check is None or chosen.path is None:
        yield (
            f"no width is predicted to lose at most {found.max_drop:g} points after this schedule: raise --epochs "
            "or --max-drop, or train more widths for narrower bounds; nothing was written"
        )
        return
    student, (error, lower, upper) = found.check.student, found.chosen.prediction
    yield (
        f"recommended: width {student.width:g}, predicted {error:.1%} ({lower:.1%} to {upper:.1%}), "
        f"trained {student.error:.1%}: {'as predicted' if found.check.held else 'NOT as predicted'}"
    )
    for name, drop in (("", found.check.drop), (" after the longer schedule", found.check.longer_drop)):
        if drop is not None:
            low, high = drop.interval.low, drop.interval.high
            yield f"on the evaluation data it loses {drop.points:.2f} points ({low:.2f} to {high:.2f}){name}"
    yield f"{chosen.path}: the student"
