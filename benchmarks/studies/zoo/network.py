"""A published network: the package that holds it, and inputs for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.zoo.sources import Source

#: Arrays ``(n, …)`` by input name; in order where the file's names are not given.
Samples = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Published:
    """One row of the table.

    Attributes:
        kind: Task that it does.
        package: ``pypi:NAME==VERSION`` or ``npm:NAME@VERSION``.
        file: Its path inside the package.
        inputs: Makes samples that it takes.
        factory: Factory that makes the module of a state dict, as ``--factory`` takes it; None for a file that needs
            none.
        classes: The axis of the first output along which the largest is the answer; None where it is no classifier.
        held: Inputs without an axis for samples, which have the same value in all of them.
        options: More of the command line, for every command that takes data.
        given: Samples that compress is given.
        unseen: Samples that judge.
    """

    kind: str
    package: str
    file: str
    inputs: Callable[[Source, int], Samples]
    factory: str | None = None
    classes: int | None = None
    held: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    given: int = 700
    unseen: int = 48
