"""This machine: what runs here is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from compress.backends.base import Backend
from compress.hosts.base import Build, Host, batch_sizes
from compress.profiling.latency import Budget, measure_latency, measure_ratio, sample_feeds
from compress.profiling.memory import peak_memory_mb
from compress.record import Latency, Source

if TYPE_CHECKING:
    from compress.target import Target
    from compress.task import Task


class LocalHost(Host):
    """The machine this process runs on."""

    source: ClassVar[Source] = "measured"

    def __init__(self, backend: Backend, budget: Budget | None = None) -> None:
        self.backend = backend
        self.budget = budget or Budget()

    def latency(
        self, build: Build, original: Build | None, task: Task, target: Target
    ) -> tuple[Latency, ...]:
        """See :meth:`Host.latency`: host to host, copies included, in this process."""
        figures = []
        for batch in batch_sizes(build.session, target):
            feeds = sample_feeds(build.session, task, batch)
            if original is None:
                figures.append(measure_latency(build.session, feeds, batch, self.budget))
            else:
                figures.append(measure_ratio(build.session, original.session, feeds, batch, self.budget))
        return tuple(figures)

    def layers(self, build: Build, target: Target) -> tuple[dict[str, Any], ...]:
        """See :meth:`Host.layers`."""
        return ()

    def peak_memory_mb(self, build: Build, target: Target) -> float | None:
        """See :meth:`Host.peak_memory_mb`: at the first batch size, in a process of its own."""
        return peak_memory_mb(build.artifact, batch_sizes(build.session, target)[0])
