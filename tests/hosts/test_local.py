from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from compress.backends.base import Artifact, Session
from compress.backends.onnxruntime import OnnxRuntime
from compress.hosts import local
from compress.hosts.base import Build
from compress.hosts.local import LocalHost
from compress.profiling.energy import zones
from compress.profiling.latency import Budget
from compress.profiling.pinning import pinned_options
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


def test_builds_are_compared_on_sessions_bound_alike_and_opened_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, object]] = []

    class Recording(OnnxRuntime):
        def open(self, artifact: Artifact) -> Session:
            opened.append((artifact.path.parent.name, artifact.options.get("affinity")))
            return super().open(artifact)

    options = {"intra_op_threads": 2}
    builds = []
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
        artifact = OnnxRuntime().compile(classifier(), tmp_path / name, options)
        builds.append(Build(artifact, OnnxRuntime().open(artifact)))
    monkeypatch.setattr(local, "load_backend", lambda name: Recording())
    (found,) = LocalHost(OnnxRuntime(), Budget(seconds=0.05, least=8)).latency(
        builds[0], builds[1], None, replace(load_target("cpu"), batch_sizes=(1,))
    )
    assert found.ratio is not None
    assert [name for name, _ in opened[:4]] == ["own", "other", "other", "own"]
    bound = pinned_options(options).get("affinity")
    assert {str(affinity) for _, affinity in opened} == {str(bound)}
