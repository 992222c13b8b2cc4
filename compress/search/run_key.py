"""The key of a run: everything that its measurements depend on, by which an interrupted run is recognized."""

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
        network: Identity of what the network computes: its graph, layers, weights and code.
        inputs: The network's inputs, with their shapes.
        task: Identity of the data, the metrics and their code, and the training data.
        target: The target, as its file and the host describe it.
        backends: The back ends that compete.
        providers: The execution providers that compete.
        threads: Number of threads of the runtime; None where the fastest number is measured.
        decisive: The batch size that decides.
        seconds: Time to measure each build at each batch size, in seconds.
        seed: Seed of every random choice.
        device: Kind of the device that trains: ``cpu`` or ``cuda``.
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
    device: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the key as a dict that JSON can hold."""
        return asdict(self)
