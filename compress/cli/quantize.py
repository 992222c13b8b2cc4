"""``compress quantize``: one step alone, without search and without timing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from compress.cli.options import data_options, deployment_options, network_options, state_option
from compress.cli.saying import say
from compress.cli.waiting import WaitedFor
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compress.api.quantize import Quantized

#: Reasons shown; the rest is counted, and whole in --json.
_REASONS = 6


@click.command(cls=WaitedFor)
@click.argument("model", type=click.Path())
@deployment_options
@click.option("--out", type=click.Path(dir_okay=False), help="[default: MODEL.PRECISION.onnx, here]")
@click.option(
    "--precision",
    type=click.Choice(["int8", "int8+fp16", "fp16", "bf16", "fp8"]),
    default="int8",
    show_default=True,
    help="What to quantize or cast to.",
)
@click.option("--recipe", type=click.Path(), help="A recipe (TOML) in place of a precision.")
@click.option(
    "--method",
    type=click.Choice(["min-max", "moving-average", "percentile", "entropy", "mse"]),
    help="How ranges follow from the values seen. [default: mse]",
)
@click.option(
    "--percentile", type=float, help="Share of values inside the range, for that method, in percent."
)
@click.option(
    "--scope",
    type=click.Choice(["all", "weights-ops"]),
    help="Whole chains in int8, or Conv, Gemm and MatMul alone. [default: all]",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="NODE|OPERATOR",
    help="Keep this node, or every node of this operator type, in float; may be given again.",
)
@click.option(
    "--calibration-samples",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="At most so many samples to calibrate on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@data_options
@network_options
@state_option
def quantize(model: str, as_json: bool, **settings: Any) -> int:
    """Quantize MODEL for a target and write it as ONNX; no search, and nothing is timed.

    MODEL is what `compress optimize` takes. The file is written whole or not at all.

    \b
    Exit codes: 0 written, 1 written, and the target will refuse it, 2 usage, 4 target not available, 5 internal.
    """
    from compress.api.quantize import quantize as run
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter

    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        result = run(model, reporter=reporter, **settings)
    if as_json:
        click.echo(json_text(result.to_dict(), indent=2))
    else:
        for line in _lines(result):
            say(line)
    return 1 if result.refused else 0


def _lines(result: Quantized) -> Iterator[str]:
    from compress.cli.terminal import accuracy_text, drop_text
    from compress.reports.figures import size_text

    yield f"{result.path}: {size_text(result.bytes)}, {result.bytes / result.original_bytes:.2f} × the original's"
    if result.accuracy is None or result.original is None:
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
    yield from (f"{result.target} will refuse this file: {each}" for each in result.refused)
    yield from _placement(result)


def _placement(result: Quantized) -> Iterator[str]:
    for technique, precision in (("quantize", "int8"), ("float8", "float8")):
        report = result.reports.get(technique)
        if report is not None:
            floats = report["float_nodes"]
            yield f"{precision}: {len(report[f'{precision}_nodes'])} nodes; float: {len(floats)}"
            yield from _grouped(floats)
            if "accuracy" in report:
                yield f"  accuracy is {report['accuracy']}"
    share = None if result.coverage is None else result.coverage["int8_mac_share"]
    if share is not None:
        yield f"in int8 after ONNX Runtime's fusions: {100 * share:.1f} % of the multiply-accumulates"
    cast = result.reports.get("cast")
    if cast is not None:
        kept = cast["kept_in_float32"]
        yield f"{cast['precision']}: kept in float32: {len(kept) or 'nothing'}"
        yield from _grouped(kept)


def _grouped(nodes: dict[str, str]) -> Iterator[str]:
    """Nodes by why they stay float, the most frequent reasons first."""
    reasons = Counter(nodes.values()).most_common()
    for reason, count in reasons[:_REASONS]:
        names = [name for name, why in nodes.items() if why == reason]
        more = f" and {count - 3} more" if count > 3 else ""
        yield f"  {', '.join(names[:3])}{more}: {reason}"
    if len(reasons) > _REASONS:
        yield f"  and {len(reasons) - _REASONS} more reasons: --json has them all"
