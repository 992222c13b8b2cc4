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

    from compress.core.content_cache import ContentCache
    from compress.data.task import Task
    from compress.hosts.base import Host
    from compress.network.network import Network
    from compress.target.target import Target

#: Samples calibrated at once where the network takes any number.
CALIBRATION_BATCH_SIZE = 32


@dataclass
class Context:
    """Data, target and tools that a technique may use besides the network.

    Attributes:
        task: Training, calibration and evaluation data; techniques never touch the evaluation data. A technique after
            which the network takes other calls replaces it, for those that follow in the recipe.
        target: Target of the build.
        seed: Seed of every random choice.
        reports: Report of each technique, by the technique's name: a mapping that JSON can hold, which goes into the
            candidate's record. Those of built-in techniques are in :mod:`compress.records.technique_reports`.
        directory: Directory where a technique that takes long keeps checkpoints; None where nothing is kept.
        reporter: Receives the progress of a technique that takes long.
        original: The user's network before any technique; None where it is unknown.
        host: Host that times or estimates builds, for a technique that times layers; None takes the target's.
        threads: Number of threads of the runtime, as the user fixed it; None leaves it open.
        cache: Directory of measurements that several recipes of a run share; None where nothing is kept.
        steps: Cache of what steps of recipes make, which runs share; None keeps it in ``directory`` alone.
        device: Device to train on, as :func:`compress.training.devices.device_of` takes it. Simulations of int8 train
            on the CPU, whose kernels they agree with.
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
    steps: ContentCache | None = None
    device: str = "auto"


class Technique(ABC):
    """One technique; subclasses are frozen dataclasses whose fields are its settings."""

    @abstractmethod
    def apply(self, network: Network, context: Context) -> Network:
        """Return the network with this technique applied; the given one is not changed.

        Raises:
            RecipeError: The technique cannot follow what came before it.
            CompressError: Another failure, with a message for the user.
        """

    def needs(self) -> tuple[str, ...]:
        """Return what the technique takes besides the network, as noun phrases: ``"calibration samples"``."""
        return ()

    def result_follows(self, context: Context) -> object:
        """Return what the result follows from besides the network, the settings, the data, the seed and the code.

        Returns:
            What is decided elsewhere, such as by the target, in a form whose ``repr`` tells all of it; None where the
            result is not to be kept in the cache, since it is made quickly, or follows from times.
        """
        return None

    def takes_minutes(self) -> bool:
        """Whether it takes minutes even on a small network: it trains, or tries many variants."""
        return False


def calibration_batches(network: Network, context: Context) -> Iterator[Mapping[str, np.ndarray[Any, Any]]]:
    """Yield the calibration samples as the network takes them; the last batch is smaller only where allowed."""
    fixed = fixed_batch(network.inputs)
    for batch in context.task.calibration.batches(fixed or CALIBRATION_BATCH_SIZE):
        if fixed is None or len(batch) == fixed:
            yield batch.inputs
