"""A run of the search in MLflow: a run for the shipped build, and one below it for each other build.

Times that were estimated have names of their own: ``batch_1/estimated_p50_ms``. What was not measured is left out.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.core.installation import install_command
from compress.core.plain_text import plain
from compress.errors import UnavailableError, UsageError
from compress.records.profile import Profile
from compress.reports.figures_csv import figures_csv
from compress.reports.html import page
from compress.reports.run import CANDIDATES, Run
from compress.search.run_directory import Candidate

#: The environment variable with the address of the tracking server.
SERVER = "MLFLOW_TRACKING_URI"
#: Experiment that runs belong to, unless MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID names another.
EXPERIMENT = "compress"

_LONGEST = 500  # characters of a parameter or tag; older servers refuse longer ones
_FILES = ("manifest.json", "profile.json", "recipe.toml", "report.md", CANDIDATES)


@dataclass(frozen=True)
class Tracked:
    """A run that was written to MLflow.

    Attributes:
        server: Address of the tracking server, as MLFLOW_TRACKING_URI has it.
        experiment: MLflow's number of the experiment.
        run: MLflow's identity of the run of the shipped build.
    """

    server: str
    experiment: str
    run: str

    def __str__(self) -> str:
        shown = _without_password(self.server)
        if shown.startswith(("http://", "https://")):
            return f"{shown.rstrip('/')}/#/experiments/{self.experiment}/runs/{self.run}"
        return f"{shown}, run {self.run}"


def track(run: Run) -> Tracked:
    """Write a run to the server that MLFLOW_TRACKING_URI names.

    Args:
        run: The run of a bundle.

    Returns:
        Where it was written.

    Raises:
        UsageError: MLFLOW_TRACKING_URI is not set.
        UnavailableError: MLflow is not installed, or the server does not take the run. What it took before is marked as
            failed there.
    """
    server = os.environ.get(SERVER, "")
    if not server:
        raise UsageError(
            f"the address of the tracking server in {SERVER}",
            "none",
            f"set it: export {SERVER}=http://localhost:5000",
        )
    client, begun = _client(server), list[str]()
    with _few_retries():
        try:
            experiment = _experiment(client)
            shipped = run.choice.candidate
            assert shipped is not None
            top = _write(client, experiment, run, shipped, begun, None)
            for entry in run.candidates:
                if entry is not shipped:
                    _write(client, experiment, run, entry, begun, top)
            with _artifacts(run) as folder:
                client.log_artifacts(top, str(folder))
            for run_id in reversed(begun):
                client.set_terminated(run_id, "FINISHED")
        except Exception as error:
            _mark_failed(client, begun)
            shown = _without_password(server)
            first = next(iter(str(error).replace(server, shown).splitlines()), "") or type(error).__name__
            raise UnavailableError(
                f"an MLflow server that takes the run, at {shown}",
                plain(first)[:_LONGEST],
                f"check the server and {SERVER}",
            ) from error
    return Tracked(server, experiment, top)


def metrics_of(profile: Profile) -> dict[str, float]:
    """Return the figures of a build by MLflow's names; what was not measured is left out.

    Args:
        profile: The measurements of the build.
    """
    metrics: dict[str, float | None] = {
        "size_bytes": profile.artifact_bytes,
        "peak_memory_mib": profile.peak_memory_mb,
        "energy_mj": profile.energy_mj,
        "power_w": profile.power_w,
    }
    accuracy = profile.accuracy
    if accuracy is not None:
        metrics |= _with_interval("accuracy", accuracy.mean, accuracy.interval)
        if accuracy.drop is not None:
            metrics |= _with_interval("drop", accuracy.drop.points, accuracy.drop.interval)
    for latency in profile.latency:
        begin = f"batch_{latency.batch}/{'estimated_' if latency.source == 'estimated' else ''}"
        metrics |= _with_interval(f"{begin}p50_ms", latency.p50_ms, latency.interval)
        metrics |= _with_interval(f"{begin}ratio_to_fp32", latency.ratio, latency.ratio_interval)
        metrics |= {
            f"{begin}p90_ms": latency.p90_ms,
            f"{begin}p99_ms": latency.p99_ms,
            f"{begin}samples_per_s": latency.throughput_per_s,
        }
    return {
        name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)
    }


def _with_interval(name: str, value: float | None, interval: Any) -> dict[str, float | None]:
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _parameters(run: Run, entry: Candidate) -> dict[str, str]:
    """Return what a build was made by: the recipe, its steps, and the options that the user set."""
    techniques = [step.technique for step in entry.recipe.steps]
    parameters: Mapping[str, Any] = {
        "recipe": entry.recipe.name,
        "techniques": ", ".join(techniques) or "none",
        "target": run.profile.target,
        "network": run.profile.network,
        "backend": None if entry.profile is None else entry.profile.backend,
        **{f"options.{name}": value for name, value in run.manifest["options"].items()},
    }
    return {
        name: plain(str(value))[:_LONGEST]
        for name, value in parameters.items()
        if value not in (None, "", [], {})
    }


def _tags(run: Run, entry: Candidate, parent: str | None) -> dict[str, str]:
    profile = entry.profile
    tags = {
        "mlflow.runName": entry.recipe.name,
        "mlflow.parentRunId": parent,
        "compress.verdict": run.choice.verdicts[entry.recipe.name],
        "compress.shipped": str(parent is None).lower(),
        "compress.artifact_sha256": None if profile is None else profile.artifact_sha256,
        "compress.reason": run.choice.reason if parent is None else None,
    }
    return {name: plain(value)[:_LONGEST] for name, value in tags.items() if value is not None}


def _write(
    client: Any, experiment: str, run: Run, entry: Candidate, begun: list[str], parent: str | None
) -> str:
    """Write one build, and return MLflow's identity of its run."""
    from mlflow.entities import Metric, Param

    run_id = str(client.create_run(experiment, tags=_tags(run, entry, parent)).info.run_id)
    begun.append(run_id)
    now = int(1000 * time.time())
    figures = {} if entry.profile is None else metrics_of(entry.profile)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in figures.items()],
        params=[Param(name, value) for name, value in _parameters(run, entry).items()],
    )
    return run_id


