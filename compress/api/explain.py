"""``compress.explain``: an account of the search that made a bundle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.reports.explanation import Explanation


def explain(build: str | os.PathLike[str] = "build") -> Explanation:
    """Explain a bundle: what each technique bought, what was rejected and why, and what would buy more.

        for gain in compress.explain("build").steps:
            print(gain.name, gain.time, gain.lost)

    Args:
        build: Directory of the bundle, as ``compress.optimize`` wrote it.

    Returns:
        The account, taken from the measurements that the bundle holds.

    Raises:
        BundleError: There is no bundle, it was changed or damaged, or it records no run.
    """
    from compress.reports.explanation import explanation_of
    from compress.reports.run import read_run

    run = read_run(Path(build))
    return explanation_of(run.manifest, run.choice, run.candidates)
