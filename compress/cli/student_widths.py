"""The options and the output of ``compress distill --widths``."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from compress.api.student_options import ChooseStudentOptions
from compress.cli.generated import Command, GroupedOption, Number, help_of
from compress.cli.saying import say
from compress.core.json_text import json_text
from compress.core.options import option_fields, spec_of
from compress.errors import UsageError

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
    """Add the options for choosing a student's width; they arrive as ``choice``, None where none is given."""

    @functools.wraps(command)
    def with_choice(**settings: Any) -> Any:
        choice = {name: settings.pop(name) for name in _NAMES}
        widths_given = {name: value for name, value in choice.items() if value is not None}
        if widths_given and "widths" not in widths_given:
            flag = f"--{next(iter(widths_given)).replace('_', '-')}"
            raise UsageError(f"--widths with {flag}", "none", f"give it, or leave {flag} out")
        return command(choice=widths_given or None, **settings)

    wrapped: Command = with_choice
    for field in reversed(option_fields(ChooseStudentOptions)):
        if field.name in _NAMES:
            spec, kind = spec_of(field), str(field.type)
            numbers = kind.startswith("Sequence")
            help_text = help_of(field)
            wrapped = click.option(
                f"--{field.name.replace('_', '-')}",
                type=None if numbers else Number(spec, whole=kind.startswith("int")),
                callback=_numbers if numbers else None,
                metavar=spec.metavar,
                cls=GroupedOption,
                group="Choosing a width",
                help=f"{'Choose a width. ' if field.name == 'widths' else 'With --widths: '}{help_text}",
            )(wrapped)
    return wrapped


def choose_and_print(model: str, options: dict[str, Any], *, as_json: bool) -> int:
    """Choose a width, train it and write it; returns the exit code."""
    from compress.api.choose_student import choose_student
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.tables import print_table
    from compress.cli.terminal import TerminalReporter

    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        chosen = choose_student(model, reporter=reporter, **options)
    if as_json:
        click.echo(json_text(chosen.to_dict(), indent=2))
        return 0 if chosen.path is not None else 1
    print_table(PlainConsole(), _table(chosen.recommendation))
    for line in (*_lines(chosen), *chosen.notes):
        say(line)
    return 0 if chosen.path is not None else 1


def _table(recommendation: Recommendation) -> Table:
    from compress.cli.tables import plain_table

    table = plain_table()
    for heading in ("width", "parameters", "error trained", "predicted (90 %)", "drop at most (points)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for forecast in recommendation.forecasts:
        trained = [point.error for point in recommendation.trained if point.width == forecast.width]
        error, lower, upper = forecast.prediction
        table.add_row(
            f"{forecast.width:g}",
            f"{forecast.parameters:,}",
            ", ".join(f"{share:.1%}" for share in trained),
            f"{error:.1%} ({lower:.1%} to {upper:.1%})",
            f"{forecast.drop_bound:.1f}",
        )
    return table


def _lines(chosen: StudentResult) -> Iterator[str]:
    advice, law = chosen.recommendation, chosen.recommendation.law
    yield f"error = {law.floor:.3g} + {law.factor:.3g} · N^-{law.exponent:.3g} after this schedule"
    if law.freedom == 0:
        yield "three points fit any such law: train more widths, or each more often"
    if advice.chosen is None or advice.check is None or chosen.path is None:
        yield (
            f"no width is predicted to lose at most {advice.max_drop:g} points after this schedule: raise --epochs "
            "or --max-drop, or train more widths for narrower bounds; nothing was written"
        )
        return
    student, (error, lower, upper) = advice.check.student, advice.chosen.prediction
    yield (
        f"recommended: width {student.width:g}, predicted {error:.1%} ({lower:.1%} to {upper:.1%}), "
        f"trained {student.error:.1%}: {'as predicted' if advice.check.held else 'NOT as predicted'}"
    )
    for name, drop in (
        ("", advice.check.drop),
        (" after the longer schedule", advice.check.longer_drop),
    ):
        if drop is not None:
            low, high = drop.interval.low, drop.interval.high
            yield f"on the evaluation data it loses {drop.points:.2f} {drop.unit} ({low:.2f} to {high:.2f}){name}"
    yield f"{chosen.path}: the student"