@contextmanager
def _artifacts(run: Run) -> Iterator[Path]:
    """Make a folder of the files that are kept with the run: the report, the figures and what the bundle records."""
    with tempfile.TemporaryDirectory(prefix="compress-") as scratch:
        folder = Path(scratch)
        (folder / "report.html").write_text(page(run), encoding="utf-8")
        (folder / "figures.csv").write_text(figures_csv(run), encoding="utf-8")
        for name in _FILES:
            if (run.directory / name).is_file():
                shutil.copyfile(run.directory / name, folder / name)
        yield folder


def _without_password(server: str) -> str:
    """Return an address without the name and password of a user in it."""
    return re.sub(r"//[^/@]*@", "//", server)


def _client(server: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow import MlflowClient
    except ImportError as error:
        raise UnavailableError(
            "MLflow", f"it cannot be imported ({plain(str(error))})", install_command("mlflow")
        ) from error
    return MlflowClient(tracking_uri=server)


def _experiment(client: Any) -> str:
    """Return MLflow's number of the experiment, which is made where there is none of its name."""
    number = os.environ.get("MLFLOW_EXPERIMENT_ID")
    if number:
        return number
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    existing = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if existing is None else existing.experiment_id)


def _mark_failed(client: Any, begun: list[str]) -> None:
    """Mark runs as failed, as far as the server still answers; the first error is the one that is told."""
    for run_id in reversed(begun):
        with suppress(Exception):
            client.set_terminated(run_id, "FAILED")


@contextmanager
def _few_retries() -> Iterator[None]:
    """Let a server that does not answer be given up after seconds, unless the user said how often to try."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    if name in os.environ:
        yield
        return
    os.environ[name] = "2"
    try:
        yield
    finally:
        del os.environ[name]
