"""Search for the settings of a training that judge best on samples it does not train on, by Optuna.

Trials are kept in a journal as they go: a search that was killed goes on with the next one. Proposals follow from the
trials so far and the seed alone, so that an interrupted search proposes what it would have proposed (TPE, Bergstra et
al. 2011); a trial that is behind after its first epochs is given up (asynchronous successive halving, Li et al. 2020,
arXiv 1810.05934).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.core.files import written_safely
from compress.core.installation import imported

#: Trials at random before proposals follow from those so far.
_RANDOM_TRIALS = 6


@dataclass(frozen=True)
class Range:
    """Values of a setting from which a trial takes one.

    Attributes:
        low: The smallest value.
        high: The largest value.
        log: Whether factors count alike rather than differences.
    """

    low: float
    high: float
    log: bool = False


#: The values of each setting, by its name: a range, or all that there are.
Space = Mapping[str, Range | Sequence[Any]]

#: Trains with some settings, and returns how it was judged, lower is better. It calls its second argument after each
#: epoch, with the number of the epoch and its judgement so far; that raises where the trial is to be given up.
Training = Callable[[dict[str, Any], Callable[[int, float], None]], float]


@dataclass(frozen=True)
class Trial:
    """One training of the search.

    Attributes:
        settings: The settings that were tried.
        judged: How it was judged, lower is better; None where it was given up or diverged.
        epochs: Number of epochs that it trained.
    """

    settings: dict[str, Any]
    judged: float | None
    epochs: int


def tuned(
    train: Training,
    space: Space,
    first: Mapping[str, Any],
    *,
    trials: int,
    seed: int,
    journal: Path,
    key: str,
    on_trial: Callable[[int], None] = lambda _: None,
) -> list[Trial]:
    """Try settings, and return all trials; the first has the settings that were given.

    Args:
        train: Trains with some settings; see :data:`Training`.
        space: The values of each setting.
        first: The settings of the first trial.
        trials: Number of trials, those of an interrupted search included.
        seed: Seed of the proposals.
        journal: File of the journal; its directory exists.
        key: Everything that a judgement depends on: trials under another key are not taken over.
        on_trial: Function that is called with the number of each trial before it begins, from 0.

    Raises:
        UnavailableError: Optuna is not installed.
        OutputError: The journal cannot be written.
    """
    optuna = imported("optuna", "tune", "which --tune searches with")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    state = optuna.trial.TrialState
    with written_safely(journal):
        journal.touch()
        backend = optuna.storages.journal.JournalFileBackend(str(journal))
        study = optuna.create_study(
            study_name=key,
            storage=optuna.storages.JournalStorage(backend),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
            load_if_exists=True,
        )
    for cut_short in study.get_trials(deepcopy=False, states=(state.RUNNING,)):
        study.tell(cut_short.number, state=state.FAIL)
        study.enqueue_trial(cut_short.params)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(dict(first))

    def finished() -> list[Any]:
        ended: list[Any] = study.get_trials(deepcopy=False, states=(state.COMPLETE, state.PRUNED))
        return ended

    while (number := len(finished())) < trials:
        on_trial(number)
        study.sampler = optuna.samplers.TPESampler(seed=seed + number, n_startup_trials=_RANDOM_TRIALS)
        trial = study.ask()
        settings = {name: _taken(trial, name, values) for name, values in space.items()}

        def after_epoch(epoch: int, judged: float, trial: Any = trial) -> None:
            if math.isfinite(judged):
                trial.report(judged, epoch)
            if not math.isfinite(judged) or trial.should_prune():
                raise optuna.TrialPruned

        try:
            judged = train(settings, after_epoch)
        except optuna.TrialPruned:
            judged = math.inf
        given_up = not math.isfinite(judged)
        study.tell(trial, None if given_up else judged, state.PRUNED if given_up else state.COMPLETE)
    return [
        Trial(
            dict(trial.params),
            trial.value if trial.state == state.COMPLETE else None,
            len(trial.intermediate_values),
        )
        for trial in finished()
    ]


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial that was judged best; None where none was judged to its end."""
    judged = [trial for trial in trials if trial.judged is not None]
    return min(judged, key=lambda trial: trial.judged or 0.0, default=None)


def _taken(trial: Any, name: str, values: Range | Sequence[Any]) -> Any:
    if isinstance(values, Range):
        return trial.suggest_float(name, values.low, values.high, log=values.log)
    return trial.suggest_categorical(name, list(values))
