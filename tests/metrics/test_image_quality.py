"""psnr and ssim, held against torchmetrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics import load_metric
from tests.metrics.left_out import figure, rows_of

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)


def _images(shape: tuple[int, ...] = (3, 2, 24, 17), data_range: float = 1.0) -> tuple[Array, Array]:
    wanted = RANDOM.uniform(0, data_range, shape)
    return np.clip(wanted + RANDOM.normal(0, 0.1 * data_range, shape), 0, data_range), wanted


@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_torchmetrics_says_the_same(data_range: float) -> None:
    functional, torch = pytest.importorskip("torchmetrics.functional.image"), pytest.importorskip("torch")
    output, wanted = _images(data_range=data_range)
    tensors = torch.from_numpy(output), torch.from_numpy(wanted)
    psnr, ssim = load_metric("psnr", data_range=data_range), load_metric("ssim", data_range=data_range)
    theirs = functional.peak_signal_noise_ratio(*tensors, data_range=data_range, dim=(1, 2, 3))
    assert figure(psnr, rows_of(psnr, output, wanted)) == pytest.approx(float(theirs))
    _, everywhere = functional.structural_similarity_index_measure(
        *tensors, data_range=data_range, return_full_image=True
    )
    inside = everywhere[..., 5:-5, 5:-5]  # torchmetrics mirrors the image at its edges and counts those too
    assert figure(ssim, rows_of(ssim, output, wanted)) == pytest.approx(float(inside.mean()), abs=1e-9)


def test_channels_may_come_last_or_not_at_all() -> None:
    output, wanted = _images((2, 3, 15, 16))
    ssim = load_metric("ssim")
    first = figure(ssim, rows_of(ssim, output, wanted))
    last = [each.transpose(0, 2, 3, 1) for each in (output, wanted)]
    assert figure(ssim, rows_of(ssim, *last)) == pytest.approx(first)
    assert figure(
        load_metric("ssim:channels=last"), rows_of(load_metric("ssim:channels=last"), *last)
    ) == pytest.approx(first)
    gray = [each[:, 0] for each in (output, wanted)]
    assert figure(ssim, rows_of(ssim, *gray)) == pytest.approx(
        figure(ssim, rows_of(ssim, output[:, :1], wanted[:, :1]))
    )


def test_equal_images_are_finite() -> None:
    _, wanted = _images()
    assert figure(load_metric("psnr"), rows_of(load_metric("psnr"), wanted, wanted)) == 100
    assert figure(load_metric("ssim"), rows_of(load_metric("ssim"), wanted, wanted)) == pytest.approx(1)


@pytest.mark.parametrize(
    "name, output, targets, message",
    [
        (
            "psnr",
            np.zeros((2, 3, 12, 12)),
            np.zeros((2, 1, 12, 12)),
            "images in y of the first output's shape",
        ),
        ("psnr", np.zeros((2, 3)), np.zeros((2, 3)), "images in y"),
        ("psnr", np.zeros((2, 12, 12)), np.arange(288).reshape(2, 12, 12), "psnr:data_range=255"),
        ("ssim", np.zeros((2, 1, 10, 12)), np.zeros((2, 1, 10, 12)), "at least 11x11 pixels"),
        ("ssim", np.zeros((2, 1, 1, 12, 12)), np.zeros((2, 1, 1, 12, 12)), "images .* for ssim"),
        ("psnr", np.full((2, 12, 12), np.nan), np.zeros((2, 12, 12)), "a finite psnr"),
    ],
)
def test_what_cannot_be_compared_is_told(name: str, output: Array, targets: Array, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        load_metric(name).per_sample([output], targets, None)


def test_the_output_is_named() -> None:
    for name in ("psnr", "ssim"):
        assert load_metric(name).fitted([TensorSpec("image", "float32", ("batch", 3, 8, 8))]).outputs == (
            "image",
        )
