"""Metrics by name, each with its settings, and the user's own.

    top-1, top-k              classes of images and the like
    f1, f1-macro, auc         several labels at once, rare classes, ranking
    map, map-50               boxes (settings: the task's detection options)
    miou                      class maps: ``miou:ignore=255``
    wer, cer                  transcripts: ``cer:blank=0``, ``wer:blank=0,alphabet=_ abc``
    mean-error, pearson, spearman    numbers
    psnr, ssim                images: ``psnr:data_range=255``
    agreement                 with the original, without labels

A package adds one under the entry point group ``compress.metrics``: the name is what ``--metric`` takes, the object a
function as :func:`compress.metrics.custom.from_callable` describes, or a :class:`Metric`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from compress.core.object_references import is_reference, resolve
from compress.core.suggestions import did_you_mean
from compress.errors import MetricError
from compress.metrics import correlation, error_rates, image_quality, mean_precision, overlap, ranking
from compress.metrics.agreement import agreement
from compress.metrics.classification import top_k
from compress.metrics.custom import from_callable
from compress.metrics.detection_options import DetectionOptions
from compress.metrics.metric import Metric, drop_points
from compress.metrics.options import NamedMetric, checked_settings, split_settings
from compress.metrics.regression import mean_error

__all__ = ["Metric", "drop_points", "load_metric"]

_GROUP = "compress.metrics"
_TOP_K = re.compile(r"top-([1-9]\d{0,5})")
_BY_NAME: dict[str, NamedMetric] = {
    "mean-error": NamedMetric(mean_error, {}),
    "agreement": NamedMetric(agreement, {}),
    **overlap.NAMED,
    **ranking.NAMED,
    **error_rates.NAMED,
    **correlation.NAMED,
    **image_quality.NAMED,
}
_DETECTORS = ("map", "map-50")


def load_metric(
    name: str | Callable[..., Any] | Metric, detections: DetectionOptions | None = None, **settings: Any
) -> Metric:
    """Load a metric by name, by ``package.module:callable``, or from a function ``fn(outputs, targets)``.

    Args:
        name: Name of the metric, which settings may follow: ``miou:ignore=255``; or a reference, or a function.
        detections: Options for reading a detector's outputs, for ``map`` and ``map-50``; None takes all defaults.
        settings: Settings by keyword, which win over those in the name.

    Raises:
        MetricError: No metric has that name, the reference names no function, or a setting is wrong.
    """
    if settings and not isinstance(name, str):
        raise MetricError("settings with the name of a metric", type(name).__name__, "leave the settings out")
    if isinstance(name, Metric):
        return name
    if callable(name):
        return from_callable(name)
    if not isinstance(name, str):
        raise MetricError("a metric's name or a function", type(name).__name__, "give one of these")
    plain, told = split_settings(name)
    if plain in _BY_NAME:
        named, given = _BY_NAME[plain], {**told, **settings}
        return named.with_settings(checked_settings(plain, named.settings, given))
    metric = _without_settings(plain, detections)
    if told or settings:
        raise MetricError(f"{plain} alone", f"settings {', '.join({**told, **settings})}", "leave them out")
    return metric


def _without_settings(name: str, detections: DetectionOptions | None) -> Metric:
    if name in _DETECTORS:
        return mean_precision.mean_average_precision(name, detections)
    if ranked := _TOP_K.fullmatch(name):
        return top_k(int(ranked[1]))
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
    names = ["top-1", "top-5", *_BY_NAME, *_DETECTORS, *installed.names]
    todo = did_you_mean(name, names) or f"choose one of {', '.join(names)}, or give package.module:callable"
    raise MetricError("a known metric", f"'{name}'", todo)


def _wrapped(found: object, name: str) -> Metric:
    if isinstance(found, Metric):
        return found
    if not callable(found):
        raise MetricError(
            "a function fn(outputs, targets)", f"{type(found).__name__} at {name}", "name a function"
        )
    return from_callable(found, name)
