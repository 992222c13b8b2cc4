"""Builds made by the workers of a Ray cluster, while this process measures one after another.

Which recipe is tried, and in which order, is decided here as ever; workers only make builds before they are asked for.
A build that fails on a worker is made here again before that counts, so that a worker's own trouble is no recipe's
verdict. Times are never taken on a worker: recipes that time layers are made here, but for the choice of
``prune``, which is made here and then trained there.
"""

from __future__ import annotations

import errno
import pickle
import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.progress import Reporter
from compress.core.replacing import replaced_whole
from compress.errors import CompressError, InternalError, OutputError
from compress.hosts.away import AwayHost
from compress.hosts.cluster import description, differing
from compress.network.packing import packed
from compress.onnx_graph.files import sha256_of
from compress.recipe import Recipe
from compress.search.builders import Builder, BuilderHere
from compress.techniques import apply_recipe, load_technique

if TYPE_CHECKING:
    from compress.backends.base import Artifact
    from compress.hosts.cluster import Cluster, Machine
    from compress.search.attempts import Attempts
    from compress.search.run_directory import RunDirectory
    from compress.techniques.base import Context

#: Processors of a worker that one build takes at the most.
_MOST_CPUS = 4
#: Times that a build is begun again where its worker is lost.
_RETRIES = 3
#: Seconds between two looks whether a worker is left.
_LOOK_S = 2.0
#: Looks without any worker after which a build is made here.
_MOST_LOOKS = 5
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: What techniques name among their needs that take times: those are of the target, and never of a worker.
_TIMES = "times of layers"


