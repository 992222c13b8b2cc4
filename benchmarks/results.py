"""Results of benchmarks as files: what was measured, by which command, when and on which machine.

A benchmark hands its rows to :func:`record`. They are kept where the runner was told ``--record``, and written to
``profiles/benchmarks/NAME.json``, or ``NAME.LABEL.json`` with ``--label LABEL``::

    {"schema_version": 1, "benchmark": "fragile", "origin": "recorded",
     "command": "python -m benchmarks run fragile", "date": "2026-11-30",
     "machine": {"cpu": …}, "versions": {"onnxruntime": …}, "tables": {"builds": [{"build": "fp32", "top1": 93.95}]}}

``origin`` is "recorded" for a file that the runner wrote, and "transcribed" for figures that were copied by hand from a
document whose run was not repeated; ``machine`` then holds the document's own words.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

from compress.machine.machine import fingerprint

Row: TypeAlias = Mapping[str, Any]

RESULTS = Path(__file__).resolve().parents[1] / "profiles" / "benchmarks"
PACKAGES = (
    "compress-toolkit",
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "torch-pruning",
    "transformers",
)

_asked: ContextVar[dict[str, list[Row]] | None] = ContextVar("asked", default=None)


@dataclass(frozen=True)
class Result:
    """Figures that one run of a benchmark measured.

    Attributes:
        benchmark: Name of the benchmark, as ``python -m benchmarks list`` has it.
        origin: "recorded" by the runner, or "transcribed" from a document.
        command: Command line that was run.
        date: Day of the run, or of the document for transcribed figures, as YYYY-MM-DD.
        machine: Machine that it ran on: its fingerprint, or ``{"description": …}``.
        versions: Version of each package that the figures depend on, as far as it is known.
        tables: Rows of each table; keys tell what a value is.
    """

    benchmark: str
    origin: str
    command: str
    date: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)

    def write(self, label: str | None = None) -> Path:
        """Write the file of this benchmark, and return where it lies."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{'.'.join(filter(None, (self.benchmark, label)))}.json"
        path.write_text(_text(self), encoding="utf-8")
        return path


def read(name: str) -> Result:
    """Read a result by the name of its file, without ``.json``."""
    content = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    content.pop("schema_version")
    return Result(**content)


def record(table: str, rows: Sequence[Row]) -> None:
    """Keep the rows of a table for the runner; nothing happens where it was not told ``--record``."""
    asked = _asked.get()
    if asked is not None:
        asked[table] = list(rows)


@contextmanager
def recording() -> Iterator[dict[str, list[Row]]]:
    """Collect what :func:`record` is given, by table."""
    tables: dict[str, list[Row]] = {}
    token = _asked.set(tables)
    try:
        yield tables
    finally:
        _asked.reset(token)


def measured_here(benchmark: str, command: str, tables: Mapping[str, Sequence[Row]]) -> Result:
    """Return the result of a run that ended just now on this machine."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return Result(benchmark, "recorded", command, day, fingerprint(), dict(_versions()), tables)


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def _text(result: Result) -> str:
    """Return a file's text: a line for each row, so that a change of one is a change of one line."""
    head = {"schema_version": 1, **asdict(result)}
    tables = head.pop("tables")
    lines = [f" {json.dumps(key)}: {_json(value)}," for key, value in head.items()]
    parts = [
        f"  {json.dumps(name)}: [\n" + ",\n".join(f"   {_json(row)}" for row in rows) + "\n  ]"
        for name, rows in tables.items()
    ]
    return "\n".join(["{", *lines, ' "tables": {', ",\n".join(parts), " }", "}"]) + "\n"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
