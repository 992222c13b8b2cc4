"""Every key of a manifest with another type, or without it: read, or refused in a line, by all that believe it."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import compress
from compress.api.predict import _image_options
from compress.bundle.bundle import load_bundle
from compress.errors import CompressError
from compress.gate.subject import load_subject
from compress.records.schemas import schema_text
from compress.records.schemas.checking import fault_in
from compress.reports.html import page
from compress.reports.markdown import report
from compress.reports.run import Run, run_of
from tests.graphs import classifier
from tests.records import resealed

_REMOVED = object()
OTHERS = (_REMOVED, None, "text", 7, [None], {"a": None})
#: Mappings whose entries are alike; one of them is enough.
_ALIKE = (
    ("files",),
    ("versions",),
    ("options",),
    ("target", "sources"),
    ("target", "peaks"),
    ("target", "quantization"),
)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("forms")
    onnx.save(classifier(), str(place / "net.onnx"))
    draw = np.random.default_rng(0)
    shape = [each.dim_value for each in classifier().graph.input[0].type.tensor_type.shape.dim][1:]
    data = (draw.standard_normal((60, *shape)).astype(np.float32), draw.integers(0, 2, 60))
    compress.optimize(
        place / "net.onnx", data=data, out=place / "build", backends=["onnxruntime"], seconds=0.02, max_drop=100,
        recipes=[],
    )  # fmt: skip
    return place / "build"


def _places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every key and every first entry of a list, down to the leaves."""
    if place:
        yield place
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*place, key))
            if place in _ALIKE:
                break
    elif isinstance(value, list) and value:
        yield from _places(value[0], (*place, 0))


def _changed(manifest: dict[str, Any], place: tuple[str | int, ...], other: Any) -> dict[str, Any]:
    changed = copy.deepcopy(manifest)
    inner: Any = changed
    for key in place[:-1]:
        inner = inner[key]
    if other is _REMOVED:
        del inner[place[-1]]
    else:
        inner[place[-1]] = other
    return changed


def _believed(build: Path) -> None:
    """Everything that reads a manifest."""
    with load_bundle(build) as bundle:
        uses = (
            lambda: (bundle.network, bundle.states, bundle.kinds),
            lambda: _reported(run_of(bundle)),
            lambda: load_subject(bundle),
            lambda: _image_options(Path("a.png"), bundle),
        )
        for use in uses:
            with suppress(CompressError):
                use()


def _reported(run: Run) -> None:
    assert page(run)
    assert report(dict(run.manifest), run.choice, run.candidates)


def test_what_the_schema_lets_through_is_read_or_refused_by_all(build: Path, tmp_path: Path) -> None:
    manifest = json.loads((build / "manifest.json").read_text(encoding="utf-8"))
    other = tmp_path / "build"
    shutil.copytree(build, other)
    _believed(other)
    wrong, passed = [], 0
    for place in _places(manifest):
        for value in OTHERS:
            changed = _changed(manifest, place, value)
            if fault_in(changed, "manifest") is not None:
                continue  # load_bundle refuses it in a line
            passed += 1
            (other / "manifest.json").write_text(json.dumps(changed), encoding="utf-8")
            resealed(other)
            try:
                with suppress(CompressError):
                    _believed(other)
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                wrong.append((place, "removed" if value is _REMOVED else value, repr(error)))
    assert passed > 100
    assert not wrong


def test_the_schema_describes_every_key_that_is_written(build: Path) -> None:
    schema = json.loads(schema_text("manifest"))
    manifest = json.loads((build / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest) <= set(schema["properties"])
    assert set(manifest["data"]) <= set(schema["properties"]["data"]["properties"])
