"""Coverage as a record: what it says of a build, and the JSON that profiles of every version hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.bundle.profile_file import load_recorded
from compress.core.typed_records import check_types
from compress.records.coverage import Coverage

PROFILES = Path(__file__).parents[2] / "profiles"

GRAPH = {
    "int8": {"QLinearConv": 21},
    "float_compute": {"MatMul": 2},
    "float_cheap": {"Softmax": 1},
    "quantize": 1,
    "dequantize": 0,
    "int8_mac_share": None,
}
ENGINE = {
    "int8": {"CaskConvolution": 2},
    "float_compute": {},
    "float_cheap": {"Reformat": 1},
    "precisions": {"conv": "int8"},
    "dla": 1,
    "fell_back": [],
}


@pytest.mark.parametrize("data", [GRAPH, ENGINE])
def test_its_json_is_read_back_and_written_as_it_was(data: dict[str, Any]) -> None:
    read = Coverage.from_dict(json.loads(json.dumps(data)))
    check_types(read)
    assert read.to_dict() == data


def test_a_share_alone_is_kept() -> None:
    assert Coverage(int8_mac_share=0.5).to_dict()["int8_mac_share"] == 0.5
    assert "int8_mac_share" not in Coverage().to_dict()


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.json")), ids=lambda path: path.stem)
def test_profiles_of_earlier_versions_keep_their_coverage(path: Path) -> None:
    stored = json.loads(path.read_text(encoding="utf-8"))["coverage"]
    assert stored is not None
    coverage = load_recorded(path).coverage
    assert coverage is not None
    assert coverage.to_dict() == stored


@pytest.mark.parametrize(
    ("coverage", "left"),
    [
        (Coverage(int8={"QGemm": 3}), False),
        (Coverage(float_compute={"Conv": 1}), True),
        (Coverage(float_cheap={"Add": 1}), True),
    ],
)
def test_arithmetic_that_is_left_in_float(coverage: Coverage, left: bool) -> None:
    assert coverage.leaves_float is left


@pytest.mark.parametrize(
    ("operators", "matrices"),
    [
        ({"MatMul": 2, "Conv": 1}, True),
        ({"FusedGemm": 1, "MatMulNBits": 1, "LSTM": 1}, True),
        ({"MatMul": 1, "Conv": 1}, False),
        ({"MatMulLikeConv": 3}, False),  # a name that begins alike is no matrix product
        ({}, False),
    ],
)
def test_networks_made_of_matrix_products(operators: dict[str, int], matrices: bool) -> None:
    assert Coverage(float_compute=operators).is_made_of_matrices is matrices


@pytest.mark.parametrize(
    ("data", "fault"),
    [([], "'coverage' is a list"), ({"int8": {"QGemm": "many"}}, "int8"), ({"quantize": "one"}, "quantize")],
)
def test_coverage_of_other_types_is_refused(data: Any, fault: str) -> None:
    with pytest.raises(TypeError, match=fault):
        check_types(Coverage.from_dict(data))
