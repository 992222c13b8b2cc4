"""Records that were dicts: until :data:`GONE_IN` what their dict had under a key can be read as before, and warns."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

#: The release from which on these records cannot be read as dicts any more.
GONE_IN = "0.3.0"


class FormerDict(ABC):
    """A record that was a dict in an earlier release: the one that its :meth:`to_dict` returns."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""

    def __getitem__(self, key: str) -> Any:
        """Return what the dict has under a key; warns.

        Raises:
            KeyError: It has no such key.
        """
        return self._as_it_was()[key]

    def __contains__(self, key: object) -> bool:
        """Whether the dict has a key; warns."""
        return key in self._as_it_was()

    def __iter__(self) -> Iterator[str]:
        """Return the keys of the dict; warns."""
        return iter(self._as_it_was())

    def get(self, key: str, default: Any = None) -> Any:
        """Return what the dict has under a key, or the default where it has none; warns."""
        return self._as_it_was().get(key, default)

    def _as_it_was(self) -> dict[str, Any]:
        name = type(self).__name__
        warnings.warn(
            f"a {name} is no dict any more: read its attributes, or call to_dict(); what is left of the dict goes in "
            f"compress {GONE_IN}",
            DeprecationWarning,
            stacklevel=3,
        )
        return self.to_dict()
