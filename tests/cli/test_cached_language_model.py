"""A language model with keys and values in int8 through `compress optimize`, to a bundle that writes text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compress.bundle.bundle import load_bundle
from compress.cli import main
from tests.language.documents import json_lines, sentences, small_model

pytest.importorskip("tokenizers")

RECIPE = """name = "cached"

[[technique]]
name = "weight_only"
algorithm = "rtn"
compute = "int8"

[[technique]]
name = "kv_cache"
"""


def test_a_bundle_with_an_int8_cache_writes_text(tmp_path: Path):
    small_model(tmp_path / "model")
    data = json_lines(tmp_path / "texts", sentences(40))
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    arguments = [
        "optimize",
        str(tmp_path / "model"),
        "--data",
        str(data),
        "--seconds",
        "0.02",
        "--threads",
        "1",
    ]
    # fp32 is larger than that, so that no time decides.
    arguments += ["--objective", "size", "--max-size", "0.3", "--max-drop", "20"]
    arguments += ["--recipe", str(tmp_path / "recipe.toml")]
    assert main([*arguments, "--out", str(tmp_path / "build")]) == 0
    with load_bundle(tmp_path / "build") as bundle:
        assert bundle.recipe.name == "cached"
        assert bundle.profile.accuracy is not None
        past = [spec for spec in bundle.profile.inputs if spec["name"].startswith("past_key_values")]
        assert {spec["dtype"] for spec in past} == {"int8"}
        pieces = list(bundle.generate("the old engineer", max_new_tokens=256))
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "build" / "run.py"), "the old engineer"],
        capture_output=True,
        check=True,
    )
    assert ran.stdout.decode("utf-8") == "".join(pieces) + "\n"
