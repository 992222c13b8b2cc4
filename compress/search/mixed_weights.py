"""Proposals of integer weights whose bits differ by matrix: only such sizes as the network's matrices can have.

What they can have follows from the report of the build of 4 bits that was made before: it has the shape of each matrix.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from compress.quantization.weights.forms import DESCRIPTION, SIZES, Form, all_forms
from compress.quantization.weights.settings import BITS
from compress.recipe import Recipe, Step
from compress.search.proposal import Proposal, keeps_accuracy, points

if TYPE_CHECKING:
    from compress.search.limits import Limits
    from compress.search.run_directory import RunDirectory

#: Bits on average where 4 bits keep the accuracy, and where they do not.
_FEWER, _MORE = 4.6, (6.0, 7.0)

#: Bits on average that a choice must save of what the plain build of 4 bits has, to be worth the minutes.
_WORTH = 0.2


@dataclass(frozen=True)
class Room:
    """Bytes that the matrices of a network need.

    Attributes:
        weights: Number of weights in them.
        smallest: Their bytes in the smallest form of each.
        plain: Their bytes in the plain build of 4 bits.
        others: Bytes of the file that no form changes.
    """

    weights: int
    smallest: int
    plain: int
    others: int

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Room | None:
        """Return what the report of ``weight_only`` says of it; None where no matrix can take a form of its own."""
        rows = list(_single_matrices(report["layers"]))
        shapes = [tuple(row["shape"]) for row in rows]
        if not rows:
            return None
        weights = sum(outputs * inputs for outputs, inputs in shapes)
        plain = [Form(row["bits"], row["group_size"], row["symmetric"]) for row in rows]
        return cls(
            weights,
            sum(
                min(form.bytes_of(*shape) for form in _forms(row))
                for row, shape in zip(rows, shapes, strict=True)
            ),
            sum(form.bytes_of(*shape) for form, shape in zip(plain, shapes, strict=True)),
            report["bytes_before"] - 4 * weights + DESCRIPTION * len(rows),
        )

    @property
    def fewest_bits(self) -> float:
        """Bits of a weight on average that a choice can have, at least."""
        return 8 * self.smallest / self.weights


def mixed_weights(limits: Limits, provable: bool, int4: Recipe) -> Iterator[Proposal]:
    """Yield recipes whose bits differ by matrix.

    A user's limit on the size is met by the best choice that keeps it. Without one, 4 bits for nearly everything, which
    is the fewest bytes for a step, where the plain build of 4 bits keeps its accuracy; otherwise as many bits on
    average as that one, and two more.

    Args:
        limits: Limits of the build.
        provable: Whether the evaluation data can show any build to be inside the margin.
        int4: Recipe of the plain build of 4 bits, which is tried before.
    """
    if limits.max_size_mb is not None:
        recipe = Recipe("mixed-weights", (Step("weight_only_mixed", {"max_size": limits.max_size_mb}),))
        fits = partial(_can_be_as_small, limits.max_size_mb, int4)
        yield Proposal.where(recipe, "if the matrices can be as small as that", fits)
        return
    if not provable:
        return
    yield Proposal(
        _of(_FEWER),
        f"if {int4.name} loses no more than {points(limits)}; with more bits where the matrices need them",
        lambda run: _fewer(run, int4) if keeps_accuracy(run, limits, int4) else None,
    )
    for bits in _MORE:
        yield Proposal.where(
            _of(bits),
            f"if {int4.name} loses more than {points(limits)}",
            partial(_lost_and_possible, limits, int4, bits),
        )


def _of(bits: float) -> Recipe:
    return Recipe(f"mixed-weights-{bits:g}", (Step("weight_only_mixed", {"average_bits": bits}),))


def _fewer(run: RunDirectory, int4: Recipe) -> Recipe | None:
    """Return the recipe of the fewest bits that are possible; None where that saves nothing."""
    report = _report(run, int4)
    if report is None:
        return _of(_FEWER)
    room = Room.of(report)
    if room is None:
        return None
    bits = max(_FEWER, math.ceil(10 * room.fewest_bits - 1e-6) / 10)
    return _of(bits) if bits <= 8 * room.plain / room.weights - _WORTH else None


def _lost_and_possible(limits: Limits, int4: Recipe, bits: float, run: RunDirectory) -> bool:
    if keeps_accuracy(run, limits, int4):
        return False
    report = _report(run, int4)
    room = None if report is None else Room.of(report)
    return report is None or (room is not None and room.fewest_bits <= bits)


def _can_be_as_small(megabytes: float, int4: Recipe, run: RunDirectory) -> bool:
    report = _report(run, int4)
    room = None if report is None else Room.of(report)
    return report is None or (room is not None and room.others + room.smallest <= megabytes * 1e6)


def _report(run: RunDirectory, recipe: Recipe) -> Mapping[str, Any] | None:
    """Return the report of a recipe's matrices; None where it was not built."""
    reports = [
        entry.reports.get("weight_only") for entry in run.candidates if entry.recipe.steps == recipe.steps
    ]
    return next((report for report in reports if report), None)


def _single_matrices(rows: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a report but those of mixtures of experts, whose two matrices belong to one node."""
    nodes = Counter(node for row in rows for node in row["nodes"])
    for row in rows:
        if all(nodes[node] == 1 for node in row["nodes"]):
            yield row


def _forms(row: Mapping[str, Any]) -> list[Form]:
    """Return the forms that a matrix can take.

    Those of a table, which has 8 bits in the plain build of 4, are whole groups; others' last group is filled up.
    """
    inputs, table = row["shape"][1], row["bits"] == 8
    forms = all_forms(BITS, SIZES, (False, True))
    return [form for form in forms if (inputs % form.group_size == 0 if table else form.group_size <= inputs)]
