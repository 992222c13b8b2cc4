"""'Did you mean …?' for names and keys that are not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_MOST = 3


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Return at most three names that look like ``name``, best first.

    A known name that contains ``name`` counts as well (``orin-nx`` for ``jetson-orin-nx-8gb``).
    """
    known = {each.casefold(): each for each in sorted(names)}
    wanted = name.casefold().strip()
    close = get_close_matches(wanted, known, n=_MOST, cutoff=0.6)
    containing = [each for each in known if len(wanted) > 1 and wanted in each and each not in close]
    return [known[each] for each in (*close, *containing)][:_MOST]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ``did you mean jetson?`` for the end of an error; empty where nothing looks like ``name``."""
    found = nearest(name, names)
    if not found:
        return ""
    *others, last = found
    return f"did you mean {', '.join(others)} or {last}?" if others else f"did you mean {last}?"
