"""Wall time of a search's builds on one, two and three nodes of a Ray cluster, where a build only sleeps.

All nodes run on this machine, and what sleeps needs no processor: so the figures show how builds are handed out and
what that costs, and no speed of several machines. ``python -m benchmarks run cluster [--builds 6] [--seconds 4]``
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks.results import record
from compress.api.options import OptimizeOptions
from compress.api.search_inputs import open_search
from compress.backends.base import Artifact
from compress.core.progress import Reporter
from compress.hosts.cluster import Cluster
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe, Step
from compress.search import cluster_builder
from compress.search.attempts import Attempts
from compress.search.run_directory import RunDirectory
from compress.testing.graphs import classifier, samples

#: Bytes of a node's object store: what is sent is small.
STORE_BYTES = 80_000_000


def sleeping(seconds: float, inputs: bytes, job: cluster_builder.Job) -> cluster_builder.Made:
    """Sleep in place of a build, and return a file that tells its recipe; it runs on a worker."""
    import ray

    time.sleep(seconds)
    content = job.recipe.identity.encode()
    sha256 = hashlib.sha256(content).hexdigest()
    artifact = Artifact(Path("model.onnx"), sha256, len(content), "onnxruntime", {})
    worker = ray.get_runtime_context().get_node_id()
    return cluster_builder.Made(worker, artifact, {}, {"model.onnx": sha256}, {"model.onnx": content})


def quick(recipe: Recipe) -> int | None:
    """Say of every recipe that none of its steps takes times."""
    return 0


def attempts_of(directory: Path) -> Attempts:
    """Return a search's attempts on a small network."""
    import numpy as np

    save_model(classifier(batch=8), directory / "model.onnx")
    np.savez(directory / "val.npz", x=samples(40), y=np.arange(40) % 3)
    options = OptimizeOptions.of({"data": directory / "val.npz", "target": "cpu"})
    opened = open_search(directory / "model.onnx", options, Reporter())
    inputs = opened.inputs
    return Attempts(
        inputs.network,
        inputs.task,
        opened.target,
        opened.host,
        opened.rivals,
        opened.limits,
        0,
        1,
        0.05,
        Reporter(),
    )


def wall_time(attempts: Attempts, address: str, warm: int, builds: int, directory: Path) -> tuple[float, int]:
    """Return the seconds from the first build handed out to the last one taken, and the number of builds."""
    recipes = [
        Recipe(f"build-{number}", (Step("prune", {"ratio": 0.01 * number}),))
        for number in range(warm + builds)
    ]
    taken: set[str] = set()
    run = RunDirectory(directory / "run", attempts.key())
    with (
        Cluster(address) as cluster,
        run,
        cluster_builder.ClusterBuilder(cluster, attempts, run, Reporter(), shared=False) as builder,
    ):
        start = time.perf_counter()
        for number, recipe in enumerate(recipes):
            if number == warm:  # the first ones start the workers' processes
                start = time.perf_counter()
                taken.clear()
            builder.expect(recipes[number:] if number >= warm else recipes[number:warm], [])
            place = directory / recipe.name
            place.mkdir()
            artifact = builder.build(recipe, attempts.context(recipe), place)
            taken.add(artifact.path.read_text())
        return time.perf_counter() - start, len(taken)


@click.command()
@click.option("--builds", default=6, show_default=True, help="Number of builds.")
@click.option("--seconds", default=4.0, show_default=True, help="Seconds that each sleeps.")
def main(builds: int, seconds: float) -> None:
    """Print the wall time on one, two and three nodes that make builds, beside the one that would measure."""
    from ray.cluster_utils import Cluster as Nodes

    def sleeps(inputs: bytes, job: cluster_builder.Job) -> cluster_builder.Made:
        return sleeping(seconds, inputs, job)

    cluster_builder.make = sleeps
    cluster_builder._timed_steps = quick
    rows: list[dict[str, Any]] = []
    tell: Callable[[str], None] = click.echo
    with tempfile.TemporaryDirectory(prefix="compress-") as scratch:
        attempts = attempts_of(Path(scratch))
        for count in (1, 2, 3):
            nodes = Nodes()
            try:
                nodes.add_node(num_cpus=1, object_store_memory=STORE_BYTES, include_dashboard=False)
                for _ in range(count):
                    nodes.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
                place = Path(scratch, f"nodes-{count}")
                place.mkdir()
                wall, made = wall_time(attempts, nodes.address, count, builds, place)
                rows.append({"nodes": count, "builds": made, "sleep_s": seconds, "wall_s": round(wall, 2)})
                tell(f"{count} nodes: {made} builds of {seconds:g} s each in {wall:.2f} s")
            finally:
                nodes.shutdown()
    record("cluster", rows)


if __name__ == "__main__":
    main()
