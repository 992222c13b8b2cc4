"""This machine: what runs here is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from compress.backends import load_backend
from compress.backends.base import Artifact, Backend, Session
from compress.hosts.base import Build, Host, batch_sizes
from compress.profiling.breakdown import measured_layers
from compress.profiling.conditions import conditions
from compress.profiling.energy import counters, energy_mj
from compress.profiling.latency import Budget, measure_latency, measure_ratio, measure_ratios, sample_feeds
from compress.profiling.memory import peak_memory_mb
from compress.profiling.pinning import bindable, pinned_options
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

    def conditions(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`Host.conditions`."""
        return conditions(options)

    def latency(
        self, build: Build, original: Build | None, task: Task | None, target: Target
    ) -> tuple[Latency, ...]:
        """See :meth:`Host.latency`: host to host, copies included, in this process."""
        sizes = batch_sizes(build.session, target)
        feeds = {batch: sample_feeds(build.session, task, batch) for batch in sizes}
        # Alone, as the fp32 build was: two that take turns push each other's weights out of the caches.
        alone = tuple(measure_latency(build.session, feeds[batch], batch, self.budget) for batch in sizes)
        if original is None:
            return alone
        artifacts = build.artifact, original.artifact
        ratios = measure_ratios(
            lambda number: alike(*artifacts, other_first=number % 2 == 1), feeds, self.budget
        )
        return tuple(
            replace(each, ratio=ratios[each.batch][0], ratio_interval=ratios[each.batch][1]) for each in alone
        )

    def tune(self, artifact: Artifact, task: Task, target: Target, threads: int | None) -> Artifact:
        """See :meth:`Host.tune`: each set of options is timed against the default one in interleaved pairs.

        Small networks are faster on one thread than on all, and with idle threads spinning rather than asleep; which
        of it holds depends on the network and the machine, so it is measured.
        """
        best, best_ratio = artifact, _WORTH_IT
        batch = target.batch_sizes[0]
        backend = load_backend(artifact.backend)
        for options in backend.variants(artifact.options, threads):
            variant = replace(artifact, options=options)
            with alike(variant, artifact) as (session, default, bind):
                feeds = sample_feeds(default, task, batch)
                figure = measure_ratio(session, default, feeds, batch, _TUNING, bind=bind)
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
        """See :meth:`Host.energy_mj`: by the own counter of the processor or GPU that runs it, on seeded noise."""
        feeds = sample_feeds(build.session, None, batch_sizes(build.session, target)[0])
        counted = counters(build.artifact.options.get("provider"))
        return energy_mj(build.session.prepared(feeds), counted=counted)

    def peak_memory_mb(self, build: Build, target: Target) -> float | None:
        """See :meth:`Host.peak_memory_mb`: at the first batch size, in a process of its own."""
        return peak_memory_mb(build.artifact, batch_sizes(build.session, target)[0])


@contextmanager
def alike(
    build: Artifact, other: Artifact, other_first: bool = False
) -> Iterator[tuple[Session, Session, bool]]:
    """Open two builds that are to be timed against each other.

    Args:
        build: The one.
        other: The other.
        other_first: Open the other one first; whichever is first may find the better place in memory.

    Yields:
        Both sessions, their threads bound to the same processors, and whether the caller's thread is to be bound too.
    """
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(
                load_backend(each.backend).open(replace(each, options=pinned_options(each.options)))
            )
            for each in ((other, build) if other_first else (build, other))
        )
        own, reference = (second, first) if other_first else (first, second)
        yield own, reference, bindable(build.options) or bindable(other.options)