@dataclass(frozen=True)
class Made:
    """A build that a worker made, or why there is none.

    Attributes:
        worker: Ray's identity of the machine that made it.
        artifact: The build, its path relative to its directory; None where there is none.
        reports: Reports of the techniques.
        files: sha256 of each file of its directory, by its relative path.
        contents: The content of each; None where they lie in storage that both machines see.
        shared: Directory of these files in that storage; None where there is none.
        training: Content of what its steps kept, by relative path in the directory of training: checkpoints, that other
            recipes which begin alike go on from.
        trouble: Trouble of the worker itself, a clause; None where there is none.
        failure: Reason why the recipe has no build there; None where it has one.
    """

    worker: str
    artifact: Artifact | None = None
    reports: dict[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    contents: Mapping[str, bytes] | None = None
    shared: Path | None = None
    training: Mapping[str, bytes] = field(default_factory=dict)
    trouble: str | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Job:
    """The order for a build, as a worker gets it.

    Attributes:
        recipe: The recipe.
        network: Identity of the network that it is applied to.
        versions: Versions on the machine that asks of all that makes builds.
        kept: Content of files in the directory of training, by relative path: decisions by measuring, and checkpoints.
        shared: Directory for the build's files, in storage that both machines may see.
        token: Content of the file ``token`` in that directory, by which the worker knows it.
    """

    recipe: Recipe
    network: str
    versions: Mapping[str, str]
    kept: Mapping[str, bytes]
    shared: Path
    token: str


class ClusterBuilder(Builder):
    """Hands builds out to the workers of a cluster.

    Args:
        cluster: The cluster.
        attempts: The search's attempts, whose network, data and target workers get once the original was measured.
        run: Directory of the run.
        reporter: Receives notes on workers that cannot go on.
        shared: Whether to look for storage that both machines see; if not, files go through Ray's object store.
    """

    def __init__(
        self,
        cluster: Cluster,
        attempts: Attempts,
        run: RunDirectory,
        reporter: Reporter,
        *,
        shared: bool = True,
    ) -> None:
        self._cluster, self._attempts, self._run, self._reporter = cluster, attempts, run, reporter
        self._here = BuilderHere(attempts.built)
        self._shared, self._token = shared, uuid.uuid4().hex
        self._inputs: Any = None
        self._versions: Mapping[str, str] = {}
        self._jobs: dict[str, Any] = {}
        self._refused: dict[str, str] = {}
        self._cannot_travel: str | None = None
        self._reserved: Any = None
        self._training, self._storage = run.directory / "training", run.directory / "made"
        shutil.rmtree(self._storage, ignore_errors=True)  # left by a run that was killed
        self._storage.mkdir()
        (self._storage / "token").write_text(self._token)
        if attempts.target.here:
            self._reserve()
        if not self._workers():
            reporter.note(
                "the cluster has no machine but this one to make builds: this one makes and measures"
            )

    def expect(self, certain: Sequence[Recipe], possible: Sequence[Recipe]) -> None:
        """See :meth:`Builder.expect`: as many are begun as workers have room for."""
        if self._cannot_travel is not None:
            return
        workers = self._workers()
        room = sum(machine.cpus // _cpus(workers) for machine in workers)
        begun = (
            self._cluster.ray.wait(list(self._jobs.values()), num_returns=max(1, len(self._jobs)), timeout=0)[
                1
            ]
            if self._jobs
            else []
        )
        for recipe in (*certain, *possible):
            if len(begun) >= room:
                return
            timed = _timed_steps(recipe)
            if recipe.identity in self._jobs or recipe.origin == "network" or timed is None:
                continue
            if timed and recipe not in certain:
                continue  # its times are taken only where they are needed
            job = self._begun(recipe)
            if job is not None:
                begun.append(job)

    def build(self, recipe: Recipe, context: Context, directory: Path) -> Artifact:
        """See :meth:`Builder.build`."""
        made = None
        if _timed_steps(recipe) is not None and self._workers():
            made = self._made(recipe)
        if made is None or made.artifact is None:
            self._say_of(made)
            return self._here.build(recipe, context, directory)
        try:
            self._take(made, directory)
        except (OSError, InternalError) as error:
            self._reporter.note(
                f"{recipe.name} did not arrive whole from its worker ({error}): it is made here"
            )
            shutil.rmtree(directory)
            directory.mkdir()
            return self._here.build(recipe, context, directory)
        context.reports.update(made.reports)
        return replace(made.artifact, path=directory / made.artifact.path)

    def close(self) -> None:
        """See :meth:`Builder.close`."""
        ray = self._cluster.ray
        if ray.is_initialized():
            for job in self._jobs.values():
                ray.cancel(job, force=True)
            if self._reserved is not None:
                ray.kill(self._reserved)
        self._jobs, self._reserved, self._inputs = {}, None, None
        shutil.rmtree(self._storage, ignore_errors=True)

    def _reserve(self) -> None:
        """Take all processors of this machine from the cluster, since it measures: nothing else shall run here."""
        ray = self._cluster.ray
        (machine,) = (one for one in self._cluster.machines() if one.id == self._cluster.here)
        if not machine.cpus:
            return
        self._reserved = self._cluster.on(machine.id, Reserved, num_cpus=machine.cpus).remote()
        ready = self._reserved.hold.remote()
        if not ray.wait([ready], timeout=_LOOK_S)[0]:
            self._reporter.stage(
                "waiting until other tasks of the cluster leave this machine, which measures"
            )
        ray.get(ready)

    def _workers(self) -> list[Machine]:
        """Return the machines that make builds: all where nothing is measured here, else all but this one."""
        measures = self._cluster.here if self._attempts.target.here else None
        return [
            machine
            for machine in self._cluster.machines()
            if machine.cpus and machine.id != measures and machine.id not in self._refused
        ]

    def _begun(self, recipe: Recipe) -> Any:
        """Hand a recipe out; None where it cannot be."""
        if self._inputs is None and not self._send():
            return None
        try:
            kept = self._kept(recipe)
        except CompressError:
            return None  # it fails again where it is made here, and that counts
        shared = self._storage / f"{recipe.identity}-{uuid.uuid4().hex[:8]}"
        job = Job(
            recipe,
            self._attempts.network.identity,
            self._versions,
            kept,
            shared if self._shared else Path("/nonexistent"),
            self._token,
        )
        workers = self._workers()
        options: dict[str, Any] = {"num_cpus": _cpus(workers), "max_retries": _RETRIES}
        if any(machine.gpus for machine in workers) and _trains(recipe):
            options["num_gpus"] = 1
        if self._refused:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(self._refused)})"}
        task = self._cluster.ray.remote(make).options(scheduling_strategy="SPREAD", **options)
        self._jobs[recipe.identity] = task.remote(self._inputs, job)
        return self._jobs[recipe.identity]

    def _send(self) -> bool:
        """Put what every build needs where workers find it; whether that worked."""
        self._versions = description()
        away = replace(self._attempts, host=AwayHost(self._attempts.host), reporter=Reporter(), cache=None)
        try:
            self._inputs = self._cluster.ray.put(packed(away))
        except Exception as error:  # noqa: BLE001 - whatever the user's objects raise when they are packed
            self._cannot_travel = f"{type(error).__name__}: {error}"
            self._reporter.note(
                f"the network or its data cannot be sent to other machines ({self._cannot_travel}): "
                "builds are made here"
            )
            return False
        return True

    def _kept(self, recipe: Recipe) -> dict[str, bytes]:
        """Return what is kept of the recipe's steps; those up to the last timed one are applied here and now."""
        count, kept = _timed_steps(recipe), self._training
        if count:
            context = replace(
                self._attempts.context(recipe, kept, self._run.directory / "latency"), steps=None
            )
            apply_recipe(replace(recipe, steps=recipe.steps[:count]), self._attempts.network, context)
        return _files_of(kept, recipe)

    def _made(self, recipe: Recipe) -> Made | None:
        """Wait for a build; None where no worker makes it."""
        ray, looks = self._cluster.ray, 0
        job = self._jobs.pop(recipe.identity, None) or self._begun(recipe)
        self._jobs.pop(recipe.identity, None)
        while job is not None:
            self._reporter.step("made by a worker of the cluster")
            try:
                while not ray.wait([job], timeout=_LOOK_S)[0]:
                    looks = 0 if self._workers() else looks + 1
                    if looks >= _MOST_LOOKS:
                        self._reporter.note("no worker of the cluster is left: builds are made here")
                        ray.cancel(job, force=True)
                        return None
                made: Made = ray.get(job)
            except ray.exceptions.RayError as error:
                reason = str(error).strip().partition("\n")[0]
                self._reporter.note(f"{recipe.name} was lost with its worker ({reason}): it is made here")
                return None
            if made.trouble is None:
                return made
            self._refuse(made)
            job = self._begun(recipe) if self._workers() else None
            self._jobs.pop(recipe.identity, None)
        return None

    def _refuse(self, made: Made) -> None:
        names = {machine.id: machine.name for machine in self._cluster.machines()}
        self._refused[made.worker] = made.trouble or ""
        self._reporter.note(
            f"the worker {names.get(made.worker, made.worker[:8])} makes no more builds: {made.trouble}"
        )

    def _say_of(self, made: Made | None) -> None:
        if made is not None and made.failure is not None:
            self._reporter.note(f"made here again, to be sure, since a worker could not: {made.failure}")

    def _take(self, made: Made, directory: Path) -> None:
        """Move a build's files to where the run keeps them; each must be what the worker made.

        Raises:
            OSError: A file is not there.
            InternalError: A file is another one.
        """
        for name, sha256 in made.files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if made.shared is not None:
                shutil.move(made.shared / name, path)
            else:
                path.write_bytes((made.contents or {})[name])
            if sha256_of(path) != sha256:
                raise InternalError(f"{name} with sha256 {sha256[:12]}", "another", "report this as a defect")
        _write_below(self._training, made.training)


