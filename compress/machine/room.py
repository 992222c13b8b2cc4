"""Room for a large job, asked before it begins: memory that is available, and space on a disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from compress.errors import OutputError, UsageError


def check_memory(wanted: int, work: str, todo: str = "free some, or take a larger machine") -> None:
    """Refuse work for which there is too little memory; where the system does not tell, nothing is refused.

    Args:
        wanted: Memory that the work takes at least, in bytes.
        work: Work that takes it, for the message: "to quantize …".
        todo: Next step, for the message.

    Raises:
        UsageError: Less is available.
    """
    available = available_memory()
    if available is not None and available < wanted:
        raise UsageError(f"{_told(wanted)} of memory {work}", f"{_told(available)} available", todo)


def check_disk(
    directory: Path, wanted: int, work: str, todo: str = "free some, or choose another place"
) -> None:
    """Refuse work for whose files there is too little space.

    Args:
        directory: Directory that the files are written to.
        wanted: Space that they take, in bytes.
        work: Purpose of the files, for the message.
        todo: Next step, for the message.

    Raises:
        OutputError: Less is free, or the system does not know the directory.
    """
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        raise OutputError("a place to write to", f"{directory}: {error.strerror or error}", todo) from error
    if free < wanted:
        raise OutputError(f"{_told(wanted)} of space in {directory} {work}", f"{_told(free)} free", todo)


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the memory that is available to this process without swapping, in bytes; None where it is not known.

    Args:
        root: Root of the file system.
    """
    amounts = [*_of_system(root), *_of_cgroups(root)]
    return min(amounts) if amounts else None


def _of_system(root: Path) -> Iterator[int]:
    for line in _read(root / "proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        if key == "MemAvailable" and value.split()[:1]:
            yield int(value.split()[0]) * 1024


def _of_cgroups(root: Path) -> Iterator[int]:
    """Yield what the cgroups around this process leave to it; files that are cached there can be given up."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup" / controllers  # version 2 has one tree for all of them
        limit, used = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else ("memory.max", "memory.current")
        )
        group = base / path.lstrip("/")
        for directory in (group, *group.parents):
            if directory != base and base not in directory.parents:
                continue
            most, now = _read(directory / limit).strip(), _read(directory / used).strip()
            if most.isdigit() and now.isdigit():
                yield max(0, int(most) - int(now) + _cached(_read(directory / "memory.stat")))


def _cached(stat: str) -> int:
    amounts = dict(line.split() for line in stat.splitlines() if len(line.split()) == 2)
    return sum(int(amounts.get(key, 0)) for key in ("inactive_file", "active_file"))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _told(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
