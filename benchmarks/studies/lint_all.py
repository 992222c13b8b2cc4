"""The linter on every reference network, in every precision, for every target: what it finds, mends and leaves.

    python -m benchmarks run lint_all [--target jetson-agx-xavier] [--dla]

Each network is linted as it was exported, and quantized in the target's own flavour (on noise: where Q/DQ stand and
what they look like does not depend on the data). Targets that lead to the same findings share a line. Told are the
rewrites, the largest difference between the outputs before and after them as a share of the largest output, and what
is left with its reason. The exit code is 1 where an error is left or the outputs differ.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from rich.console import Console

from compress.lint import Finding, Fixed, fix, lint
from compress.lint.equality import largest_difference, tolerance
from compress.onnx_graph.fold import named, prepare
from compress.onnx_graph.half import in_half_precision
from compress.onnx_graph.shapes import input_specs
from compress.quantization import quantize_static
from compress.target.target import QuantizationFlavour, Target, list_targets

REFERENCES = Path(__file__).parents[2] / "references"
_SAMPLES = 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target", help="only this one")
    parser.add_argument("--dla", action="store_true", help="also what deep learning accelerators do not take")
    arguments = parser.parse_args()
    console = Console(width=160, highlight=False)
    targets = [each for each in _targets() if arguments.target in (None, each.name)]
    failed, counts = False, Counter[str]()
    for path in sorted(REFERENCES.glob("*.onnx")):
        builds: dict[tuple[str, QuantizationFlavour], onnx.ModelProto] = {}
        outcomes: dict[str, list[str]] = {}
        for target in targets:
            dla = arguments.dla and target.dla
            for precision in _precisions(target):
                key = (precision, target.quantization)
                if key not in builds:
                    builds[key] = _build(onnx.load(path), *key)
                told, outcome, good = _outcome(builds[key], target, dla)
                counts[outcome] += 1
                failed |= not good
                outcomes.setdefault(f"{precision}: {told}", []).append(_name(target))
        console.print(f"\n[bold]{path.stem}[/bold]")
        for told, names in outcomes.items():
            console.print(f"  {told}\n    [dim]{len(names)} targets: {', '.join(names)}[/dim]")
    console.print()
    for outcome, count in counts.most_common():
        console.print(f"{count:5d} {outcome}")
    return int(failed)


def _targets() -> Iterator[Target]:
    """Every known target, and once more for each further back end it has."""
    for target in list_targets():
        yield target
        yield from (target.for_backend(name) for name in target.further_backends)


def _name(target: Target) -> str:
    return f"{target.name} ({target.backend})" if target.further_backends else target.name


def _precisions(target: Target) -> tuple[str, ...]:
    return ("fp32", "int8", "fp16", "int8+fp16") if "fp16" in target.precisions else ("fp32", "int8")


def _build(model: onnx.ModelProto, precision: str, flavour: QuantizationFlavour) -> onnx.ModelProto:
    if "int8" in precision:
        model, _ = quantize_static(model, [_noise(model)], flavour)
    else:
        model = prepare(model) if precision == "fp16" else model
    return in_half_precision(named(model), "float16") if "fp16" in precision else model


def _noise(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    feeds = {}
    for spec in input_specs(model):
        shape = [size if isinstance(size, int) else _SAMPLES for size in spec.shape]
        floats = np.dtype(spec.dtype).kind == "f"
        feeds[spec.name] = (random.standard_normal(shape) if floats else random.integers(0, 2, shape)).astype(
            spec.dtype
        )
    return feeds


def _outcome(model: onnx.ModelProto, target: Target, dla: bool) -> tuple[str, str, bool]:
    """Return what was found, mended and left; the same in three words; and whether it is as it should be."""
    found = lint(model, target, dla=dla)
    if not found:
        return "nothing found", "clean", True
    fixed = fix(model, target, dla=dla)
    if not fixed.applied:
        return f"left: {_left(fixed.findings)}", "left as it is", not _has_error(fixed)
    difference = largest_difference(model, fixed.model)
    equal = difference is not None and difference <= tolerance(model)
    rewrites = ", ".join(f"{name} ({len(nodes)})" for name, nodes in fixed.applied.items())
    compared = "not compared" if difference is None else f"outputs within {difference:.1g}"
    left = f"left: {_left(fixed.findings)}" if fixed.findings else "nothing left"
    outcome = "clean after rewrites" if not fixed.findings else "partly left after rewrites"
    told = f"{len(found)} found; rewrote {rewrites}; {compared}; {left}"
    return told, outcome, equal and not _has_error(fixed)


def _has_error(fixed: Fixed) -> bool:
    return any(finding.severity == "error" for finding in fixed.findings)


def _left(findings: tuple[Finding, ...]) -> str:
    reasons = Counter(f"{finding.severity} {finding.rule}, {finding.message}" for finding in findings)
    return "; ".join(f"{reason} ({count}×)" if count > 1 else reason for reason, count in reasons.items())


if __name__ == "__main__":
    sys.exit(main())
