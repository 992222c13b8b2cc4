"""Metrics that the user wrote."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from compress.core.user_code import users_code
from compress.errors import MetricError
from compress.metrics.metric import Array, Metric, Values, finite

_FORM = "fn(outputs, targets) -> array (n,)"


def from_callable(function: Callable[..., Any], name: str | None = None) -> Metric:
    """Wrap ``fn(outputs, targets)``, which returns a number for each sample of a batch.

    ``outputs`` is a list with an array ``(n, …)`` for each output of the network, ``targets`` an array ``(n, …)``. For
    data without targets, ``targets`` is the list of the original network's outputs. A function with a parameter named
    ``original`` is given that list under this name, beside the targets. Attributes of the function are read where they
    are set: ``higher_is_better`` (True), ``right_or_wrong`` (False; True promises that each value is 0 or 1), ``unit``,
    and ``span``, the smallest and largest value that a sample can have (not known).

    Args:
        function: Function of the metric.
        name: Name of the metric; None takes the function's own name.
    """
    called = str(name or getattr(function, "__name__", type(function).__name__))
    right_or_wrong = bool(getattr(function, "right_or_wrong", False))
    takes_original = _takes_original(function)
    labelled = Metric(
        called,
        partial(_values, function, called, right_or_wrong, takes_original, False),
        "reference" if takes_original else "labels",
        right_or_wrong,
        bool(getattr(function, "higher_is_better", True)),
        str(getattr(function, "unit", "%" if right_or_wrong else "")),
        span=(0.0, 1.0) if right_or_wrong else getattr(function, "span", None),
        sequences=True,  # what it makes of a stream it knows itself
    )
    against = partial(_values, function, called, right_or_wrong, takes_original, True)
    return replace(labelled, unlabelled=replace(labelled, per_sample=against, needs="reference"))


def _takes_original(function: Callable[..., Any]) -> bool:
    try:
        return "original" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        return False


def _values(
    function: Callable[..., Any],
    called: str,
    right_or_wrong: bool,
    takes_original: bool,
    in_place_of_targets: bool,
    outputs: Sequence[Array],
    targets: Array | None,
    reference: Sequence[Array] | None = None,
) -> Values:
    original = None if reference is None else list(reference)
    originals = {"original": original} if takes_original else {}
    try:
        second = original if in_place_of_targets and not takes_original else targets
        with users_code():
            values = np.asarray(function(list(outputs), second, **originals), dtype=np.float64)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise MetricError(f"{called}: {_FORM}", reason, "call it on a batch to see where it fails") from error
    if values.shape != (len(outputs[0]),):
        wanted = f"{called} to give one value a sample, shape ({len(outputs[0])},)"
        raise MetricError(wanted, f"shape {values.shape}", f"make it {_FORM}, not a mean")
    if right_or_wrong and not np.isin(values, (0.0, 1.0)).all():
        raise MetricError(f"0 or 1 from {called}", "other values", "unset its attribute right_or_wrong")
    return finite(called, values)
