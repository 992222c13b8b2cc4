"""``compress doctor``: what this machine and a board can measure, and how to install what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from compress.cli.saying import say
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


@click.command()
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
        found = diagnose(targets, host, importing=not quick)
    if as_json:
        click.echo(json_text(found.to_dict(), indent=2))
    else:
        _tell(found)
    asked = found.targets[0] if target else next(each for each in found.targets if each.target == "cpu")
    click.get_current_context().exit(
        {"measured": 0, "needs-host": 1, "estimate": 1, "unavailable": 4}[asked.verdict]
    )


def _tell(found: Diagnosis) -> None:
    machine = found.machine
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
            for package in found.packages
        ]
    )
    if found.board is not None:
        say()
        _tell_board(found)
    say()
    _table([(each.target, _WORDS[each.verdict], each.reason) for each in found.targets])
    _tell_what_to_do(found)


def _tell_board(found: Diagnosis) -> None:
    from compress.hosts.board import Board

    board = found.board
    if not isinstance(board, Board):
        return
    locked = {True: "held", False: "moving with the load", None: None}[board.clocks_locked]
    figures = {
        "board": f"{board.model} at {found.host}",
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


def _tell_what_to_do(found: Diagnosis) -> None:
    say()
    for sentence in found.advice:
        say(f"on the board: {sentence}")
    for package in found.packages:
        if package.install is not None:
            say(f"for {package.purpose}: {package.install}")
    for todo in dict.fromkeys(
        each.todo for each in found.targets if each.todo and not _of_a_package(each, found)
    ):
        names = [each.target for each in found.targets if each.todo == todo]
        say(f"for {names[0] if len(names) == 1 else f'{len(names)} targets'}: {todo}")


def _of_a_package(each: Outlook, found: Diagnosis) -> bool:
    return each.todo in {package.install for package in found.packages}


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    """Return lines with columns as wide as their longest cell; the last column is not padded."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        say("  ".join([*cells, row[-1]]).rstrip())
