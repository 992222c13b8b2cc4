"""The small graphs of the published suite, for our own tests too."""

from __future__ import annotations

from compress.testing.graphs import classifier, samples, steps_first, two_inputs

__all__ = ["classifier", "samples", "steps_first", "two_inputs"]
