from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.core.toml_schema import Flag, List, Number, Table, Text, check, parse_toml, read_toml
from compress.errors import RecipeError, TargetError

FIELDS = {
    "memory_gb": Number("GB", 0.5, 100, required=True),
    "cores": Number("", 1, 64, whole=True),
    "family": Text(("cpu", "jetson")),
    "here": Flag(),
    "jetpack": Text(),
    "batch_sizes": List(Number("samples", 1, 64, whole=True), shortest=2, longest=2),
    "peaks": Table({"fp32_tflops": Number("TFLOP/s", 0, 10, required=True)}),
}


def read(table: dict[str, Any], **options: Any) -> dict[str, Any]:
    return check(table, FIELDS, "board.toml", TargetError, **options)


def test_values_come_back_in_their_python_types():
    table = {"memory_gb": 8, "cores": 4, "family": "cpu", "here": True, "batch_sizes": [1, 8]}
    values = read(table | {"peaks": {"fp32_tflops": 2}})
    assert values == table | {"batch_sizes": (1, 8), "peaks": {"fp32_tflops": 2.0}}
    assert isinstance(values["memory_gb"], float)
    assert isinstance(values["cores"], int)


def test_absent_keys_stay_absent():
    assert read({"memory_gb": 8}) == {"memory_gb": 8.0}


@pytest.mark.parametrize(
    "table, expected",
    [
        ({"memory_mb": 8000}, ["memory_mb", "memory_gb", "in GB from 0.5 to 100", "board.toml"]),
        ({"memory_gb": "8 GB"}, ["memory_gb", "'8 GB'", "a number in GB"]),
        ({"memory_gb": 8000}, ["memory_gb", "8000", "from 0.5 to 100"]),
        ({"memory_gb": True}, ["memory_gb", "True"]),
        ({"memory_gb": math.nan}, ["memory_gb", "nan"]),
        ({"memory_gb": math.inf}, ["memory_gb", "inf"]),
        ({"memory_gb": 8, "cores": 2.5}, ["cores", "2.5", "a whole number"]),
        ({"memory_gb": 8, "family": "jetsn"}, ["family", "'jetsn'", "did you mean jetson?"]),
        ({"memory_gb": 8, "family": " "}, ["family", "' '"]),
        ({"memory_gb": 8, "jetpack": " "}, ["jetpack", "a text"]),
        ({"memory_gb": 8, "here": 1}, ["here", "true or false"]),
        ({"memory_gb": 8, "batch_sizes": [1]}, ["batch_sizes", "[1]", "2 items"]),
        ({"memory_gb": 8, "batch_sizes": [1, "8"]}, ["batch_sizes", "a whole number in samples"]),
        ({"memory_gb": 8, "peaks": 3}, ["peaks", "3", "fp32_tflops"]),
        ({"memory_gb": 8, "peaks": {}}, ["peaks.fp32_tflops", "no such key"]),
        ({"memory_gb": 8, "peaks": {"fp32_gflops": 3}}, ["peaks.fp32_gflops", "fp32_tflops", "TFLOP/s"]),
        ({"cores": 4}, ["memory_gb", "no such key", "GB"]),
        ({"memory_gb": 8, "zebra": 1}, ["zebra", "choose one of memory_gb"]),
    ],
)
def test_what_is_wrong_is_named_with_its_key_and_its_unit(table: dict[str, Any], expected: list[str]):
    with pytest.raises(TargetError) as caught:
        read(table)
    for part in expected:
        assert part in str(caught.value)


def test_a_partial_table_may_lack_required_keys_also_within_tables():
    assert read({"peaks": {}}, partial=True) == {"peaks": {}}


def test_the_error_is_of_the_class_that_was_asked_for():
    with pytest.raises(RecipeError):
        check({"a": 1}, {}, "recipe.toml", RecipeError)


def test_a_value_as_long_as_a_novel_is_shortened():
    with pytest.raises(TargetError) as caught:
        read({"memory_gb": "x" * 100_000})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"a = ", "Invalid value"),
        (b"\xff\xfe", "utf-8"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = " + b"1" * 5000, "digits"),
    ],
)
def test_what_is_not_toml_is_an_error_that_says_why(content: bytes, reason: str):
    with pytest.raises(TargetError, match=reason) as caught:
        parse_toml(content, "board.toml", TargetError)
    assert "board.toml" in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path):
    for path in (tmp_path / "absent.toml", tmp_path, Path("nul\0byte.toml")):
        with pytest.raises(TargetError):
            read_toml(path, TargetError)


def test_a_huge_file_is_refused(tmp_path: Path):
    path = tmp_path / "huge.toml"
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(TargetError, match="1 MB"):
        read_toml(path, TargetError)
    path.write_bytes(b"#" * 1_000_000)
    assert read_toml(path, TargetError) == {}


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
tables = st.dictionaries(st.text(max_size=5), leaves, max_size=3)
values = leaves | tables | st.lists(leaves | tables, max_size=3)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(list(FIELDS)) | st.text(max_size=8), values, max_size=6))
def test_any_table_is_read_or_refused(table: dict[str, Any]):
    with suppress(TargetError):
        assert read(table)["memory_gb"] == table["memory_gb"]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_content_is_read_or_refused(content: bytes):
    with suppress(TargetError):
        parse_toml(content, "board.toml", TargetError)
