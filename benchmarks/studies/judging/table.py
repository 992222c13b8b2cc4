"""Table of the cache: a line for each network, and with --builds one for each of its builds.

python -m benchmarks run judging.table [--only spoken] [--builds] [--cache DIRECTORY]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.studies.judging.cache import info_of, place
from benchmarks.studies.judging.subjects import SUBJECTS

#: Edges of true drops that builds are counted between, in points.
_EDGES = (0.2, 1.0, 3.0, 10.0)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=SUBJECTS, action="append")
    parser.add_argument("--builds", action="store_true", help="a line for each build")
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    for name in options.only or SUBJECTS:
        directory = place(options.cache) / name
        if not (directory / "original.npz").exists():
            print(f"{name:16} missing")
            continue
        original = info_of(directory / "original.npz")
        found = [info_of(path) for path in (directory / "builds").glob("[!.]*.npz")]
        print(_line(original, found))
        if options.builds:
            for info in sorted(found, key=lambda info: float(info["drop"])):
                print(_build_line(info))
    return 0


def _line(original: dict[str, Any], found: list[dict[str, Any]]) -> str:
    drops = [float(info["drop"]) for info in found]
    bounds = (float("-inf"), *_EDGES, float("inf"))
    counts = [
        sum(low <= drop < high for drop in drops)
        for low, high in zip(bounds, (*_EDGES, float("inf")), strict=False)
    ]
    figures = f"{original['metric']} {original['value']:.4f}"
    if original["value_2"] is not None:
        figures += f", {original['metric_2']} {original['value_2']:.4f}"
    figures += "".join(f", {name} {value:.4f}" for name, value in original["whole"].items())
    told = f"{original['name']:16} {original['told']}; {original['kind']}, {original['form']}; "
    told += f"{original['parameters']:,} parameters; {figures}; confidence {original['confidence']}; "
    return told + f"{len(found)} builds: {' / '.join(map(str, counts))} below and between {_EDGES}"


def _build_line(info: dict[str, Any]) -> str:
    second = "" if info["drop_2"] is None else f"{info['drop_2']:9.2f}"
    return f"    {info['name']:32} {info['drop']:8.2f} {info['agreement']:8.2f} {second}"


if __name__ == "__main__":
    sys.exit(main())
