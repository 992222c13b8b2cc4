"""``compress doctor``: what this machine and a board can measure, and how to install what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from compress.cli.command import Command
from compress.cli.saying import say, say_wrapped
from compress.cli.stdout import kept_for_the_result
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from compress.doctor import Diagnosis, Outlook

_WORDS = {
    "measured": "measured",
    "needs-host": "needs --host",
    "estimate": "estimate only",
    "unavailable": "not available",
}
_ORDER = tuple(_WORDS)


@click.command(cls=Command)
@click.option(
    "--target", help="Target to examine: a name from `compress targets`, or a TOML file. [default: all]"
)
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Board to examine too: user@board as ssh takes it, or 'local'. [default: none]",
)
@click.option("--quick", is_flag=True, help="Skip importing the packages, which takes seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def doctor(target: str | None, host: str | None, quick: bool, as_json: bool) -> None:
    """Show which targets this machine and a board can measure, and how to install what is missing.

    \b
    Example:
      compress doctor --host user@board

    \b
    Exit codes: 0 the target (without --target: this machine's processor) can be measured, 1 it can only be estimated,
    2 usage, 4 the target is not available here, or the board does not answer.
    """
    from compress.doctor import diagnose
    from compress.target.target import load_target

    targets = None if target is None else [load_target(target)]
    with kept_for_the_result():
        diagnosis = diagnose(targets, host, importing=not quick)
    if as_json:
        click.echo(json_text(diagnosis.to_dict(), indent=2))
    else:
        _tell(diagnosis)
    shown = (
        diagnosis.targets[0]
        if target
        else next(diagnosed for diagnosed in diagnosis.targets if diagnosed.target == "cpu")
    )
    click.get_current_context().exit(
        {"measured": 0, "needs-host": 1, "estimate": 1, "unavailable": 4}[shown.verdict]
    )


def _tell(diagnosis: Diagnosis) -> None:
    machine = diagnosis.machine
    memory = f", {machine.cpu.memory_gb:g} GB" if machine.cpu.memory_gb else ""
    card = machine.gpu
    lines = [
        ("processor", f"{machine.cpu.model}, {machine.cpu.cores} cores, {machine.threads} threads{memory}"),
        ("extensions", " ".join(machine.cpu.isa) or "none that matter"),
        (
            "GPU",
            f"{card.name}, {card.compute_capability}, driver {card.driver}"
            if card
            else f"none: {machine.no_gpu}",
        ),
        ("trtexec", f"{machine.trtexec}, TensorRT {machine.tensorrt}" if machine.trtexec else "none"),
        ("ssh", machine.ssh or "none: apt install openssh-client"),
        ("Python", f"{machine.python} on {machine.os}"),
    ]
    _table(lines)
    say()
    _table(
        [
            (package.name, package.version or "–", package.problem or ", ".join(package.providers) or "")
            for package in diagnosis.packages
        ]
    )
    if diagnosis.board is not None:
        say()
        _tell_board(diagnosis)
    say()
    _tell_targets(diagnosis)
    _tell_what_is_missing(diagnosis)


def _tell_targets(diagnosis: Diagnosis) -> None:
    """Print each verdict once, with all targets that it holds for, its reason and the next step."""
    alike: dict[tuple[str, str, str | None], list[str]] = {}
    for diagnosed in diagnosis.targets:
        todo = None if _of_a_package(diagnosed, diagnosis) else diagnosed.todo
        alike.setdefault((diagnosed.verdict, diagnosed.reason, todo), []).append(diagnosed.target)
    for (verdict, reason, todo), names in sorted(alike.items(), key=lambda item: _ORDER.index(item[0][0])):
        say_wrapped(f"{_WORDS[verdict]}: {', '.join(names)}")
        say_wrapped(f"  {reason}", indent="  ")
        if todo is not None:
            say_wrapped(f"  next: {todo}", indent="    ")


def _tell_board(diagnosis: Diagnosis) -> None:
    from compress.hosts.board import Board

    board = diagnosis.board
    if not isinstance(board, Board):
        return
    locked = {True: "held", False: "moving with the load", None: None}[board.clocks_locked]
    figures = {
        "board": f"{board.model} at {diagnosis.host}",
        "JetPack": board.jetpack and f"{board.jetpack} (L4T {board.l4t or 'unknown'})",
        "TensorRT": f"{board.tensorrt}, {board.trtexec}",
        "CUDA": board.cuda,
        "driver": board.driver,
        "compute capability": board.compute_capability,
        "memory": board.memory_free_mb is not None and f"{board.memory_free_mb} MiB free",
        "disk": board.disk_free_mb is not None and f"{board.disk_free_mb} MiB free",
        "power mode": board.power_mode,
        "clock": board.gpu_mhz
        and f"{board.gpu_mhz:g} of {board.gpu_max_mhz or 0:g} MHz, {locked or 'unknown'}",
        "DLA": f"{board.dla_cores} cores" if board.dla_cores else "none",
        "temperature": board.temperature_c and f"{board.temperature_c:g} °C",
    }
    _table([(name, str(value)) for name, value in figures.items() if value])


def _tell_what_is_missing(diagnosis: Diagnosis) -> None:
    """Print the advice on the board, and the command that installs each missing package, by what it is needed for."""
    missing = [(package.purpose, package.install) for package in diagnosis.packages if package.install]
    if diagnosis.advice or missing:
        say()
    for sentence in diagnosis.advice:
        say_wrapped(f"on the board: {sentence}")
    for purpose, install in missing:
        say_wrapped(f"for {purpose}:")
        for command in install.split(" && "):  # a line each, which no terminal needs to wrap
            say(f"  {command}")


def _of_a_package(outlook: Outlook, diagnosis: Diagnosis) -> bool:
    return outlook.todo in {package.install for package in diagnosis.packages}


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print lines with columns as wide as their longest cell; the last one wraps where a terminal is too narrow."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        before = "".join(cell.ljust(width + 2) for cell, width in zip(row, widths, strict=False))
        say_wrapped(f"{before}{row[-1]}".rstrip(), indent=" " * len(before))
