from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.backends.base import Artifact, Session
from compress.backends.onnxruntime import OnnxRuntime
from compress.data.task import Task, load_task
from compress.hosts import local
from compress.hosts.base import Build, Reference, Tuned
from compress.hosts.local import LocalHost
from compress.onnx_graph.files import save_model
from compress.profiling.energy import zones
from compress.profiling.latency import Budget
from compress.target.target import load_target
from compress.timing.settings import Compared
from tests.graphs import classifier, samples


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {"intra_op_threads": 1})
    with OnnxRuntime().open(artifact) as session:
        yield Build(artifact, session)


def test_layers_are_measured_where_the_runtime_has_a_profiler(build: Build) -> None:
    layers = LocalHost(OnnxRuntime()).layers(build, load_target("cpu"))
    assert {layer.source for layer in layers} == {"measured"}
    assert "Gemm" in {layer.operator for layer in layers}
    assert 0 < sum(layer.share for layer in layers) <= 1


def test_energy_is_told_where_a_counter_can_be_read_and_only_there(build: Build) -> None:
    found = LocalHost(OnnxRuntime()).energy(build, load_target("cpu"))
    assert (found is not None) == bool(zones())


def test_a_build_is_timed_against_the_fp32_that_is_fastest_at_each_batch_size(build: Build) -> None:
    target = replace(load_target("cpu"), batch_sizes=(1, 4))
    one_thread = replace(build.artifact, options={**build.artifact.options, "intra_op_threads": 1})
    reference = Reference(build, {1: one_thread})
    first, second = LocalHost(OnnxRuntime(), Budget(seconds=0.05)).latency(build, reference, None, target)
    assert (first.batch, second.batch) == (1, 4)
    assert first.ratio is not None
    assert second.ratio is not None
    assert first.reference_options == one_thread.options
    assert second.reference_options == build.artifact.options
    assert first.shapes == {"x": [1, 3, 8, 8]}


def test_a_build_is_tried_out_in_another_process(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[Artifact] = []

    def recorded(artifacts: list[Artifact], feeds: dict[int, Path]) -> Any:
        run.extend(artifacts)
        return workers(artifacts, feeds)

    workers = local.workers
    monkeypatch.setattr(local, "workers", recorded)
    LocalHost(OnnxRuntime()).try_out(build, load_target("cpu"), _task())
    assert run == [build.artifact]


def test_the_reference_is_the_users_own_file_or_faster(build: Build, tmp_path: Path) -> None:
    given = replace(build.artifact, path=save_model(classifier(), tmp_path / "own.onnx"))
    target = replace(load_target("cpu"), batch_sizes=(1, 2))
    tuned, fastest = LocalHost(OnnxRuntime()).reference(build.artifact, given, _task(), target, 1)
    assert set(fastest) == {1, 2}
    assert {each.path for each in fastest.values()} <= {given.path, build.artifact.path}
    assert tuned.artifact.path in (given.path, build.artifact.path)


def test_a_file_that_does_not_run_is_no_reference(build: Build, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"nothing")
    target = replace(load_target("cpu"), batch_sizes=(1, 2))
    given = replace(build.artifact, path=damaged)
    tuned, fastest = LocalHost(OnnxRuntime()).reference(build.artifact, given, _task(), target, 1)
    assert {each.path for each in fastest.values()} == {tuned.artifact.path} == {build.artifact.path}


def test_settings_are_limited_by_fp32_at_the_batch_sizes_that_do_not_decide(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One set of options is best for a sample; whether it may be taken depends on how slow fp32 is at 32."""
    fp32 = replace(build.artifact, options={**build.artifact.options, "intra_op_threads": 7})
    target = replace(load_target("cpu"), batch_sizes=(1, 32))

    def tuned(fp32_at_32: float) -> Tuned:
        def compare(contenders: list[Artifact], paths: object) -> Compared:
            assert contenders[-1] == fp32
            others = len(contenders) - 3
            alone, batched = [1.0, 0.5, *[1.0] * others, 2.0], [1.0, 1.8, *[1.0] * others, fp32_at_32]
            return Compared(tuple(contenders), {1: np.array(alone), 32: np.array(batched)})

        monkeypatch.setattr(local, "compare", compare)
        host = LocalHost(OnnxRuntime())
        return host.tune(build.artifact, _task(), target, None, fastest={1: fp32, 32: fp32})

    taken, refused = tuned(2.5), tuned(1.5)
    assert taken.artifact.options != build.artifact.options
    assert taken.costs == {1: 1.0, 32: 1.8}  # of its own options: fp32 is none of them
    assert refused.artifact.options == build.artifact.options


def test_no_thread_spins_in_this_process(build: Build) -> None:
    opened = []

    class Recording(OnnxRuntime):
        def open(self, artifact: Artifact) -> Session:
            opened.append(artifact.options["spinning"])
            return super().open(artifact)

    artifact = replace(build.artifact, options={**build.artifact.options, "spinning": True})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "load_backend", lambda name: Recording())
        LocalHost(OnnxRuntime()).open(artifact, load_target("cpu")).close()
    assert opened == [False]


def _task() -> Task:
    return load_task({"x": samples(40)})
