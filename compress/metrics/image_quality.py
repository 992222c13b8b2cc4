"""Image quality: nearness of each image to the wanted one, ``psnr`` and ``ssim``.

With R the range of values, and x, y the two images ::

    psnr   10 log₁₀(R² / mean (x - y)²) in decibels, over all pixels and channels
    ssim   mean over pixels and channels of
           (2 μx μy + c1)(2 σxy + c2) / ((μx² + μy² + c1)(σx² + σy² + c2)),  c1 = (0.01 R)², c2 = (0.03 R)²

with means and variances in a Gaussian window of 11×11 pixels and σ = 1.5, at every pixel where the window fits: Wang et
al., 'Image quality assessment: from error visibility to structural similarity', IEEE Transactions on Image Processing
13 (2004). Both are held against torchmetrics, which by default takes one PSNR of all images together (one mean square
error), and SSIM also at the edges, where it mirrors the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from compress.core.toml_schema import Field, Number, Text
from compress.errors import MetricError
from compress.metrics.metric import Array, Metric, Values, finite, of_first_output, required_targets
from compress.metrics.options import NamedMetric

#: Equal images have no finite ratio; none counts for more than this.
MOST_DECIBELS = 100.0

_WINDOW, _SIGMA = 11, 1.5


def psnr(data_range: float = 1.0) -> Metric:
    """Return the peak signal-to-noise ratio of each image in decibels, at most 100; the figure is their mean.

    The first output and the targets have one shape.

    Args:
        data_range: Difference of the largest and smallest value that a pixel can have, such as 1 or 255.
    """
    name = "psnr"

    def per_sample(
        outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
    ) -> Values:
        output, target = _images(name, outputs[0], targets, data_range)
        error = np.mean((output - target).reshape(len(output), -1) ** 2, axis=1)
        least = data_range**2 * 10 ** (-MOST_DECIBELS / 10)
        return finite(name, 10 * np.log10(data_range**2 / np.maximum(error, least)))

    metric = Metric(
        name,
        per_sample,
        "labels",
        right_or_wrong=False,
        higher_is_better=True,
        unit="",
    )
    return of_first_output(metric)


def ssim(data_range: float = 1.0, channels: str | None = None) -> Metric:
    """Return the structural similarity of each image, from -1 to 1; the figure is the mean over images.

    The first output and the targets have one shape: ``(n, height, width)``, or with channels before or after these.

    Args:
        data_range: Difference of the largest and smallest value that a pixel can have, such as 1 or 255.
        channels: Position of the channels, ``first`` or ``last``; None takes the shorter of the two axes, and first of
            equals.
    """
    name = "ssim"

    def per_sample(
        outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
    ) -> Values:
        pair = _images(name, outputs[0], targets, data_range)
        output, target = (_channels_first(name, image, channels) for image in pair)
        return finite(
            name, np.array([_similarity(x, y, data_range) for x, y in zip(output, target, strict=True)])
        )

    metric = Metric(
        name,
        per_sample,
        "labels",
        right_or_wrong=False,
        higher_is_better=True,
        unit="",
        span=(-1.0, 1.0),
    )
    return of_first_output(metric)


_RANGE: dict[str, Field] = {"data_range": Number("", 1e-6, 1e6)}

PSNR = NamedMetric(psnr, _RANGE)
SSIM = NamedMetric(ssim, {**_RANGE, "channels": Text(("first", "last"))})


def _images(name: str, output: Array, targets: Array | None, data_range: float) -> tuple[Values, Values]:
    target = required_targets(name, targets)
    if output.shape != target.shape or output.ndim < 3:
        raise MetricError(
            f"images in y of the first output's shape for {name}",
            f"an output {list(output.shape[1:])} and y: {list(target.shape[1:])} a sample",
            "give the wanted images as y",
        )
    pair = output.astype(np.float64), target.astype(np.float64)
    spread = np.ptp(pair[1]) if target.size else 0.0
    if spread > data_range * (1 + 1e-6):
        todo = f"say which values a pixel can have, for example {name}:data_range=255"
        raise MetricError(f"y within a range of {data_range:g} for {name}", f"a range of {spread:g}", todo)
    return pair


def _channels_first(name: str, images: Values, channels: str | None) -> Values:
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4:
        problem = f"a first output of {images.ndim} axes"
        raise MetricError(
            f"images [samples, channels, height, width] for {name}", problem, "choose another metric"
        )
    last = images.shape[3] < images.shape[1] if channels is None else channels == "last"
    images = images.transpose(0, 3, 1, 2) if last else images
    if min(images.shape[2:]) < _WINDOW:
        problem = f"{images.shape[2]}x{images.shape[3]}"
        raise MetricError(f"images of at least {_WINDOW}x{_WINDOW} pixels for {name}", problem, "take psnr")
    return images


def _similarity(x: Values, y: Values, data_range: float) -> float:
    """Return the structural similarity of two images, float64 ``(channels, height, width)``."""
    small = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y, square_x, square_y, product = (_smoothed(image) for image in (x, y, x * x, y * y, x * y))
    spread = square_x - mean_x**2 + square_y - mean_y**2
    joint = product - mean_x * mean_y
    above = (2 * mean_x * mean_y + small[0]) * (2 * joint + small[1])
    below = (mean_x**2 + mean_y**2 + small[0]) * (spread + small[1])
    return float(np.mean(above / below))


def _smoothed(image: Values) -> Values:
    """Return Gaussian means where the window fits, float64 ``(channels, height - 10, width - 10)``."""
    distance = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-((distance / _SIGMA) ** 2) / 2)
    weights /= weights.sum()
    rows = sliding_window_view(image, _WINDOW, axis=1) @ weights
    smoothed: Values = sliding_window_view(rows, _WINDOW, axis=2) @ weights
    return smoothed
