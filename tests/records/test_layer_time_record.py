"""The time of a layer as a record, and the JSON that profiles of every version hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.bundle.profile_file import load_recorded
from compress.core.typed_records import check_types
from compress.records.layer_time import LayerTime

PROFILES = Path(__file__).parents[2] / "profiles"

ESTIMATED = {
    "name": "conv1",
    "operator": "Conv+Relu",
    "kind": "convolution",
    "outputs": [["batch", 8, 8, 8]],
    "precision": "int8",
    "parameters": 224,
    "macs": 13824,
    "bytes": 1000,
    "ms": 0.03,
    "bound": "launch",
    "source": "estimated",
}
TRACED = {
    "name": "conv2",
    "operator": "Conv",
    "kind": "convolution",
    "outputs": [],
    "precision": "fp32",
    "macs": 10,
    "bytes": 0,
    "ms": 1.5,
    "share": 0.75,
    "bound": "compute",
    "roofline_share": None,
    "source": "measured",
}
ENGINE = {
    "name": "a",
    "operator": "unknown",
    "precision": "int8",
    "ms": 1.0,
    "share": 1.0,
    "source": "measured",
}


@pytest.mark.parametrize("data", [ESTIMATED, TRACED, ENGINE, {"name": "a", "operator": "Conv"}])
def test_its_json_is_read_back_and_written_as_it_was(data: dict[str, Any]) -> None:
    read = LayerTime.from_dict(json.loads(json.dumps(data)))
    check_types(read)
    assert read.to_dict() == data


def test_keys_of_a_later_version_are_passed_over() -> None:
    assert LayerTime.from_dict({**ENGINE, "stream": 1}).to_dict() == ENGINE


@pytest.mark.parametrize("data", [["conv"], {"name": "conv"}, {"operator": "Conv"}])
def test_what_is_no_layer_is_refused(data: Any) -> None:
    with pytest.raises(TypeError):
        LayerTime.from_dict(data)


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.json")), ids=lambda path: path.stem)
def test_profiles_of_earlier_versions_keep_their_layers(path: Path) -> None:
    stored = json.loads(path.read_text(encoding="utf-8")).get("layers", [])
    assert [layer.to_dict() for layer in load_recorded(path).layers] == stored
