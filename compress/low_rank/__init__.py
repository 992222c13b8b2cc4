"""Low rank: layers written as two smaller ones, where that is measured to be faster."""

from __future__ import annotations

from compress.low_rank.factoring import Factored, Ranks, Timer, Trial, factor
from compress.low_rank.splits import SCHEMES

__all__ = ["SCHEMES", "Factored", "Ranks", "Timer", "Trial", "factor"]
