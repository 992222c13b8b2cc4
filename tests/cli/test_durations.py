"""Values of options that several commands share."""

from __future__ import annotations

import click
import pytest

from compress.cli.generated import Duration
from compress.core.options import Option

DURATION = Duration(Option("Time", low=0, above=True, high=31_536_000))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), (" 10m ", 600)]
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "0m", "-1s", "nan", "infm", "inf", "10 minutes", "1d", "5mm", "9000h"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)