class Reserved:
    """Holds processors of a machine, and does nothing."""

    def hold(self) -> bool:
        """Return once the processors are held."""
        return True


def make(inputs: bytes, job: Job) -> Made:
    """Make a build; runs on a worker.

    Args:
        inputs: The search's attempts, packed; their host is elsewhere.
        job: The build to make.
    """
    import ray

    worker: str = ray.get_runtime_context().get_node_id()
    difference = differing(dict(job.versions))
    if difference is not None:
        return Made(worker, trouble=f"it has {difference[0]}, and {difference[1]} is wanted")
    try:
        attempts: Attempts = pickle.loads(inputs)  # of this cluster's own driver
        if attempts.network.identity != job.network:
            return Made(worker, failure=f"{job.recipe.name}: the network has changed on its way")
        with tempfile.TemporaryDirectory(prefix="compress-") as scratch:
            training = Path(scratch, "training")
            _write_below(training, job.kept)
            shares = _is_shared(job)
            directory = job.shared if shares else Path(scratch, "build")
            directory.mkdir(parents=True)
            context = attempts.context(job.recipe, training, Path(scratch, "latency"))
            artifact = attempts.built(job.recipe, context, directory)
            made = _packed(worker, artifact, context.reports, directory, shares)
            new = {
                name: content
                for name, content in _files_of(training, job.recipe).items()
                if job.kept.get(name) != content
            }
            return replace(made, training=new)
    except (OSError, OutputError) as error:
        return Made(worker, trouble=_trouble(error))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a recipe is told to who asked
        text = str(error) if isinstance(error, CompressError) else f"{type(error).__name__}: {error}"
        return Made(worker, failure=f"{job.recipe.name}: {text}")


