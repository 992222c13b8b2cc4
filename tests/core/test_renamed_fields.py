"""Old names of fields are taken and read, and warn; unknown names are errors as ever."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, replace

import pytest

from compress.core.renamed_fields import renamed_fields
from compress.metrics import Metric


@renamed_fields(before="now")
@dataclass(frozen=True)
class Renamed:
    other: int
    now: int | None = None


def test_an_old_name_is_taken_and_read_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match=r"'Renamed.before' is 'Renamed.now' now"):
        record = Renamed(1, before=2)
    assert record == Renamed(1, now=2)
    with pytest.warns(DeprecationWarning, match=r"goes in compress 0\.3"):
        assert record.before == 2


@pytest.mark.filterwarnings("error")
def test_the_new_name_is_used_without_a_word() -> None:
    record = replace(Renamed(1, now=2), other=3)
    assert (record.other, record.now) == (3, 2)
    assert pickle.loads(pickle.dumps(record)) == copy.copy(record) == record
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        record.unknown  # noqa: B018
    with pytest.raises(TypeError, match="unknown"):
        Renamed(1, unknown=2)


def test_metrics_of_other_packages_may_still_tell_their_figure_by_the_old_name() -> None:
    with pytest.warns(DeprecationWarning, match=r"Metric\.told"):
        metric = Metric("m", list, "labels", True, True, "%", told=len)
    assert metric.shown is len
