"""``python -m fuzz --seconds N [READER …]``: ends with 1 where anything was found."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fuzz.campaign import run
from fuzz.readers import READERS


@click.command()
@click.argument("names", nargs=-1, metavar="[READER]...")
@click.option("--seconds", type=click.FloatRange(0), default=10.0, show_default=True, help="For each reader.")
@click.option("--inputs", type=click.IntRange(1), help="At most so many for each reader.")
@click.option("--seed", default=0, show_default=True, help="Another one gives other inputs.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("fuzz-findings"),
    show_default=True,
    help="Where inputs go that something was found with.",
)
def fuzz(names: tuple[str, ...], seconds: float, inputs: int | None, seed: int, keep: Path) -> None:
    """Read damaged and hostile files with each READER, or with all of them."""
    unknown = [name for name in names if name not in READERS]
    if unknown:
        raise click.UsageError(f"no reader {unknown[0]}; there are: {', '.join(READERS)}")
    good = True
    click.echo(
        f"{'reader':20} {'inputs':>7} {'read':>7} {'crashes':>7} {'hangs':>7} {'memory':>7} {'slowest':>8}"
    )
    for name in names or READERS:
        found = run(
            READERS[name],
            seconds=seconds,
            keep=keep,
            seed=seed,
            most=inputs,
            tell=lambda line: click.echo(f"  {line}"),
        )
        counts = [
            sum(found.times[each] for each in seen) for seen in (found.crashes, found.hangs, found.memory)
        ]
        numbers = " ".join(f"{number:7}" for number in (found.inputs, found.read, *counts))
        click.echo(f"{name:20} {numbers} {found.slowest_s:7.1f}s")
        good = good and found.good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    fuzz()