def _packed(worker: str, artifact: Artifact, reports: dict[str, Any], directory: Path, shares: bool) -> Made:
    paths = {
        str(path.relative_to(directory)): path for path in sorted(directory.rglob("*")) if path.is_file()
    }
    files = {name: sha256_of(path) for name, path in paths.items()}
    contents = None if shares else {name: path.read_bytes() for name, path in paths.items()}
    relative = replace(artifact, path=artifact.path.relative_to(directory))
    return Made(worker, relative, reports, files, contents, directory if shares else None)


def _files_of(training: Path, recipe: Recipe) -> dict[str, bytes]:
    """Return the content of what steps of a recipe kept in a directory of training, by relative path."""
    places = [
        training / Recipe("", recipe.steps[:count]).identity for count in range(1, len(recipe.steps) + 1)
    ]
    paths = [path for place in places for path in sorted(place.rglob("*")) if path.is_file()]
    return {str(path.relative_to(training)): path.read_bytes() for path in paths}


def _write_below(directory: Path, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_whole(path) as written:
            written.write_bytes(content)


def _is_shared(job: Job) -> bool:
    """Whether this machine sees the directory of the run: the token in it is the one that was told."""
    try:
        return (job.shared.parent / "token").read_text() == job.token
    except OSError:
        return False


def _trouble(error: Exception) -> str:
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno in _FULL:
        return f"its disk is full ({cause.filename or tempfile.gettempdir()})"
    return f"it cannot read or write ({error})"


def _timed_steps(recipe: Recipe) -> int | None:
    """Return how many of the first steps have to be applied where builds are measured; None for a whole recipe."""
    techniques = [load_technique(step) for step in recipe.steps]
    timed = [
        position for position, technique in enumerate(techniques, start=1) if _TIMES in technique.needs()
    ]
    if not timed:
        return 0
    quick = not any(technique.takes_minutes() for technique in techniques[: timed[-1] - 1])
    kept = all(recipe.steps[position - 1].technique == "prune" for position in timed)
    return timed[-1] if quick and kept else None


def _cpus(workers: Sequence[Machine]) -> int:
    """Return how many processors one build takes: no more than every worker has."""
    return min([_MOST_CPUS, *(machine.cpus for machine in workers)])


def _trains(recipe: Recipe) -> bool:
    return any("training data" in load_technique(step).needs() for step in recipe.steps)
