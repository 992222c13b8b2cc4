"""The decision which units are removed: made once, kept on disk, and sent to all processes that train together.

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
from compress.records.technique_reports import PruneChoice
from compress.training.checkpoint import add_tensors
from compress.training.processes import joined

Decision = TypeVar("Decision")

#: Positions of the units that go, by the group's name, and the report of the choice.
Chosen = tuple[Mapping[str, NDArray[np.int64]], PruneChoice]


def kept(path: Path | None, key: str, choose: Callable[[], Chosen]) -> Chosen:
    """Return the stored choice, or make and store one.

    Args:
        path: File of the choice; None stores nothing.
        key: Key that a stored choice must have, made by :func:`key_of`.
        choose: Function that makes the choice where the file holds none of this key.

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
        units, report = choose()
        lists = {name: positions.tolist() for name, positions in units.items()}
        before = {"key": key, "units": lists, "told": report}
        _write(path, before)
    units = {name: np.asarray(positions, np.int64) for name, positions in before["units"].items()}
    return units, before["told"]


def key_of(graph: fx.GraphModule, **others: Any) -> str:
    """Return a hash of everything that a choice depends on, except times.

    Args:
        graph: Graph that is pruned, with its weights.
        **others: Settings, data, target and machine, identified by their ``repr``.
    """
    digest = hashlib.sha256(f"{sorted(others.items())} {graph.code}".encode())
    add_tensors(digest, graph.state_dict())
    return digest.hexdigest()


def decided_together(decide: Callable[[], Decision]) -> Decision:
    """Return the first process's decision in all processes that ``torchrun`` started; alone, this one's.

    Raises:
        UnavailableError: Another process has ended.
    """
    processes = joined()
    decision: Decision = processes.broadcast(decide() if processes.first else None)
    return decision


def _write(path: Path, content: dict[str, Any]) -> None:
    with written_safely(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_whole(path) as written:
        written.write_text(line_with_digest(content), encoding="utf-8")
