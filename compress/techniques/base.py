"""What every technique is: a frozen dataclass of settings that turns one network into another.

A new technique is one file in this folder with one :class:`Technique` subclass; the file's name is its name in a
recipe. Third parties register theirs under the entry point group ``compress.techniques``.
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
    """What a technique may use besides the network.

    Attributes:
        task: Training, calibration and evaluation data; techniques never touch the evaluation data.
        target: What the build is for.
        seed: Seed of every random choice.
        reports: Report of each technique, by the technique's name; goes into the candidate's record.
        directory: Directory where a technique that takes long keeps checkpoints; None where nothing is kept.
        reporter: Receives the progress of a technique that takes long.
        original: The network that the user gave, before any technique; None where nobody knows it.
        host: Where builds are timed or estimated, for a technique that times layers; None: where the target says.
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
        """The network with this technique applied; the one given is not touched.

        Raises:
            RecipeError: The technique cannot follow what came before it.
            CompressError: What else went wrong, for a person to read.
        """


def calibration_batches(network: Network, context: Context) -> Iterator[Mapping[str, np.ndarray[Any, Any]]]:
    """The calibration samples as the network takes them; a smaller last batch only where its batch is not fixed."""
    fixed = fixed_batch(network.inputs)
    for batch in context.task.calibration.batches(fixed or CALIBRATION_BATCH_SIZE):
        if fixed is None or len(batch) == fixed:
            yield batch.inputs
