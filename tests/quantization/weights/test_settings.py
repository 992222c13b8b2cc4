from __future__ import annotations

import pytest

from compress.errors import RecipeError
from compress.quantization.weights import ALGORITHMS, Settings


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_has_four_bits(algorithm):
    assert Settings(algorithm=algorithm).to_dict()["bits"] == 4


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "awk"},
        {"bits": 3},
        {"bits": True},
        {"bits": 4.0},
        {"group_size": 33},
        {"symmetric": "no"},
        {"symmetric": 0},
        {"compute": "float16"},
        {"samples": 0},
        {"samples": True},
        {"exclude_nodes": [3]},
        {"algorithm": "hqq", "bits": 8},
        {"algorithm": "hqq", "symmetric": True},
    ],
)
def test_wrong_settings(settings):
    with pytest.raises(RecipeError):
        Settings(**settings)


def test_lists_from_toml_become_tuples():
    assert Settings(exclude_nodes=["a", "b"]).exclude_nodes == ("a", "b")  # type: ignore[arg-type]
