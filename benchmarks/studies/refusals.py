"""Refusals of the steps that a network is put through, as rows of a study tell them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def refusals(row: Mapping[str, Any]) -> str:
    """Return what a row's steps refused, by step, as one line that a table in Markdown can hold.

    Args:
        row: Row whose key ``refused`` holds the reason of each step that did not succeed.
    """
    told = "; ".join(f"{step}: {' '.join(str(reason).split())}" for step, reason in row["refused"].items())
    return told.replace("|", "\\|")


def internal_errors(rows: Iterable[Mapping[str, Any]]) -> int:
    """Return the number of rows with an internal error of compress."""
    return sum(any(str(reason).startswith("internal") for reason in row["refused"].values()) for row in rows)
