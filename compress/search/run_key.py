"""What the measurements of a run depend on, and so what an interrupted run is known by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RunKey:
    """Everything that a figure of a run depends on; measurements under another key are never taken over.

    The user's limits are no part of it, since they only choose among what was measured; ``decisive`` alone is, since
    builds that lose at one batch size are not timed at the others.

    Attributes:
        network: What the network computes, as it was read: its graph, layers, weights and code.
        inputs: The network's inputs, with their shapes.
        task: The data, the metrics and their code, and the training data.
        target: The target, as its file and the host tell it.
        backends: The back ends that compete.
        providers: The execution providers that compete.
        threads: Threads of the runtime; None where they are measured.
        decisive: The batch size that decides.
        seconds: Time spent on timing each build at each batch size.
        seed: Seed of every random choice.
        machine: The fingerprint of the machine that measures.
        versions: Versions of everything that makes, runs and measures a build.
    """

    network: Any
    inputs: Sequence[str]
    task: Mapping[str, Any]
    target: Mapping[str, Any]
    backends: Sequence[str]
    providers: Sequence[str]
    threads: int | None
    decisive: Any
    seconds: float
    seed: int
    machine: Mapping[str, Any]
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The key as JSON holds it."""
        return asdict(self)
