"""The host for an absent target: accuracy is measured here on the same graph, latency is estimated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from compress.backends import load_backend
from compress.backends.base import Artifact, Backend, Session
from compress.hosts.base import Build, Host, Reference, batch_sizes
from compress.profiling.latency import sample_feeds, shapes_of
from compress.records.profile import Interval, Latency, Source
from compress.target.shape_ranges import usual_shapes
from compress.timing.processes import stored_feeds, workers

if TYPE_CHECKING:
    from compress.data.task import Task
    from compress.profiling.roofline import Estimate
    from compress.records.layer_time import LayerTime
    from compress.target.target import Target


class AbsentHost(Host):
    """No machine: a roofline over the target's peaks (Williams et al. 2009)."""

    source: ClassVar[Source] = "estimated"
    opens_original: ClassVar[bool] = False

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def open(self, artifact: Artifact, target: Target) -> Session:
        """See :meth:`Host.open`: the graph as it is written, which is what TensorRT gets.

        ONNX Runtime's fusions of Q/DQ quantize float biases that TensorRT adds as they are.
        """
        return super().open(_as_written(artifact, target), target)

    def try_out(self, build: Build, target: Target, task: Task | None = None) -> None:
        """See :meth:`Host.try_out`."""
        batch = batch_sizes(build.session, target)[0]
        shapes = usual_shapes(target.input_shapes, build.session.inputs)
        feeds = {batch: sample_feeds(build.session, task, batch, shapes)}
        with stored_feeds(feeds) as paths, workers([_as_written(build.artifact, target)], paths):
            return

    def latency(
        self,
        build: Build,
        reference: Reference | None,
        task: Task | None,
        target: Target,
        rival: float | None = None,
    ) -> tuple[Latency, ...]:
        """See :meth:`Host.latency`; every figure says ``source="estimated"``."""
        original = None if reference is None else reference.original
        figures = []
        for batch in batch_sizes(build.session, target):
            estimate = _estimate(build, task, target, batch)
            ratio = (
                None
                if original is None
                else estimate.total_ms / _estimate(original, task, target, batch).total_ms
            )
            figures.append(
                Latency(
                    source="estimated",
                    batch=batch,
                    p50_ms=estimate.total_ms,
                    p90_ms=None,
                    p99_ms=None,
                    interval=Interval(estimate.low_ms, estimate.high_ms, estimate.level),
                    throughput_per_s=1e3 * batch / estimate.total_ms,
                    iterations=0,
                    ratio=ratio,
                    shapes=_shapes(build, task, target, batch) or {},
                )
            )
        return tuple(figures)

    def layers(self, build: Build, target: Target, task: Task | None = None) -> tuple[LayerTime, ...]:
        """See :meth:`Host.layers`: estimated time and bound per layer at the first batch size."""
        batch = batch_sizes(build.session, target)[0]
        return tuple(entry.record() for entry in _estimate(build, task, target, batch).layers)

    def peak_memory_mb(self, build: Build, target: Target, task: Task | None = None) -> float | None:
        """Return None: the peak memory is unknown without the board."""
        return None


def _as_written(artifact: Artifact, target: Target) -> Artifact:
    if not load_backend(target.backend).builds_engines:
        return artifact
    return replace(artifact, options={**artifact.options, "qdq_fusion": False})


def _estimate(build: Build, task: Task | None, target: Target, batch: int) -> Estimate:
    """Estimate the latency at the shapes of the data, where there is data: axes besides the batch may be open."""
    import onnx

    from compress.onnx_graph.layers import layers
    from compress.profiling.roofline import estimate

    model = onnx.load(build.artifact.path, load_external_data=False)
    shapes = _shapes(build, task, target, batch)
    return estimate(layers(model, batch, shapes), target, batch)


def _shapes(build: Build, task: Task | None, target: Target, batch: int) -> dict[str, list[int]] | None:
    """Return the shapes of calls; None without data, where the sizes of open axes are unknown."""
    usual = usual_shapes(target.input_shapes, build.session.inputs)
    if task is None and not usual:
        return None
    return shapes_of(sample_feeds(build.session, task, batch, usual))
