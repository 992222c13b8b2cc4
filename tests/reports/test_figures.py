"""Figures as people read them."""

from __future__ import annotations

import pytest

from compress.reports.figures import digits, size_text


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.012345, "0.0123"), (99.94, "99.9"), (99.97, "100"), (999.6, "1000"), (1234.5, "1234")],
)
def test_three_digits_and_no_exponent(value: float, told: str) -> None:
    assert digits(value) == told


@pytest.mark.parametrize(
    ("size_bytes", "told"),
    [(0, "0 B"), (999, "999 B"), (999_999, "1 MB"), (31_837, "31.8 kB"), (2.5e12, "2500 GB")],
)
def test_sizes_never_read_a_thousand_of_a_unit(size_bytes: float, told: str) -> None:
    assert size_text(size_bytes) == told
