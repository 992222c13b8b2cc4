"""``compress quantize``: quantize a network, without search and without timing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from compress.api.options import QuantizeOptions
from compress.cli.generated import GroupedCommand
from compress.cli.options import verb_options
from compress.cli.saying import say
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compress.api.quantize import QuantizeResult
    from compress.records.technique_reports import CastReport

#: Reasons shown; the rest is counted, and whole in --json.
_REASONS = 6


def _taken_over(parameters: dict[str, Any]) -> str | None:
    return (
        "the same command takes over the weights that were written"
        if parameters.get("data") is None
        else None
    )


@click.command(cls=GroupedCommand, resumes=_taken_over)
@click.argument("model", type=click.Path())
@verb_options(QuantizeOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def quantize(model: str, options: dict[str, Any], as_json: bool) -> int:
    """Quantize MODEL for a target and write it as ONNX, without search and without timing.

    \b
    Example:
      compress quantize model.onnx --data val.npz --target cpu --out model.int8.onnx

    MODEL is a network's file, as for `compress optimize`. The file is written whole or not at all.

    Without --data, the weights alone of a language model are rounded, as a --recipe of weight_only says; they are read
    and written one matrix after another. After an interruption, the same command takes over what OUT.partial holds.

    \b
    Exit codes: 0 written, 1 written, and the target will refuse it, 2 usage, 4 target not available, 5 internal.
    """
    from compress.api.quantize import quantize as run
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter

    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        result = run(model, reporter=reporter, **options)
    if as_json:
        click.echo(json_text(result.to_dict(), indent=2))
    else:
        for line in _lines(result):
            say(line)
    return 1 if result.refused else 0


def _lines(result: QuantizeResult) -> Iterator[str]:
    from compress.cli.figure_text import accuracy_text, drop_text
    from compress.reports.figures import size_text

    yield f"{result.path}: {size_text(result.bytes)}, {result.bytes / result.original_bytes:.2f} × the original's"
    if result.weights_alone:
        yield f"accuracy: not measured, without --data; root mean square change of the weights: {_change(result)}"
    elif result.accuracy is None or result.original is None:
        yield "accuracy: not measured, ONNX Runtime does not run this precision here"
    else:
        metric = result.accuracy.metric
        labelled = metric != "agreement"  # the original agrees with itself, which tells nothing
        original = f", original {accuracy_text(result.original)}" if labelled else ""
        yield f"{metric}: {accuracy_text(result.accuracy)}{original}"
        if result.accuracy.drop is not None:
            yield drop_text(result.accuracy.drop)
        if labelled:
            yield f"agreement with the original: {accuracy_text(result.agreement)}"
        yield f"  on {result.accuracy.samples} samples"
    yield from result.notes
    yield from (f"{result.target} will refuse this file: {reason}" for reason in result.refused)
    yield from _placement(result)


def _change(result: QuantizeResult) -> str:
    layers = result.reports["weight_only"]["layers"]
    sizes = [layer["shape"][0] * layer["shape"][1] for layer in layers]
    squares = sum(size * layer["error"] ** 2 for size, layer in zip(sizes, layers, strict=True))
    return f"{100 * (squares / sum(sizes)) ** 0.5:.3g} %" if sizes else "none"


def _placement(result: QuantizeResult) -> Iterator[str]:
    for technique, precision in (("quantize", "int8"), ("float8", "float8")):
        report = result.reports.get(technique)
        if report is not None:
            floats = report["float_nodes"]
            yield f"{precision}: {len(report[f'{precision}_nodes'])} nodes; float: {len(floats)}"
            yield from _grouped(floats)
            if "accuracy" in report:
                yield f"  accuracy is {report['accuracy']}"
    share = None if result.coverage is None else result.coverage.int8_mac_share
    if share is not None:
        yield f"in int8 after ONNX Runtime's fusions: {100 * share:.1f} % of the multiply-accumulates"
    cast: CastReport | None = result.reports.get("cast")
    if cast is not None:
        nodes = cast["kept_in_float32"]
        yield f"{cast['precision']}: kept in float32: {len(nodes) or 'nothing'}"
        yield from _grouped(nodes)


def _grouped(nodes: dict[str, str]) -> Iterator[str]:
    """Group nodes by the reason why they stay float, the most frequent reasons first."""
    reasons = Counter(nodes.values()).most_common()
    for reason, count in reasons[:_REASONS]:
        names = [name for name, why in nodes.items() if why == reason]
        more = f" and {count - 3} more" if count > 3 else ""
        yield f"  {', '.join(names[:3])}{more}: {reason}"
    if len(reasons) > _REASONS:
        yield f"  and {len(reasons) - _REASONS} more reasons: --json has them all"
