"""The inputs of a search, which ``optimize`` runs and ``plan`` only lists."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from compress.api.draft import Draft, open_draft
from compress.api.inputs import Inputs, open_inputs, sized_target
from compress.api.options import OptimizeOptions
from compress.bundle.writing import check_replaceable
from compress.core.installation import imported
from compress.core.progress import Reporter
from compress.errors import UnavailableError, UsageError
from compress.hosts import connect
from compress.hosts.base import Host
from compress.hosts.cluster import Cluster
from compress.recipe import Recipe
from compress.search.attempts import Attempts
from compress.search.backends import CompetingBackends, check_sessions, competing_backends
from compress.search.builders import Builder
from compress.search.limits import Limits, Objective
from compress.search.plan import SearchPlan, checked_recipes
from compress.search.run_directory import RunDirectory
from compress.target.target import Target, load_target

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SearchInputs:
    """The inputs of a search, read and checked.

    Attributes:
        inputs: The network and its data.
        target: The device that builds are for, with the sizes and releases that are known.
        host: The machine that builds are measured on; to be entered.
        rivals: The back ends that compete.
        limits: Limits that the user sets for the build.
        recipes: The user's own recipes; empty for those that the target suggests.
        time_budget: Seconds after which no further build is begun; None for the default.
        start: When the search began, on :func:`time.perf_counter`'s clock.
        cluster: The machines that make builds, to be entered; None for this one alone.
        tune: Number of trainings that search the settings of each training of a pruned network; None searches none.
        draft: Smaller language model that may write ahead for what is shipped; None for none.
    """

    inputs: Inputs
    target: Target
    host: Host
    rivals: CompetingBackends
    limits: Limits
    recipes: Sequence[Recipe]
    time_budget: float | None
    start: float
    cluster: Cluster | None = None
    tune: int | None = None
    draft: Draft | None = None

    def plan(self) -> SearchPlan:
        """Return what the search may try."""
        return SearchPlan(
            self.inputs.network,
            self.inputs.task,
            self.target,
            self.host,
            self.limits,
            self.recipes,
            self.rivals,
            self.time_budget,
            self.start,
            self.tune,
        )

    def builder(self, attempts: Attempts, run: RunDirectory, reporter: Reporter) -> Builder:
        """Return where builds are made: on the cluster's machines, else in this process; to be entered.

        Args:
            attempts: The attempts of the search.
            run: Directory of the run.
            reporter: Receives notes on machines that cannot go on.
        """
        if self.cluster is None:
            return attempts.builder
        from compress.search.cluster_builder import ClusterBuilder

        return ClusterBuilder(self.cluster, attempts, run, reporter)

    def notes(self, plan: SearchPlan) -> tuple[str, ...]:
        """Return the notes for the user before the first build, one line each."""
        return (*self.inputs.warnings, *self.inputs.task.notes, *plan.notes)


def open_search(
    model: str | Path | torch.nn.Module, options: OptimizeOptions, reporter: Reporter
) -> SearchInputs:
    """Read the inputs of a search and connect to the machine that measures; nothing is measured or written.

    Args:
        model: The network's file, or a live module, which is not modified.
        options: The options of the verb.
        reporter: Receives the progress.

    Raises:
        UsageError: An argument cannot be used; the message says what to do.
        UnavailableError: The target's back end is not on this machine, or the host does not answer.
    """
    from compress.training.devices import device_of

    start = time.perf_counter()
    recipes = checked_recipes(options.recipes)
    check_replaceable(Path(options.out))
    device_of(options.device)  # told before anything is read
    target = load_target(options.target)
    limits = _limits(options, target)
    rivals = competing_backends(target, options.backends)
    check_sessions(recipes, target)
    with ExitStack() as stack:  # what is open where the rest cannot be is closed again
        cluster = None if options.cluster is None else stack.enter_context(Cluster(options.cluster))
        inputs = open_inputs(
            model,
            options,
            reporter,
            target=target,
            train_data=options.train_data,
            shape=options.shape,
            calibration_data=options.calibration_data,
        )
        if options.tune is not None:
            _check_tunable(inputs)
        draft = None if options.draft is None else open_draft(options.draft, inputs.network)
        target = sized_target(inputs, options.shape)
        host = connect(
            target,
            options.seconds,
            options.host,
            keep=options.keep_on_host,
            on_note=reporter.stage,
            cluster=cluster,
        )
        target = host.adapt(target)
        _check_measurable(limits, target, host)
        stack.pop_all()
        return SearchInputs(
            inputs,
            target,
            host,
            rivals,
            limits,
            recipes,
            options.time_budget,
            start,
            cluster,
            options.tune,
            draft,
        )


def _check_tunable(inputs: Inputs) -> None:
    """Refuse to search settings of a training where nothing is trained.

    Raises:
        UsageError: There is no training data.
        UnavailableError: Optuna is not installed.
    """
    if inputs.task.training is None:
        raise UsageError("training data with --tune", "none", "give --train-data, or leave --tune out")
    imported("optuna", "tune", "which --tune searches with")


def _limits(options: OptimizeOptions, target: Target) -> Limits:
    """Return the limits that the user sets.

    Raises:
        UsageError: Money is to be saved on a target without a price.
    """
    if options.objective == "cost" and target.price is None:
        raise UsageError(
            "--objective cost for a target with a [price]",
            f"none in {target.name}",
            f'give a TOML file with extends = "{target.name}" and [price]: currency, per_hour or per_kwh',
        )
    return Limits(
        options.max_drop,
        options.max_latency,
        options.max_size,
        cast("Objective", options.objective),
        options.max_memory,
        options.max_power,
        target.price if options.objective == "cost" else None,
        options.front,
    )


def _check_measurable(limits: Limits, target: Target, host: Host) -> None:
    """Refuse what cannot be measured, before anything is measured.

    Raises:
        UnavailableError: A limit or the objective needs a figure that the host does not measure.
    """
    measured = host.source == "measured"
    if limits.needs_energy and not (measured and host.measures_energy(target)):
        flag = "--max-power" if limits.max_power_w is not None else f"--objective {limits.objective}"
        reason = (
            "no counter or sensor of energy can be read" if measured else "its figures would be estimated"
        )
        raise UnavailableError(
            f"{flag} on a machine that measures energy",
            f"{target.name}: {reason}",
            "let the user read /sys/class/powercap/*/energy_uj, or give --host of a board with sensors",
        )
    if limits.max_memory_mb is not None and not (measured and host.measures_memory):
        raise UnavailableError(
            "--max-memory on a machine that measures a build's peak memory",
            f"{target.name}: it does not",
            "leave --max-memory out, or measure on this machine: --target cpu",
        )
