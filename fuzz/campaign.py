"""Inputs one after another, in another process within limits, until the time is over; what is found is kept."""

from __future__ import annotations

import hashlib
import importlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from compress.core.child_process import EndedError, Limits, OtherProcess, serve
from fuzz.readers import Reader

_CHILD = "import sys; sys.path.insert(0, sys.argv[1]); from fuzz.campaign import main; main({known!r})"

#: What one input may take: seconds of processor time, imports included, and bytes.
LIMITS = Limits(40, 4 << 30)
#: Of waiting, which other processes do the work for.
_SLOW_S = 120.0


@dataclass
class Found:
    """Results of a campaign against one reader.

    Attributes:
        inputs: Number of inputs that were tried.
        read: Number of inputs that were read; the others were refused, or are counted below.
        crashes: First file of each kind of crash, by what happened.
        hangs: First file of each kind of hang, by what happened.
        memory: First file of each kind of lack of memory, by what happened.
        times: Number of times that each of them happened.
        slowest_s: Seconds that the slowest input took.
    """

    inputs: int = 0
    read: int = 0
    crashes: dict[str, Path] = field(default_factory=dict)
    hangs: dict[str, Path] = field(default_factory=dict)
    memory: dict[str, Path] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not (self.crashes or self.hangs or self.memory)


def run(
    reader: Reader,
    *,
    seconds: float,
    keep: Path,
    seed: int = 0,
    most: int | None = None,
    limits: Limits = LIMITS,
    known: str = "fuzz.readers:READERS",
    tell: Callable[[str], None] = lambda line: None,
) -> Found:
    """Read mutated files until the time is over.

    Args:
        reader: Reader that reads them.
        seconds: Wall clock; the input that has begun is finished.
        keep: Directory for inputs that something was found with.
        seed: Seed of the mutations; the same one gives the same inputs.
        most: Inputs; None for as many as there is time for.
        limits: Limits of each input.
        known: ``module:name`` of the readers, for the other process.
        tell: Receives a line for each new finding.
    """
    found = Found()
    chance = random.Random(f"{seed} {reader.name}")
    corpus = list(reader.corpus().values())
    until = time.monotonic() + seconds
    child: OtherProcess | None = None
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        first = list(corpus)
        while time.monotonic() < until and (most is None or found.inputs < most):
            content = first.pop() if first else reader.mutation(corpus, chance)
            path = Path(directory) / f"input{reader.suffix}"
            path.write_bytes(content)
            if child is None or not child.usable:
                child = OtherProcess(_CHILD.format(known=known))
            start = time.monotonic()
            kind, what = _read(child, reader, path, limits)
            taken = time.monotonic() - start
            found.slowest_s = max(found.slowest_s, taken)
            found.inputs += 1
            if kind == "read":
                found.read += 1
            if kind == "refused" and taken > _SLOW_S:
                kind, what = "hangs", f"refused after {taken:.0f} s"
            if kind in ("read", "refused"):
                continue
            found.times[what] += 1
            seen: dict[str, Path] = getattr(found, kind)
            if what not in seen:
                seen[what] = _kept(keep, reader, content)
                tell(f"{reader.name}: {kind}: {what} ({seen[what]})")
    if child is not None:
        child.close()
    return found


def _read(child: OtherProcess, reader: Reader, path: Path, limits: Limits) -> tuple[str, str]:
    """Return the outcome of one input: ``read``, ``refused``, or where it is counted, and what happened."""
    try:
        kind, what = child.ask({"reader": reader.name, "path": str(path)}, limits)
    except EndedError as error:
        return ("hangs" if "took more" in str(error) else "crashes"), str(error)
    return kind, what


def _kept(keep: Path, reader: Reader, content: bytes) -> Path:
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{reader.name}-{hashlib.sha256(content).hexdigest()[:12]}{reader.suffix}"
    path.write_bytes(content)
    return path


# --- in the other process -----------------------------------------------------------------------------------


def main(known: str) -> None:
    """Read what each line of standard input names."""
    module, _, name = known.partition(":")
    readers: dict[str, Reader] = getattr(importlib.import_module(module), name)
    serve(lambda request: _answer(readers[request["reader"]], Path(request["path"])))


def _answer(reader: Reader, path: Path) -> list[str]:
    import warnings

    import click

    from compress.errors import CompressError, InternalError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except InternalError as error:
        return ["crashes", f"InternalError: {error.wanted}"]
    except (CompressError, click.ClickException) as error:
        return ["refused", str(error)]
    except MemoryError as error:
        return ["memory", f"MemoryError at {_place(error)}"]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - that is what is looked for
        return ["crashes", f"{type(error).__name__} at {_place(error)}: {' '.join(str(error).split())[:100]}"]
    return ["read", ""]


def _place(error: BaseException) -> str:
    """The innermost line of this project's that was running."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if "compress" in file.parts:
            place = f"{file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
