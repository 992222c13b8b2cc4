"""Which units go, decided once: kept on disk, and told to all processes that train together.

Latencies differ from one timing to the next, and widths with them. A training that was interrupted goes on only where
the network is pruned as it was before, and several processes can train together only where all prune alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import fx

from compress.core.digests import content_as_written, line_with_digest
from compress.core.files import written_safely
from compress.core.replacing import replaced_whole
from compress.training.checkpoint import add_tensors
from compress.training.processes import joined

Decision = TypeVar("Decision")

#: Positions of the units that go by the group's name, and what is to be told of the choice, as JSON holds it.
Chosen = tuple[Mapping[str, NDArray[np.int64]], dict[str, Any]]


def kept(path: Path | None, key: str, choose: Callable[[], Chosen]) -> Chosen:
    """What was chosen before, or else now.

    Args:
        path: The file; None keeps nothing.
        key: What a choice must share to be the same, as :func:`key_of` makes it.
        choose: Called where the file holds no choice of this key.

    Raises:
        OutputError: The file cannot be written.
    """
    if path is None:
        return choose()
    try:
        before = content_as_written(path.read_bytes())
    except (OSError, ValueError):
        before = {}  # None yet, or a damaged one
    if before.get("key") != key:
        units, told = choose()
        lists = {name: positions.tolist() for name, positions in units.items()}
        before = {"key": key, "units": lists, "told": told}
        _write(path, before)
    units = {name: np.asarray(positions, np.int64) for name, positions in before["units"].items()}
    return units, before["told"]


def key_of(graph: fx.GraphModule, **others: Any) -> str:
    """A hash of what a choice follows from, but for times.

    Args:
        graph: That is pruned; its weights count.
        **others: Settings, data, target and machine, told apart by their ``repr``.
    """
    digest = hashlib.sha256(f"{sorted(others.items())} {graph.code}".encode())
    add_tensors(digest, graph.state_dict())
    return digest.hexdigest()


def decided_together(decide: Callable[[], Decision]) -> Decision:
    """What the first of the processes that ``torchrun`` started decides, in all of them; alone, what this one does.

    Raises:
        UnavailableError: Another process has ended.
    """
    processes = joined()
    decision: Decision = processes.told(decide() if processes.first else None)
    return decision


def _write(path: Path, content: dict[str, Any]) -> None:
    with written_safely(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_whole(path) as written:
        written.write_text(line_with_digest(content), encoding="utf-8")
