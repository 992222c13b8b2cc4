"""This machine: what runs here is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from compress.backends import load_backend
from compress.backends.base import Artifact, Backend
from compress.hosts.base import Build, Host, batch_sizes
from compress.profiling.breakdown import measured_layers
from compress.profiling.energy import energy_mj
from compress.profiling.latency import Budget, measure_latency, measure_ratio, sample_feeds
from compress.profiling.memory import peak_memory_mb
from compress.record import Latency, Source

if TYPE_CHECKING:
    from compress.target import Target
    from compress.task import Task

#: Options other than the default must be faster by this factor; less could be noise.
_WORTH_IT = 0.95
#: Of calls under the runtime's profiler.
_TRACING_SECONDS = 0.2
_TUNING = Budget(seconds=0.5, least=20, most=100, warm_up_seconds=0.3)


class LocalHost(Host):
    """The machine this process runs on."""

    source: ClassVar[Source] = "measured"

    def __init__(self, backend: Backend, budget: Budget | None = None) -> None:
        self.backend = backend
        self.budget = budget or Budget()

    def latency(
        self, build: Build, original: Build | None, task: Task | None, target: Target
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

    def tune(self, artifact: Artifact, task: Task, target: Target, threads: int | None) -> Artifact:
        """See :meth:`Host.tune`: each set of options is timed against the default one in interleaved pairs.

        Small networks are faster on one thread than on all, and with idle threads spinning rather than asleep; which
        of it holds depends on the network and the machine, so it is measured.
        """
        best, best_ratio = artifact, _WORTH_IT
        batch = target.batch_sizes[0]
        backend = load_backend(artifact.backend)
        with backend.open(artifact) as default:
            feeds = sample_feeds(default, task, batch)
            for options in backend.variants(artifact.options, threads):
                variant = replace(artifact, options=options)
                with backend.open(variant) as session:
                    figure = measure_ratio(session, default, feeds, batch, _TUNING)
                if figure.ratio is not None and figure.ratio < best_ratio:
                    best, best_ratio = variant, figure.ratio
        return best

    def layers(self, build: Build, target: Target) -> tuple[dict[str, Any], ...]:
        """See :meth:`Host.layers`: measured by the runtime's own profiler on seeded noise, at the first batch size."""
        feeds = sample_feeds(build.session, None, batch_sizes(build.session, target)[0])
        backend = load_backend(build.artifact.backend)
        times = backend.operator_times(build.artifact, feeds, _TRACING_SECONDS)
        if times is None:
            return ()
        return measured_layers(times, target, build.artifact.options.get("intra_op_threads"))

    def energy_mj(self, build: Build, target: Target) -> float | None:
        """See :meth:`Host.energy_mj`: by the processor's own counter, on seeded noise."""
        feeds = sample_feeds(build.session, None, batch_sizes(build.session, target)[0])
        return energy_mj(build.session.prepared(feeds))

    def peak_memory_mb(self, build: Build, target: Target) -> float | None:
        """See :meth:`Host.peak_memory_mb`: at the first batch size, in a process of its own."""
        return peak_memory_mb(build.artifact, batch_sizes(build.session, target)[0])
