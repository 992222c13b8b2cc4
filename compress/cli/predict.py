"""``compress predict``: what a bundle answers for one sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compress.cli.command import Command
from compress.cli.saying import say, tell
from compress.cli.stdout import kept_for_the_result
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from compress.api.predict import Answer, PredictResult


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("sample", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File (.npz) for the outputs, by their names. [default: none; they are shown in short]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outputs as one JSON object.")
def predict(bundle: Path, sample: Path, out: Path | None, as_json: bool) -> int:
    """Run INPUT, one sample, through BUNDLE, on this machine. Needs no torch.

    \b
    Example:
      compress predict build/ cat.jpg --out outputs.npz

    INPUT is a .npy or .npz file, an image, or a text for a network that takes text; its content tells which. Arrays
    have the network's names where it has several inputs. An image is prepared as the data was that the bundle was
    measured on. Of class scores, the largest are shown; of other outputs, shape and range.
    """
    from compress.api.predict import predict as run

    with kept_for_the_result():
        result = run(bundle, sample, out=out)
    if result.note is not None:
        tell(f"note: {result.note}")
    if as_json:
        click.echo(json_text(result.to_dict(), indent=2))
        return 0
    for answer in result.answers:
        _tell(result, answer)
    if out is not None:
        say(f"wrote {out}")
    return 0


def _tell(result: PredictResult, answer: Answer) -> None:
    """Print one output: its largest classes, or its range."""
    shape = "×".join(map(str, answer.value.shape)) or "one value"
    say(f"{answer.name}  {answer.value.dtype}, {shape}{_range(answer)}")
    top = result.top(answer)
    wide = max((len(name) for name, _ in top), default=0)
    for name, score in top:
        what = name if result.classes is not None else f"class {name}"
        say(f"  {what:{wide + (0 if result.classes is not None else 6)}}  {score:.4g}")


def _range(answer: Answer) -> str:
    """Return the range of an output's numbers in words; its values where they are few."""
    import numpy as np

    value = answer.value
    if answer.scores is not None or not value.size:
        return ""
    if value.dtype.kind not in "fiub" or value.size <= 4:
        shown = ", ".join(
            f"{number:.6g}" if isinstance(number, float) else str(number)
            for number in value.ravel()[:4].tolist()
        )
        return f": {shown}{', …' if value.size > 4 else ''}"
    numbers = value.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    lost = value.size - finite.size
    range_text = f", from {finite.min():.4g} to {finite.max():.4g}" if finite.size else ""
    return f"{range_text}{f'; {lost} of {value.size} values are no finite numbers' if lost else ''}"
