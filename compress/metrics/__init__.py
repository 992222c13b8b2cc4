"""Metrics by name, each with its settings, and the user's own.

    top-1, top-k              classes of images and the like
    f1, f1-macro, auc         several labels at once, rare classes, ranking
    map, map-50               boxes (settings: the task's detection options)
    miou                      class maps: ``miou:ignore=255``
    wer, cer                  transcripts: ``cer:blank=0``, ``wer:blank=0,alphabet=_ abc``
    mean-error, pearson, spearman    numbers
    psnr, ssim                images: ``psnr:data_range=255``
    embedding-cosine, retrieval-agreement    vectors against the original's: ``retrieval-agreement:k=10``
    perplexity, token-agreement      documents of a language model
    agreement                 with the original, without labels

A package adds one under the entry point group ``compress.metrics``: the name is what ``--metric`` takes, the object a
function as :func:`compress.metrics.custom.from_callable` describes, a :class:`Metric`, or a
:class:`~compress.metrics.options.NamedMetric` where it has settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from compress.core.moved import names_of
from compress.core.object_references import is_reference, resolve
from compress.core.registry import Registry, what
from compress.errors import MetricError
from compress.metrics.classification import top_k
from compress.metrics.custom import from_callable
from compress.metrics.detection_options import DetectionOptions
from compress.metrics.metric import Metric, drop_points
from compress.metrics.options import NamedMetric, checked_settings, split_settings

__all__ = ["METRICS", "Metric", "drop_points", "load_metric"]

_TOP_K = re.compile(r"top-([1-9]\d{0,5})")


def _problem(name: str, candidate: object) -> str | None:
    if _TOP_K.fullmatch(name) and name not in ("top-1", "top-5"):
        return "a name that is taken: top-k is built in for every k"
    return None if isinstance(candidate, Metric | NamedMetric) or callable(candidate) else what(candidate)


#: Every metric that has a name, beside top-k for any other k.
METRICS: Registry[NamedMetric | Metric | Callable[..., Any]] = Registry(
    "metric",
    "compress.metrics",
    {
        "top-1": "compress.metrics.classification:TOP_1",
        "top-5": "compress.metrics.classification:TOP_5",
        "mean-error": "compress.metrics.regression:MEAN_ERROR",
        "agreement": "compress.metrics.agreement:AGREEMENT",
        "miou": "compress.metrics.overlap:MIOU",
        "f1": "compress.metrics.overlap:F1",
        "f1-macro": "compress.metrics.overlap:F1_MACRO",
        "auc": "compress.metrics.ranking:AUC",
        "wer": "compress.metrics.error_rates:WER",
        "cer": "compress.metrics.error_rates:CER",
        "pearson": "compress.metrics.correlation:PEARSON",
        "spearman": "compress.metrics.correlation:SPEARMAN",
        "psnr": "compress.metrics.image_quality:PSNR",
        "ssim": "compress.metrics.image_quality:SSIM",
        "embedding-cosine": "compress.metrics.sentence_vectors:EMBEDDING_COSINE",
        "retrieval-agreement": "compress.metrics.sentence_vectors:RETRIEVAL_AGREEMENT",
        "perplexity": "compress.metrics.perplexity:PERPLEXITY",
        "token-agreement": "compress.metrics.perplexity:TOKEN_AGREEMENT",
        "map": "compress.metrics.mean_precision:MAP",
        "map-50": "compress.metrics.mean_precision:MAP_50",
    },
    wanted="a function fn(outputs, targets), a Metric or a NamedMetric",
    check=_problem,
    error=MetricError,
    also=", or give package.module:callable",
)


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
    plain, named_settings = split_settings(name)
    all_settings = {**named_settings, **settings}
    metric = _found(plain)
    if isinstance(metric, NamedMetric):
        return metric.with_settings(checked_settings(plain, metric.settings, all_settings), detections)
    if all_settings:
        raise MetricError(f"{plain} alone", f"settings {', '.join(all_settings)}", "leave them out")
    return metric if isinstance(metric, Metric) else from_callable(metric, plain)


def _found(name: str) -> NamedMetric | Metric | Callable[..., Any]:
    if name in METRICS:
        return METRICS.load(name)
    if ranked := _TOP_K.fullmatch(name):
        return NamedMetric(partial(top_k, int(ranked[1])), {})
    if not is_reference(name):
        METRICS.find(name)  # raises, with the nearest names
    resolved = resolve(name, kind="a metric", error=MetricError)
    if not isinstance(resolved, NamedMetric | Metric) and not callable(resolved):
        what = f"{type(resolved).__name__} at {name}"
        raise MetricError("a function fn(outputs, targets)", what, "name a function")
    return resolved


if not TYPE_CHECKING:  # names that have left; no type checker shall take any name for one
    __getattr__ = names_of(__name__, __name__)
