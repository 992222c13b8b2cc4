"""Searches on a real Ray cluster of several nodes on this machine; no time here is one of several machines."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import optimize
from compress.api.options import OptimizeOptions
from compress.api.search_inputs import open_search
from compress.backends.trtexec import DEFAULTS
from compress.core.progress import Reporter
from compress.errors import UnavailableError
from compress.hosts import cluster as cluster_of_machines
from compress.hosts.cluster import Cluster
from compress.onnx_graph.files import save_model, sha256_of
from compress.recipe import Recipe, Step
from compress.search import cluster_builder
from compress.search.attempts import Attempts
from compress.search.builders import BuilderHere
from compress.search.run_directory import RunDirectory
from tests.graphs import classifier, samples
from tests.hosts.standin_board import start

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

STORE_BYTES = 80_000_000


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The head's node alone, on which the search runs; tests add others."""
    from ray.cluster_utils import Cluster as Nodes

    for name in ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "0")
    made = Nodes()
    made.add_node(num_cpus=1, object_store_memory=STORE_BYTES, include_dashboard=False)
    yield made
    if ray.is_initialized():
        ray.shutdown()
    made.shutdown()


def added(cluster: Any, **more: Any) -> Any:
    return cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, **more)


class Notes(Reporter):
    """Keeps what a person is told, and may act when a candidate begins."""

    def __init__(self, begins: Callable[[Recipe], None] = lambda _: None) -> None:
        self.notes: list[str] = []
        self._begins = begins

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, recipe: Recipe) -> None:
        self._begins(recipe)

    def about(self, word: str) -> list[str]:
        return [note for note in self.notes if word in note]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    save_model(classifier(batch=8), directory / "model.onnx")
    np.savez(directory / "val.npz", x=samples(40), y=np.arange(40) % 3)
    return directory


RECIPES = [
    Recipe(method, (Step("quantize", {"method": method}),)) for method in ("min-max", "percentile", "entropy")
]


def searched(files: Path, out: Path, cluster: Any = None, **more: Any) -> Any:
    settings = {"target": "cpu", "backends": ["onnxruntime"], "threads": 1, "recipes": RECIPES, **more}
    if cluster is not None:
        settings["cluster"] = cluster.address
    return optimize(
        files / "model.onnx",
        data=files / "val.npz",
        out=out,
        seconds=0.05,
        max_drop=100.0,
        **settings,
    )


def outcome(result: Any) -> list[tuple[str, str | None]]:
    """The name of each candidate, and what its file is."""
    return [
        (entry.recipe.name, None if entry.profile is None else entry.profile.artifact_sha256)
        for entry in result.candidates
    ]


@pytest.fixture
def attempts(files: Path) -> Attempts:
    """Attempts whose original is not measured, for tests of what workers make."""
    options = OptimizeOptions.of({"data": files / "val.npz", "target": "cpu", "backends": ["onnxruntime"]})
    opened = open_search(files / "model.onnx", options, Reporter())
    network, task = opened.inputs.network, opened.inputs.task
    return Attempts(
        network, task, opened.target, opened.host, opened.rivals, opened.limits, 0, 1, 0.05, Reporter()
    )


def made_by(builder: Any, attempts: Attempts, directory: Path) -> list[str]:
    """What the file of each recipe is, in their order."""
    made = []
    for recipe in RECIPES:
        place = directory / recipe.name
        place.mkdir(parents=True)
        context = attempts.context(recipe)
        artifact = builder.build(recipe, context, place)
        assert artifact.path.parent == place
        assert sha256_of(artifact.path) == artifact.sha256
        made.append(artifact.sha256)
        assert context.reports
    return made


