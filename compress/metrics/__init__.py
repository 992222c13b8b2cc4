"""Metrics by name: ``top-1``, ``top-k`` for any k, ``mean-error``, ``agreement``, and the user's own.

A package adds one under the entry point group ``compress.metrics``: the name is what ``--metric`` takes, the object a
function as :func:`compress.metrics.custom.from_callable` describes, or a :class:`Metric`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from compress.closest import closest
from compress.errors import MetricError
from compress.metrics.agreement import agreement
from compress.metrics.classification import top_k
from compress.metrics.custom import from_callable
from compress.metrics.metric import Metric, drop_points
from compress.metrics.regression import mean_error
from compress.references import is_reference, resolve

__all__ = ["Metric", "drop_points", "load_metric"]

_GROUP = "compress.metrics"
_TOP_K = re.compile(r"top-([1-9]\d{0,5})")
_BY_NAME: dict[str, Callable[[], Metric]] = {"mean-error": mean_error, "agreement": agreement}


def load_metric(name: str | Callable[..., Any] | Metric) -> Metric:
    """The metric of a name, of ``package.module:callable``, or of a function ``fn(outputs, targets)``.

    Raises:
        MetricError: Nothing has that name, or the reference names no function.
    """
    if isinstance(name, Metric):
        return name
    if callable(name):
        return from_callable(name)
    if not isinstance(name, str):
        raise MetricError("a metric's name or a function", type(name).__name__, "give one of these")
    if ranked := _TOP_K.fullmatch(name):
        return top_k(int(ranked[1]))
    if name in _BY_NAME:
        return _BY_NAME[name]()
    if is_reference(name):
        return _wrapped(resolve(name, kind="a metric", error=MetricError), name)
    installed = entry_points(group=_GROUP)
    if name in installed.names:
        try:
            return _wrapped(installed[name].load(), name)
        except (ImportError, AttributeError) as error:
            raise MetricError(
                f"the installed metric '{name}'", str(error), "reinstall its package"
            ) from error
    names = ["top-1", "top-5", *_BY_NAME, *installed.names]
    todo = closest(name, names) or f"choose one of {', '.join(names)}, or give package.module:callable"
    raise MetricError("a known metric", f"'{name}'", todo)


def _wrapped(found: object, name: str) -> Metric:
    if isinstance(found, Metric):
        return found
    if not callable(found):
        raise MetricError(
            "a function fn(outputs, targets)", f"{type(found).__name__} at {name}", "name a function"
        )
    return from_callable(found, name)
