"""A metric that the user wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compress.errors import MetricError
from compress.metrics.metric import Array, Metric, Values, finite

_FORM = "fn(outputs, targets) -> array (n,)"


def from_callable(function: Callable[..., Any], name: str | None = None) -> Metric:
    """Wrap ``fn(outputs, targets)``, which gives a number for each sample of a batch.

    ``outputs`` is a list with an array ``(n, …)`` for each output of the network, ``targets`` an array ``(n, …)``.
    Attributes of the function are read where they are set: ``higher_is_better`` (True), ``right_or_wrong`` (False;
    True promises that each value is 0 or 1) and ``unit``.

    Args:
        function: The metric.
        name: What to call it; by default the function's own name.
    """
    called = str(name or getattr(function, "__name__", type(function).__name__))
    right_or_wrong = bool(getattr(function, "right_or_wrong", False))

    def per_sample(
        outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
    ) -> Values:
        try:
            values = np.asarray(function(list(outputs), targets), dtype=np.float64)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise MetricError(
                f"{called}: {_FORM}", reason, "call it on a batch to see where it fails"
            ) from error
        if values.shape != (len(outputs[0]),):
            wanted = f"{called} to give one value a sample, shape ({len(outputs[0])},)"
            raise MetricError(wanted, f"shape {values.shape}", f"make it {_FORM}, not a mean")
        if right_or_wrong and not np.isin(values, (0.0, 1.0)).all():
            raise MetricError(f"0 or 1 from {called}", "other values", "unset its attribute right_or_wrong")
        return finite(called, values)

    return Metric(
        called,
        per_sample,
        "labels",
        right_or_wrong,
        bool(getattr(function, "higher_is_better", True)),
        str(getattr(function, "unit", "%" if right_or_wrong else "")),
    )
