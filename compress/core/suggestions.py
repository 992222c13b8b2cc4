"""'Did you mean …?' for names and keys that are not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_MOST = 3


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Return at most three names that look like ``name``, best first.

    A known name that contains ``name`` counts as well (``orin-nx`` for ``jetson-orin-nx-8gb``).
    """
    by_casefold = {known_name.casefold(): known_name for known_name in sorted(names)}
    folded = name.casefold().strip()
    close = get_close_matches(folded, by_casefold, n=_MOST, cutoff=0.6)
    containing = [
        candidate
        for candidate in by_casefold
        if len(folded) > 1 and folded in candidate and candidate not in close
    ]
    return [by_casefold[match] for match in (*close, *containing)][:_MOST]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ``did you mean jetson?`` for the end of an error; empty where nothing looks like ``name``."""
    close_names = nearest(name, names)
    if not close_names:
        return ""
    *others, last = close_names
    return f"did you mean {', '.join(others)} or {last}?" if others else f"did you mean {last}?"
