"""Advice on a board's settings before anything is measured there."""

from __future__ import annotations

from collections.abc import Iterator

from compress.backends.tensorrt import release_of
from compress.hosts.board import Board

_LEAST_MEMORY_MB, _LEAST_DISK_MB = 1536, 1024
_HOT_C = 75.0
_OLDEST = (8, 2)


def advice(board: Board) -> Iterator[str]:
    """Return sentences of advice, each with the command to run; empty where nothing is to be done."""
    if release_of(board.tensorrt) < _OLDEST:
        yield f"TensorRT {board.tensorrt} is older than 8.2, the oldest that is driven: flash JetPack 4.6.1 or later"
    if board.power_mode is not None and not board.power_mode.startswith("MAXN"):
        yield (
            f"power mode {board.power_mode}: `nvpmodel -p --verbose` lists the modes, `sudo nvpmodel -m ID` sets one; "
            "figures of one mode do not compare with another's"
        )
    if board.clocks_locked is False:
        yield "clocks move with the load: `sudo jetson_clocks` holds them at the mode's highest; latencies then repeat"
    if board.temperature_c is not None and board.temperature_c >= _HOT_C:
        yield f"{board.temperature_c:g} °C: let it cool down, or it will lower its clocks while it is measured"
    if board.memory_free_mb is not None and board.memory_free_mb < _LEAST_MEMORY_MB:
        yield (
            f"{board.memory_free_mb} MiB of free memory: the builder may be killed; close the desktop first "
            "(`sudo systemctl isolate multi-user.target`)"
        )
    if board.disk_free_mb is not None and board.disk_free_mb < _LEAST_DISK_MB:
        yield f"{board.disk_free_mb} MiB of free disk: engines and graphs may not fit; free some of the home directory"
    if board.power_mode is not None and not board.tegrastats:
        yield "no tegrastats: energy and throttling are not seen; put it on the PATH of ssh's shell"
