"""Widths for a latency whose prediction was held against whole calls.

The table of layer times may be off for a whole call, most of all for calls of a tenth of a millisecond. So the network
is timed at the widths that were chosen, in turns with the unpruned one; where it takes another share than predicted,
the prediction is corrected and the widths are chosen again.
"""

from __future__ import annotations

from collections.abc import Callable

from compress.pruning.groups import Units
from compress.pruning.network_latency import NetworkLatency
from compress.pruning.widths import OutOfReachError, Widths, out_of_reach

#: Choices of widths at the most; whole calls are timed after each.
_ROUNDS = 3

#: Relative difference of two shares that is none: one start of two builds tells no more.
_CLOSE = 0.05

#: Predicted share above which whole calls are not timed: what is saved is hardly more than such a difference.
_TELLS = 0.9


def widths_by_whole_calls(
    choose: Callable[[NetworkLatency], Widths],
    latency: NetworkLatency,
    share: float,
    timed: Callable[[Units], float | None],
) -> tuple[Widths, NetworkLatency, float | None]:
    """Choose widths whose whole call takes a share of the unpruned latency.

    Args:
        choose: Function that chooses widths by a prediction.
        latency: Prediction from layers.
        share: Share of the unpruned latency to reach, in (0, 1].
        timed: Function that returns the share that a whole call takes without these units; None where none is timed.

    Returns:
        The widths that remove least of those that reach the share, the prediction that they were chosen by, and the
        share that was timed there; None where none was. Where none of a few reach it, the fastest.

    Raises:
        OutOfReachError: Not even the fastest widths reach the share.
    """
    attempts: list[tuple[Widths, NetworkLatency, float]] = []
    most = share * (1 + _CLOSE)
    for _ in range(_ROUNDS):
        error: OutOfReachError | None = None
        try:
            widths = choose(latency)
        except OutOfReachError as beyond:
            if beyond.fastest is None:
                raise
            widths, error = beyond.fastest, beyond
        measured = timed(widths.units) if widths.share <= _TELLS else None
        if error is not None and (measured is None or measured > most):
            if any(milliseconds <= most for _, _, milliseconds in attempts):
                break
            raise error if measured is None else out_of_reach(share, measured, widths)
        if measured is None:
            return widths, latency, None
        attempts.append((widths, latency, measured))
        if error is None and share * (1 - _CLOSE) <= measured <= most:
            break
        latency = latency.calibrated(widths.share, measured)
    fit = [attempt for attempt in attempts if attempt[2] <= most]
    if fit:
        return max(fit, key=lambda attempt: attempt[2])
    return min(attempts, key=lambda attempt: attempt[2])


def calibrated(
    choose: Callable[[NetworkLatency], Widths],
    latency: NetworkLatency,
    timed: Callable[[Units], float | None],
) -> NetworkLatency:
    """Return a prediction from layers that is right at one choice of widths; as it is where no call is timed there.

    Args:
        choose: Function that chooses widths by a prediction.
        latency: Prediction from layers.
        timed: Function that returns the share that a whole call takes without some units; None where none is timed.
    """
    try:
        widths: Widths | None = choose(latency)
    except OutOfReachError as beyond:
        widths = beyond.fastest
    if widths is None or widths.share > _TELLS or (measured := timed(widths.units)) is None:
        return latency
    return latency.calibrated(widths.share, measured)
