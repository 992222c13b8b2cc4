"""Contents of a bundle beside its artifact: a sample with its outputs, programs that run it, and a self-check.

Everything here is written for the machine that the build is for, which needs the runtime (and numpy) and nothing of
``compress``. The programs are templates in ``templates/``: ``@{name}`` is filled in, everything else is the program.
"""

from __future__ import annotations

from compress.bundle.programs.sample import Sample, take_sample
from compress.bundle.programs.snippets import programs

__all__ = ["Sample", "programs", "take_sample"]
