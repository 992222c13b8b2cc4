from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compress.backends.onnxruntime import OnnxRuntime
from compress.hosts.base import Build
from compress.hosts.local import LocalHost
from compress.profiling.energy import zones
from compress.target import load_target
from tests.graphs import classifier


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {"intra_op_threads": 1})
    with OnnxRuntime().open(artifact) as session:
        yield Build(artifact, session)


def test_layers_are_measured_where_the_runtime_has_a_profiler(build: Build) -> None:
    layers = LocalHost(OnnxRuntime()).layers(build, load_target("cpu"))
    assert {layer["source"] for layer in layers} == {"measured"}
    assert "Gemm" in {layer["operator"] for layer in layers}
    assert 0 < sum(layer["share"] for layer in layers) <= 1


def test_energy_is_told_where_a_counter_can_be_read_and_only_there(build: Build) -> None:
    found = LocalHost(OnnxRuntime()).energy_mj(build, load_target("cpu"))
    assert (found is not None) == bool(zones())
