"""Power and clocks of a board while an engine is timed on it, by the vendor's own tool that runs beside."""

from __future__ import annotations

from dataclasses import dataclass, field

from compress.errors import ConnectionLostError, UnavailableError
from compress.hosts import nvidia_smi, tegrastats
from compress.hosts.board import Board
from compress.hosts.engines import Engine, Engines
from compress.hosts.telemetry import power_w, throttled

#: File of power and clocks beside an engine that is timed.
TELEMETRY = "power.txt"


@dataclass
class Watched:
    """Observations while a graph was timed.

    Attributes:
        power_w: Mean power of each timing, in watts.
        call_ms: Median time of a call at the batch size of the power, in milliseconds; None before it is known.
        doubts: Reasons to doubt the times, a sentence each.
    """

    power_w: list[float] = field(default_factory=list)
    call_ms: float | None = None
    doubts: list[str] = field(default_factory=list)


def telemetry_command(board: Board) -> tuple[str, ...]:
    """Return the vendor's tool that reports power and clocks, with its arguments; empty without one."""
    if board.tegrastats:
        return tegrastats.command(TELEMETRY)
    if board.power_field is not None:
        return nvidia_smi.command(TELEMETRY, board.power_field, board.device)
    return ()


def watch(engines: Engines, engine: Engine, seen: Watched) -> None:
    """Add what the tool reported while an engine was timed; nothing where there is no tool.

    Args:
        engines: Engines of the board.
        engine: The engine that was timed.
        seen: Receives power and doubts.

    Raises:
        ConnectionLostError: The board does not answer any more.
    """
    board = engines.board
    if not telemetry_command(board):
        return
    try:
        text = engines.take(engine, TELEMETRY)
    except ConnectionLostError:
        raise
    except UnavailableError:
        return  # It may not have written a line before the calls were over.
    samples = tegrastats.samples(text) if board.tegrastats else nvidia_smi.samples(text)
    if (power := power_w(samples)) is not None:
        seen.power_w.append(power)
    if (doubt := throttled(samples)) is not None:
        seen.doubts.append(doubt)