@pytest.mark.parametrize("shared", [True, False])
def test_workers_make_the_same_files_and_a_killed_node_costs_only_its_task(
    cluster: Any, attempts: Attempts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    here = made_by(BuilderHere(attempts.built), attempts, tmp_path / "here")
    lost, kept = added(cluster), added(cluster)
    makers: list[str] = []
    take = cluster_builder.ClusterBuilder._take

    def watched(self: Any, found: Any, directory: Path) -> None:
        makers.append(found.worker)
        take(self, found, directory)

    monkeypatch.setattr(cluster_builder.ClusterBuilder, "_take", watched)
    reporter, run = Notes(), RunDirectory(tmp_path / "run", attempts.key())
    with (
        Cluster(cluster.address) as connected,
        run,
        cluster_builder.ClusterBuilder(connected, attempts, run, reporter, shared=shared) as builder,
    ):
        builder.expect(RECIPES, [])
        assert len(builder._jobs) == 2
        cluster.remove_node(lost, allow_graceful=False)
        assert made_by(builder, attempts, tmp_path / "there") == here
        assert not list((tmp_path / "run" / "made").glob("*/*"))
    assert set(makers) == {kept.node_id}
    assert len(makers) == len(RECIPES)
    assert reporter.notes == []


def test_a_cluster_makes_the_same_builds_and_a_killed_node_costs_only_its_task(
    cluster: Any, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = searched(files, tmp_path / "alone")
    lost, kept = added(cluster), added(cluster)
    made: list[str] = []
    take = cluster_builder.ClusterBuilder._take

    def watched(self: Any, found: Any, directory: Path) -> None:
        made.append(found.worker)
        take(self, found, directory)

    monkeypatch.setattr(cluster_builder.ClusterBuilder, "_take", watched)

    def kill(recipe: Recipe) -> None:
        if recipe.name == RECIPES[0].name:
            cluster.remove_node(lost, allow_graceful=False)

    reporter = Notes(kill)
    result = searched(files, tmp_path / "together", cluster, reporter=reporter)
    assert outcome(result) == outcome(alone)
    assert [worker for worker in made if worker != kept.node_id] == []
    assert len(made) == len(RECIPES)
    assert result.bundle is not None
    assert not (tmp_path / "together.partial").exists()
    assert reporter.about("worker") == []

    # Without storage that both see, through the object store.
    without = functools.partial(cluster_builder.ClusterBuilder, shared=False)
    monkeypatch.setattr(cluster_builder, "ClusterBuilder", without)
    through_store = searched(files, tmp_path / "store", cluster)
    assert outcome(through_store) == outcome(alone)
    assert len(made) == 2 * len(RECIPES)


def test_a_machine_with_another_version_is_named(
    cluster: Any, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(cluster)
    here = {**cluster_of_machines.description(), "compress-toolkit": "99.0"}
    monkeypatch.setattr(cluster_of_machines, "description", lambda: here)
    with pytest.raises(UnavailableError, match=r"as here: compress-toolkit 99.0; found 0\..*; install there"):
        searched(files, tmp_path / "build", cluster)
    assert not (tmp_path / "build.partial").exists()


def test_a_worker_whose_disk_is_full_is_left_out(
    cluster: Any, attempts: Attempts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, timeout=60, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system (root)")
    try:
        added(cluster, env_vars={"TMPDIR": str(small)})
        reporter, run = Notes(), RunDirectory(tmp_path / "run", attempts.key())
        with (
            Cluster(cluster.address) as connected,
            run,
            cluster_builder.ClusterBuilder(connected, attempts, run, reporter, shared=False) as builder,
        ):
            made = made_by(builder, attempts, tmp_path / "there")
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True, timeout=60)
    assert made == made_by(BuilderHere(attempts.built), attempts, tmp_path / "here")
    (note,) = reporter.about("makes no more builds")
    assert "its disk is full" in note


def test_a_board_is_reached_through_the_worker_beside_it(
    cluster: Any, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEFAULTS, "builds", 1)
    board = start(tmp_path / "board")
    try:
        monkeypatch.setitem(cluster_of_machines.os.environ, "COMPRESS_SSH", "false")  # none from here
        settings = {
            "target": "jetson",
            "host": "board",
            "backends": [],
            "threads": None,
            "recipes": RECIPES[:2],
        }
        with pytest.raises(
            UnavailableError, match="a worker for the target board: one that holds the resource"
        ):
            searched(files, tmp_path / "build", cluster, **settings)
        beside = {"env_vars": {"COMPRESS_SSH": board.ssh}, "resources": {"board:board": 1}}
        first = added(cluster, **beside)

        def move(recipe: Recipe) -> None:
            if recipe.name == RECIPES[1].name:
                added(cluster, **beside)
                cluster.remove_node(first, allow_graceful=False)

        result = searched(files, tmp_path / "build", cluster, reporter=Notes(move), **settings)
    finally:
        board.daemon.terminate()
        board.daemon.wait()
        shutil.rmtree(tmp_path / "board", ignore_errors=True)
    assert [entry.rejected for entry in result.candidates] == [None] * 3
    assert {entry.profile.fingerprint["board"] for entry in result.candidates} == {
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    }
    assert os.environ["COMPRESS_SSH"] == "false"
