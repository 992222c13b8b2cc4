"""A forecast of the time that a build takes, before anything is measured.

    seconds = timing + starting processes + (evaluation + calibration samples) / samples of a call · call of fp32

A call has one sample, or as many as a fixed batch takes. It is estimated by a roofline
(:mod:`compress.profiling.roofline`), so the forecast is an interval. It holds for a machine that does nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from compress.core.tensor_spec import fixed_batch
from compress.data.task import Task
from compress.errors import CompressError
from compress.hosts.base import Host
from compress.network.network import Network
from compress.onnx_graph.layers import layers
from compress.profiling.roofline import Estimate, estimate
from compress.recipe import Recipe
from compress.target.target import Target, load_target
from compress.techniques import load_technique

#: Seconds for starting processes, compiling and comparing session options, of a small network on two cores.
_STARTS_S = (1.0, 6.0)
#: Share of the time for timing that a build takes: less where it is decided before, more since fp32 takes turns.
_TIMED = (0.5, 1.5)


class Seconds(NamedTuple):
    """Interval of a time, in seconds."""

    low: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """Forecast for the builds of one run.

    Attributes:
        network: The original network.
        task: The data that builds are judged by.
        target: The device that builds are for.
        host: The machine that builds are measured on.
        seconds: Time to measure each build at each batch size, in seconds.
    """

    network: Network
    task: Task
    target: Target
    host: Host
    seconds: float

    def of(self, recipe: Recipe) -> Seconds | None:
        """Return the time from a recipe to its measurements.

        Args:
            recipe: The recipe.

        Returns:
            The interval; None for minutes, which depend on the training or the board, and where the network has
            operators of unknown cost.
        """
        call = self._call
        if call is None or self.takes_minutes(recipe):
            return None
        calls = math.ceil(len(self.task.calls.evaluation) / self._batch)
        if any("calibration samples" in load_technique(step).needs() for step in recipe.steps):
            calls += math.ceil(len(self.task.calls.calibration) / self._batch)
        conditions = len(self.target.batch_sizes) + (self.target.calls_per_second is not None)
        timed = self.seconds * conditions if self.host.source == "measured" else 0.0
        low, high = (
            share * timed + start + calls * ms / 1e3
            for share, start, ms in zip(_TIMED, _STARTS_S, (call.low_ms, call.high_ms), strict=True)
        )
        return Seconds(low, high)

    def takes_minutes(self, recipe: Recipe) -> bool:
        """Whether a build takes minutes: it trains, tries many variants, or an engine is built on a board."""
        slow = any(load_technique(step).takes_minutes() for step in recipe.steps)
        return slow or not self.host.builds_take_seconds

    @cached_property
    def _call(self) -> Estimate | None:
        """The estimated call of fp32 on the machine that judges accuracy."""
        here = self.target if self.target.here else load_target("cpu")
        try:
            estimated = estimate(layers(self.network.to_onnx(), shapes=self._shapes), here, self._batch)
        except CompressError:
            return None  # an axis stays open, or the machine's rates are unknown
        return None if estimated.uncounted else estimated

    @property
    def _batch(self) -> int:
        """Number of samples of a call."""
        return fixed_batch(self.network.inputs) or 1

    @property
    def _shapes(self) -> Mapping[str, Sequence[int]]:
        """The shape of each input for a call with samples of the data, by name."""
        first = next(iter(self.task.calls.evaluation.batches(self._batch)))
        return {name: array.shape for name, array in first.inputs.items()}
