"""Comparison of one layer with another form of it on the target; an estimate decides nothing.

One pair is decided, by interleaved calls and with an interval; another form may be any graph, and a whole network too.
What a layer takes at many widths is :mod:`compress.pruning.latency_table`'s, from a single call of all of them.
"""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.backends.base import Artifact
from compress.hosts.base import Build, Reference
from compress.records.profile import Source

if TYPE_CHECKING:
    import onnx

    from compress.hosts.base import Host
    from compress.target.target import Target

#: Time to compare a pair: a gain that takes longer to see is not worth having.
_SECONDS = 0.5


@dataclass(frozen=True)
class LayerPair:
    """Timing of a layer and of another form of it.

    Attributes:
        source: Origin of the times: ``measured`` on the target, or ``estimated``.
        batch: Number of samples in a call.
        ms: Median time of the other form alone, in milliseconds.
        ratio: Time of the other form over the layer's.
        interval: Confidence interval of the ratio, at 95 %; None where the ratio is estimated.
    """

    source: Source
    batch: int
    ms: float
    ratio: float
    interval: tuple[float, float] | None

    @property
    def faster(self) -> bool:
        """Whether the other form was measured to be faster, beyond noise."""
        return self.interval is not None and self.interval[1] < 1

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return {
            "source": self.source,
            "batch": self.batch,
            "ms": self.ms,
            "ratio": self.ratio,
            "interval": None if self.interval is None else list(self.interval),
        }


def layer_host(host: Host | None, target: Target) -> AbstractContextManager[Host]:
    """Open the host that times single layers: on this machine more briefly than whole builds.

    Args:
        host: Host that times builds; it is left open. None opens the target's.
        target: Target of the layers.
    """
    from compress.hosts import connect

    return connect(target, _SECONDS) if host is None or target.here else nullcontext(host)


def time_pair(
    layer: onnx.ModelProto,
    other: onnx.ModelProto,
    host: Host,
    target: Target,
    threads: int | None = None,
) -> LayerPair:
    """Time two forms of one layer on seeded noise, in turns.

    Args:
        layer: The layer in its present form.
        other: Another form of the layer, with the same inputs.
        host: Host that runs or estimates both.
        target: Target of the layers.
        threads: Number of threads of the runtime; None takes its default for the target.

    Raises:
        CompressError: One of the two does not run.
    """
    first = replace(target, batch_sizes=target.batch_sizes[:1])
    with ExitStack() as stack:
        stack.enter_context(host.exclusive())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compress-")))
        options = host.backend.default_options(target, threads)
        builds = []
        for name, model in (("layer", layer), ("other", other)):
            place = directory / name
            place.mkdir()
            artifact: Artifact = host.backend.compile(model, place, options)
            builds.append(Build(artifact, stack.enter_context(host.open(artifact, target))))
        latency = host.latency(builds[1], Reference(builds[0]), None, first)[0]
    assert latency.ratio is not None
    between = latency.ratio_interval
    measured = latency.source == "measured" and between is not None
    return LayerPair(
        source=latency.source,
        batch=latency.batch,
        ms=latency.p50_ms,
        ratio=latency.ratio,
        interval=(between.low, between.high) if measured and between is not None else None,
    )
