"""The accuracy drop of pruning before any training, on the calibration samples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx

from compress.core.tensor_spec import fixed_batch
from compress.errors import DataError
from compress.metrics.outcomes import OutcomeCollector, Outcomes, worst_drop
from compress.network.onnx_export import in_eval_mode
from compress.network.sample_axis import samples_first

if TYPE_CHECKING:
    from compress.data import Batch
    from compress.network.network import Network
    from compress.techniques.base import Context

_BATCH_SIZE = 64


class CalibrationJudge:
    """Compares pruned graphs with the network on the calibration data; the evaluation data is never read.

    Args:
        network: Network in its trainable form.
        context: Context, whose task holds the data and the metric.

    Attributes:
        samples: Number of samples to judge by.

    Raises:
        DataError: There are no samples, or too few for the network's fixed batch.
    """

    def __init__(self, network: Network, context: Context) -> None:
        assert network.graph is not None
        self._metrics = context.task.metrics
        self._names = [spec.name for spec in network.inputs]
        self._outputs = network.outputs
        fixed = fixed_batch(network.inputs)
        self._calibration, self._fixed = context.task.calibration, fixed
        self._originals: list[list[np.ndarray[Any, Any]]] | None = None
        if any(metric.needs == "reference" for metric in self._metrics):
            self._originals = [self._run(network.graph, batch) for batch in self._batches()]
        self._before = self._outcomes(network.graph)
        self.samples = len(self._before[0])
        if not self.samples:
            raise DataError(
                f"{fixed or 1} calibration samples or more, to judge a drop on",
                f"{len(self._calibration)}",
                "give --calibration-data, or say by --ratio or --latency how much goes",
            )

    def drop(self, graph: fx.GraphModule) -> float:
        """Return the accuracy drop of a graph against the network, in points; the worst of several outputs."""
        return worst_drop(self._outcomes(graph), self._before)

    def _outcomes(self, graph: fx.GraphModule) -> tuple[Outcomes, ...]:
        originals = repeat(None) if self._originals is None else self._originals
        collector = OutcomeCollector(self._metrics)
        for batch, original in zip(self._batches(), originals, strict=False):
            collector.add(self._run(graph, batch), batch.targets, original)
        return collector.outcomes()

    def _batches(self) -> Iterator[Batch]:
        for batch in self._calibration.batches(self._fixed or _BATCH_SIZE):
            # A network of fixed batch cannot take the smaller last one.
            if self._fixed is None or len(batch) == self._fixed:
                yield batch

    def _run(self, graph: fx.GraphModule, batch: Batch) -> list[np.ndarray[Any, Any]]:
        with in_eval_mode(graph), torch.no_grad():
            outputs = graph(*(torch.from_numpy(batch.inputs[name]) for name in self._names))
        outputs = outputs if isinstance(outputs, tuple | list) else (outputs,)
        return [
            samples_first(output.numpy(), spec, len(batch), len(batch))
            for spec, output in zip(self._outputs, outputs, strict=True)
        ]
