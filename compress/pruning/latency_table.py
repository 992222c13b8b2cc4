"""Latency of every layer of a network at its possible widths, in the target's runtime.

A layer is timed in a small network of its own (:mod:`compress.pruning.probes`) through the same host, back end and
session options that time whole builds; layers of one shape are timed once. Where the target is not at hand, the same
probes are estimated by the roofline, and the table says so.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.digests import content_as_written, line_with_digest
from compress.core.files import written_safely
from compress.core.replacing import replaced_whole
from compress.core.versions import versions
from compress.hosts.absent import AbsentHost
from compress.hosts.base import Build
from compress.pruning.probes import Point, Shape, milliseconds, probe, quantized
from compress.pruning.staircase import Staircase, points, staircase, widths

if TYPE_CHECKING:
    import onnx

    from compress.backends.base import Artifact
    from compress.data.task import Task
    from compress.hosts.base import Host
    from compress.records.layer_time import LayerTime
    from compress.target.target import Target

PRECISIONS = ("fp32", "int8")

#: Widths along one axis at the most; fewer where the layer is slow or large.
_MOST_WIDTHS = (16, 8, 4, 2)

#: Calls of a probe that a host makes at the least.
_CALLS = 12

#: Traces of a probe, of which the fastest counts.
_REPEATS = 3

#: Learned numbers in one probe at the most: 256 MB in fp32.
_MOST_WEIGHTS = 64_000_000


@dataclass(frozen=True)
class Bench:
    """Place and settings for timing layers.

    Attributes:
        host: Host that measures builds.
        target: Target of the builds.
        options: Session options of the builds; None takes the back end's own for the target.
        precision: Precision of the final build, ``fp32`` or ``int8``, since each is fastest at other widths.
        seconds: Approximate time to measure all layers together, in seconds; the latency of layers left over then
            follows their multiply-accumulates.
        cache: Directory where measurements are kept; None keeps none.
        task: Real samples to feed to the whole network; None feeds seeded noise.
    """

    host: Host
    target: Target
    options: Mapping[str, Any] | None = None
    precision: str = "fp32"
    seconds: float = 30.0
    cache: Path | None = None
    task: Task | None = None

    def layers(self, model: onnx.ModelProto) -> tuple[list[tuple[LayerTime, ...]], str]:
        """Time a float model's operators in this bench's precision; return them with the source of the times.

        Raises:
            CompressError: The model cannot be quantized, or the back end does not run it.
        """
        with tempfile.TemporaryDirectory(prefix="compress-") as directory:
            build = self._compiled(model, Path(directory))
            with build.session:
                layer_times = self.host.layers(build, self.target)
                if not layer_times:  # The runtime does not tell.
                    layer_times = AbsentHost(self.host.backend).layers(build, self.target)
                source = layer_times[0].source or "measured" if layer_times else "measured"
                more = _REPEATS - 1 if source == "measured" else 0
                return [layer_times, *(self.host.layers(build, self.target) for _ in range(more))], source

    def whole_ms(self, model: onnx.ModelProto) -> float:
        """Return the median milliseconds of a call of a whole network, at the first batch size."""
        with tempfile.TemporaryDirectory(prefix="compress-") as directory:
            build = self._compiled(model, Path(directory))
            with build.session:
                first = replace(self.target, batch_sizes=self.target.batch_sizes[:1])
                return self.host.latency(build, None, self.task, first)[0].p50_ms

    def whole_share(self, model: onnx.ModelProto, unpruned: onnx.ModelProto) -> float | None:
        """Return the time of a whole call of one network over another's, at the first batch size, timed in turns.

        Args:
            model: The network in question, in fp32.
            unpruned: The network that it is compared with, in fp32.

        Returns:
            The ratio; None where there are no samples to feed, or the host does not time two builds in turns.
        """
        if self.task is None:
            return None
        first = replace(self.target, batch_sizes=self.target.batch_sizes[:1])
        with tempfile.TemporaryDirectory(prefix="compress-") as directory:
            places = [Path(directory, name) for name in ("model", "unpruned")]
            for place in places:
                place.mkdir()
            artifact, unpruned_artifact = map(self._artifact, (model, unpruned), places)
            return self.host.first_ratio(artifact, unpruned_artifact, self.task, first)

    def _compiled(self, model: onnx.ModelProto, directory: Path) -> Build:
        artifact = self._artifact(model, directory)
        return Build(artifact, self.host.open(artifact, self.target))

    def _artifact(self, model: onnx.ModelProto, directory: Path) -> Artifact:
        backend = self.host.backend
        if self.precision == "int8":
            model = quantized(model, self.target.quantization)
        options = backend.default_options(self.target) if self.options is None else self.options
        return backend.compile(model, directory, options)

    def key(self) -> dict[str, Any]:
        """Return the key that measurements of one table share; in fp32 it does not depend on the form of int8."""
        flavour = asdict(self.target.quantization) if self.precision == "int8" else None
        return {
            "machine": self.host.fingerprint(),
            "target": [self.target.name, self.target.batch_sizes, flavour],
            "backend": self.host.backend.name,
            "options": None if self.options is None else dict(self.options),
            "precision": self.precision,
            "versions": versions(),
        }


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of layers, by their shape.

    Attributes:
        staircases: Staircase of each shape; shapes that there was no time for are left out.
        precision: Precision in which they were timed.
        source: Origin of the times: ``measured``, or ``estimated`` where the target is not at hand.
        seconds: Time that measuring took, in seconds; 0 where everything was cached.
    """

    staircases: Mapping[Shape, Staircase]
    precision: str
    source: str
    seconds: float = field(default=0.0, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return {
            "precision": self.precision,
            "source": self.source,
            "seconds": round(self.seconds, 3),
            "layers": [
                {**asdict(shape), **staircase.to_dict(), "shape": label(shape)}
                for shape, staircase in self.staircases.items()
            ],
        }


def label(shape: Shape) -> str:
    """Return a short name of a layer's shape: ``Conv 3x3 64→128 @14x14 /2``."""
    attributes = dict(shape.attributes)
    kernel = "x".join(map(str, attributes.get("kernel_shape", ())))
    strides = {size for size in attributes.get("strides", (1,)) if size > 1}
    return " ".join(
        part
        for part in (
            "depthwise" if shape.tied else "",
            shape.operator,
            kernel,
            f"{shape.inputs}→{shape.outputs}",
            f"@{'x'.join(map(str, shape.space))}" if shape.space else "",
            f"/{max(strides)}" if strides else "",
        )
        if part
    )


@dataclass(frozen=True)
class Wanted:
    """A shape to time.

    Attributes:
        shape: Shape of the layer.
        share: Approximate share of the whole network's latency; layers with the largest share are timed first.
        reads: Whether the number of its inputs can shrink.
        writes: Whether the number of its outputs can shrink.
    """

    shape: Shape
    share: float
    reads: bool = True
    writes: bool = True


def measure_table(wanted: Iterable[Wanted], bench: Bench, whole_ms: float) -> LatencyTable:
    """Time layers over their widths.

    It ends after about ``bench.seconds``: the layers with the largest shares come first, and slow ones are timed at
    fewer widths. What is cached is not timed again.

    Args:
        wanted: Shapes to time, each once.
        bench: Place and settings for timing.
        whole_ms: Latency of the whole network in milliseconds, to which the shares refer.

    Raises:
        CompressError: The back end runs no layer alone, or a layer cannot be quantized.
    """
    ordered = sorted(wanted, key=lambda request: -request.share)
    start = time.perf_counter()
    cache = _Cache(bench)
    staircases: dict[Shape, Staircase] = {}
    source = "measured"
    for number, request in enumerate(ordered):
        seconds_left = bench.seconds - (time.perf_counter() - start)
        cached = cache.find(request)
        if cached is None and seconds_left > 0:
            grid = _grid(request, seconds_left / (len(ordered) - number), whole_ms)
            cached = None if grid is None else _measured(request, *grid, bench)
            if cached is not None:
                cache.record(request, *cached)
        if cached is not None:
            staircases[request.shape], source = cached
    return LatencyTable(staircases, bench.precision, source, time.perf_counter() - start)


def _grid(request: Wanted, seconds: float, whole_ms: float) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the widths to time, as many as fit into these seconds and into memory; None where not even two do."""
    shape = request.shape
    full = shape.weights(shape.inputs, shape.outputs)
    for most in _MOST_WIDTHS:
        inputs = widths(shape.inputs, most) if request.reads and not shape.tied else (shape.inputs,)
        outputs = widths(shape.outputs, most) if request.writes else (shape.outputs,)
        weights = [shape.weights(*point) for point in points(inputs, outputs, tied=shape.tied)]
        calls = _CALLS * request.share * whole_ms / 1e3 * sum(weights) / full
        if sum(weights) <= _MOST_WEIGHTS and calls <= max(seconds, 0.5):
            return inputs, outputs
    return None


def _measured(
    request: Wanted, inputs: tuple[int, ...], outputs: tuple[int, ...], bench: Bench
) -> tuple[Staircase, str] | None:
    """Measure a probe's branches; None where the host cannot tell them apart."""
    where = points(inputs, outputs, tied=request.shape.tied)
    layers, source = bench.layers(probe(request.shape, where))
    # Whatever else the machine does can only add to a time.
    fastest = [
        min(times_at_point)
        for times_at_point in zip(*(milliseconds(run, len(where)) for run in layers), strict=True)
    ]
    times: dict[Point, float] = dict(zip(where, fastest, strict=True))
    if not all(times.values()):
        return None
    return staircase(inputs, outputs, times, tied=request.shape.tied), source


class _Cache:
    """Staircases on disk, a file for every machine, back end and precision."""

    def __init__(self, bench: Bench) -> None:
        self._path: Path | None = None
        self._entries: dict[str, Any] = {}
        if bench.cache is not None:
            key = json.dumps(bench.key(), sort_keys=True, default=str)
            self._path = bench.cache / f"latency-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"
            try:
                self._entries = content_as_written(self._path.read_bytes())
            except (OSError, ValueError):
                self._entries = {}  # None yet, or a damaged one: measured anew

    def find(self, request: Wanted) -> tuple[Staircase, str] | None:
        entry = self._entries.get(repr(request.shape), None)
        if entry is None or (entry["reads"], entry["writes"]) != (request.reads, request.writes):
            return None
        return Staircase.from_dict(entry), str(entry["source"])

    def record(self, request: Wanted, staircase: Staircase, source: str) -> None:
        entry = {**staircase.to_dict(), "source": source, "reads": request.reads, "writes": request.writes}
        self._entries[repr(request.shape)] = entry
        if self._path is not None:
            with written_safely(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
            with replaced_whole(self._path) as written:
                written.write_text(line_with_digest(self._entries), encoding="utf-8")
