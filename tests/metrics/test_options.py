"""Metrics by name with settings, as text and in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics import load_metric


@pytest.mark.parametrize(
    "text, settings, name",
    [
        ("miou", {}, "miou"),
        ("miou:ignore=255", {}, "miou:ignore=255"),
        ("miou", {"ignore": 255}, "miou:ignore=255"),
        ("miou:ignore=254", {"ignore": 255}, "miou:ignore=255"),
        ("miou:axis=last,ignore=255", {}, "miou:ignore=255,axis=last"),
        ("psnr:data_range=2.5", {}, "psnr:data_range=2.5"),
        ("psnr", {"data_range": 2.5}, "psnr:data_range=2.5"),
        ("f1:threshold=0", {}, "f1:threshold=0"),
        ("cer:blank=0,alphabet=0123", {}, "cer:blank=0,alphabet=0123"),
        ("wer:blank=0,alphabet=_ab, c", {}, "wer:blank=0,alphabet=_ab, c"),
        ("cer:blank=last", {}, "cer:blank=last"),
        ("cer", {"blank": 3}, "cer:blank=3"),
    ],
)
def test_settings_are_part_of_the_name(text: str, settings: dict[str, Any], name: str) -> None:
    metric = load_metric(text, **settings)
    assert metric.name == name
    assert load_metric(metric.name).name == name


def test_the_name_outlives_the_fit_to_outputs() -> None:
    metric = load_metric("miou:ignore=255").fitted([TensorSpec("maps", "float32", ("batch", 3, 4, 4))])
    assert metric.name == "miou:ignore=255"
    assert metric.outputs == ("maps",)
    labels = np.full((1, 4, 4), 255)
    labels[0, 0, 0] = 1
    rows = metric.per_sample([np.zeros((1, 3, 4, 4))], labels, None)
    assert rows[0][:, 3].sum() == 1  # one pixel with a label


@pytest.mark.parametrize(
    "text, settings, message",
    [
        ("miou:ignored=255", {}, "did you mean ignore"),
        ("miou:ignore=x", {}, "ignore in the metric miou as a whole number"),
        ("miou:ignore=1.5", {}, "a whole number"),
        ("miou:axis=middle", {}, "one of first, last"),
        ("cer:blank=first", {}, "a class number, last or none"),
        ("cer:blank=-1", {}, "a class number, last or none"),
        ("f1-macro:threshold=1", {}, "it has no settings"),
        ("top-1:k=2", {}, "top-1 alone"),
        ("map:nms=false", {}, "map alone"),
        ("mio:ignore=255", {}, "did you mean miou"),
        ("top-1", {"k": 2}, "top-1 alone"),
        (load_metric("top-1"), {"k": 2}, "settings with the name"),
    ],
)
def test_wrong_settings_are_told(text: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        load_metric(text, **settings)


@pytest.mark.parametrize(
    "name", ["map", "map-50", "miou", "f1", "f1-macro", "auc", "pearson", "spearman", "ssim"]
)
def test_what_each_says_of_itself(name: str) -> None:
    metric = load_metric(name)
    assert metric.name == name
    assert metric.needs == "labels"
    assert metric.higher_is_better
    assert not metric.right_or_wrong
    assert metric.unit == ("" if name in ("pearson", "spearman", "ssim") else "%")
    assert (metric.span is not None) == (name == "ssim")


def test_error_rates_are_better_where_they_are_lower() -> None:
    assert not load_metric("wer").higher_is_better
    assert load_metric("psnr").higher_is_better


@pytest.mark.parametrize(
    "name", ["map", "miou", "f1", "f1-macro", "auc", "wer", "cer", "pearson", "spearman", "psnr", "ssim"]
)
def test_each_needs_targets(name: str) -> None:
    with pytest.raises(MetricError, match="data without y"):
        load_metric(name).per_sample([np.zeros((2, 3, 4, 4))], None, None)
