"""The interface of techniques: a frozen dataclass of settings that turns one network into another.

A new technique is one file in this folder with one :class:`Technique` subclass: ``low_rank.py`` has the class
``LowRank``, and a recipe names it ``low_rank``. Other distributions register theirs under the entry point group
``compress.techniques``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.progress import Reporter
from compress.core.tensor_spec import fixed_batch

if TYPE_CHECKING:
    import numpy as np

    from compress.data.task import Task
    from compress.hosts.base import Host
    from compress.network.network import Network
    from compress.target.target import Target

#: Samples calibrated at once where the network takes any number.
CALIBRATION_BATCH_SIZE = 32


@dataclass
class Context:
    """Everything that a technique may use besides the network.

    Attributes:
        task: Training, calibration and evaluation data; techniques never touch the evaluation data.
        target: Target of the build.
        seed: Seed of every random choice.
        reports: Report of each technique, by the technique's name; goes into the candidate's record.
        directory: Directory where a technique that takes long keeps checkpoints; None where nothing is kept.
        reporter: Receives the progress of a technique that takes long.
        original: The user's network before any technique; None where it is unknown.
        host: Host that times or estimates builds, for a technique that times layers; None takes the target's.
        threads: Number of threads of the runtime, as the user fixed it; None leaves it open.
        cache: Directory of measurements that several recipes of a run share; None where nothing is kept.
    """

    task: Task
    target: Target
    seed: int = 0
    reports: dict[str, Any] = field(default_factory=dict)
    directory: Path | None = None
    reporter: Reporter = field(default_factory=Reporter)
    original: Network | None = None
    host: Host | None = None
    threads: int | None = None
    cache: Path | None = None


class Technique(ABC):
    """One technique; subclasses are frozen dataclasses whose fields are its settings."""

    @abstractmethod
    def apply(self, network: Network, context: Context) -> Network:
        """Return the network with this technique applied; the given one is not changed.

        Raises:
            RecipeError: The technique cannot follow what came before it.
            CompressError: Another failure, with a message for the user.
        """


def calibration_batches(network: Network, context: Context) -> Iterator[Mapping[str, np.ndarray[Any, Any]]]:
    """Yield the calibration samples as the network takes them; the last batch is smaller only where allowed."""
    fixed = fixed_batch(network.inputs)
    for batch in context.task.calibration.batches(fixed or CALIBRATION_BATCH_SIZE):
        if fixed is None or len(batch) == fixed:
            yield batch.inputs
