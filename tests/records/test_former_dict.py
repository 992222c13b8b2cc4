"""What was a dict in an earlier release can be read as one, with a warning, until all old names go."""

from __future__ import annotations

import warnings

import pytest

from compress.core import moved
from compress.records.coverage import Coverage
from compress.records.former_dict import GONE_IN, FormerDict
from compress.records.layer_time import LayerTime

COVERAGE = Coverage(int8={"QLinearConv": 21}, quantize=1, dequantize=0)
LAYER = LayerTime("conv1", "Conv", ms=0.5, source="measured")


@pytest.mark.parametrize(
    ("record", "key", "value", "lacks"),
    [(COVERAGE, "int8", {"QLinearConv": 21}, "dla"), (LAYER, "ms", 0.5, "macs")],
)
def test_it_is_read_as_the_dict_that_it_was(record: FormerDict, key: str, value: object, lacks: str) -> None:
    """Each warning names the line of the caller."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert record[key] == record.get(key) == value
        assert record.get(lacks, 3) == 3
        assert key in record
        assert lacks not in record
        assert list(record) == list(record.to_dict())
    assert {(each.category, each.filename) for each in told} == {(DeprecationWarning, __file__)}
    assert len(told) == 6
    assert f"to_dict(); what is left of the dict goes in compress {GONE_IN}" in str(told[0].message)
    with pytest.warns(DeprecationWarning, match="is no dict any more"), pytest.raises(KeyError):
        record[lacks]


def test_that_goes_with_the_other_old_names() -> None:
    assert moved.GONE_IN == GONE_IN
