"""``python -m fuzz --seconds N [READER …]``: ends with 1 where anything was found."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from fuzz.campaign import Found, run
from fuzz.readers import READERS, Reader


@click.command()
@click.argument("names", nargs=-1, metavar="[READER]...")
@click.option("--seconds", type=click.FloatRange(0), default=10.0, show_default=True, help="For each reader.")
@click.option("--inputs", type=click.IntRange(1), help="At most so many for each reader.")
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Readers that run at the same time.",
)
@click.option("--seed", default=0, show_default=True, help="Another one gives other inputs.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("fuzz-findings"),
    show_default=True,
    help="Where inputs go that something was found with.",
)
def fuzz(
    names: tuple[str, ...], seconds: float, inputs: int | None, processes: int, seed: int, keep: Path
) -> None:
    """Read damaged and hostile files with each READER, or with all of them."""
    unknown = [name for name in names if name not in READERS]
    if unknown:
        raise click.UsageError(f"no reader {unknown[0]}; there are: {', '.join(READERS)}")
    good = True
    click.echo(
        f"{'reader':20} {'inputs':>7} {'read':>7} {'crashes':>7} {'hangs':>7} {'memory':>7} {'slowest':>8}"
    )
    readers = [READERS[name] for name in names or READERS]
    for reader in readers:
        reader.corpus()  # made by torch and others, which threads do not share well; kept from here on

    def attacked(reader: Reader) -> Found:
        return run(
            reader,
            seconds=seconds,
            keep=keep,
            seed=seed,
            most=inputs,
            tell=lambda line: click.echo(f"  {line}"),
        )

    with ThreadPoolExecutor(processes) as threads:
        try:
            for reader, found in zip(readers, threads.map(attacked, readers), strict=True):
                _tell(reader, found)
                good = good and found.good
        except KeyboardInterrupt:
            threads.shutdown(wait=False, cancel_futures=True)
            os._exit(130)  # threads cannot be interrupted; the processes that read for them end with this one
    sys.exit(0 if good else 1)


def _tell(reader: Reader, found: Found) -> None:
    counts = [sum(found.times[each] for each in seen) for seen in (found.crashes, found.hangs, found.memory)]
    numbers = " ".join(f"{number:7}" for number in (found.inputs, found.read, *counts))
    click.echo(f"{reader.name:20} {numbers} {found.slowest_s:7.1f}s")


if __name__ == "__main__":
    fuzz()
