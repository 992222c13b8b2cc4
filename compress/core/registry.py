"""Registries of things that have a name: built-ins, and what other installed distributions add to them.

Each kind of thing that a package may add (a technique, a back end, a metric, …) has one :class:`Registry`. It knows the
built-ins as texts ``module:attribute`` and imports one only when it is asked for. After the built-ins come the entry
points of the registry's group; a package declares one in its ``pyproject.toml``:

    [project.entry-points."compress.metrics"]
    word-error = "acme_compress.metrics:word_error"

Nothing replaces anything: where two distributions use one name, the name is refused and both are told.

The idea is that of ``lm_eval/api/registry.py`` in EleutherAI's lm-evaluation-harness.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, PackageNotFoundError, entry_points, version
from typing import Generic, TypeVar

from compress.core.suggestions import did_you_mean
from compress.core.user_code import users_code
from compress.errors import CompressError, UsageError

T = TypeVar("T")

#: Says what is wrong with an object that is registered under a name, as a noun phrase; None where nothing is.
Check = Callable[[str, object], str | None]

_OURS = "compress-toolkit"


@dataclass(frozen=True)
class Entry:
    """Name that is registered, with its object's place and origin.

    Attributes:
        kind: Kind of thing: ``technique``, ``back end``, …
        name: The name that a user types.
        reference: Place of the object: ``module:attribute``, or the path of a file of this package.
        distribution: Name of the installed distribution that brings it, as pip knows it.
        version: Version of that distribution; None where it is not known.
        built_in: Whether it belongs to compress itself.
    """

    kind: str
    name: str
    reference: str
    distribution: str
    version: str | None
    built_in: bool = False

    @property
    def origin(self) -> str:
        """The distribution with its version, for messages."""
        return f"{self.distribution} {self.version}" if self.version else self.distribution


class Registry(Generic[T]):
    """Registry of all objects of one kind that users can name.

    Args:
        kind: Kind of the objects, as a singular noun for messages: ``technique``.
        group: Entry point group in which other distributions register theirs: ``compress.techniques``.
        built_in: Name → ``module:attribute`` of what compress brings, in the order in which names are listed; or a
            function that gives this mapping, where it takes work to know.
        wanted: Description of an object of this kind, as a noun phrase, for messages.
        check: Says what is wrong with an object.
        error: Raised for a name that cannot be used.
        todo: Advice about an unknown name that resembles no other; None lists the names.
        also: Text that follows that list, from its comma on; empty for nothing.
        load_built_in: Gives the object of a built-in's reference; imports it by default.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        built_in: Mapping[str, str] | Callable[[], Mapping[str, str]],
        *,
        wanted: str,
        check: Check,
        error: type[CompressError] = UsageError,
        todo: str | None = None,
        also: str = "",
        load_built_in: Callable[[str], object] | None = None,
    ) -> None:
        self.kind = kind
        self.group = group
        self._built_in = built_in
        self._wanted = wanted
        self._check = check
        self._error = error
        self.todo = todo
        self._also = also
        self._load_built_in = load_built_in or _imported

    def entries(self) -> list[Entry]:
        """Return all entries, without an import: the built-ins in their order, then the others by name."""
        ours = [
            Entry(self.kind, name, reference, _OURS, _our_version(), built_in=True)
            for name, reference in self._built_ins().items()
        ]
        return ours + self.added()

    def added(self) -> list[Entry]:
        """Return the entries of other distributions, by name."""
        return sorted(
            (self._entry(point) for point in _installed(self.group)),
            key=lambda entry: (entry.name, entry.origin, entry.reference),
        )

    def names(self) -> list[str]:
        """Return every name, in the order of :meth:`entries`."""
        return list(dict.fromkeys(entry.name for entry in self.entries()))

    def __contains__(self, name: str) -> bool:
        """Whether something has that name."""
        return name in self._built_ins() or any(entry.name == name for entry in self.added())

    def find(self, name: str) -> Entry:
        """Return the only entry of a name.

        Raises:
            CompressError: Nothing has that name, or several things have it; of the class ``error``.
        """
        matches = [entry for entry in self.entries() if entry.name == name]
        if not matches:
            names = self.names()
            todo = did_you_mean(name, names) or self.todo or f"choose one of {', '.join(names)}{self._also}"
            raise self._error(f"a known {self.kind}", f"'{name}'", todo)
        if len(matches) > 1:
            origins = " and ".join(entry.origin for entry in matches)
            raise self._error(
                f"one {self.kind} named '{name}'", f"one each in {origins}", "uninstall one of them"
            )
        return matches[0]

    def load(self, name: str) -> T:
        """Import and return the object of a name.

        Raises:
            CompressError: As :meth:`find`; or it cannot be imported, or is of another kind.
        """
        return self._loaded(self.find(name))

    def problem(self, entry: Entry) -> str | None:
        """Return why an entry cannot be used, in one line; None where it can. The entry is imported."""
        try:
            self._loaded(self.find(entry.name))
        except CompressError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a built-in whose package is broken
            return f"{entry.reference}: {type(error).__name__}: {error}"
        return None

    def _built_ins(self) -> Mapping[str, str]:
        return self._built_in() if callable(self._built_in) else self._built_in

    def _entry(self, point: EntryPoint) -> Entry:
        origin = point.dist
        return Entry(
            self.kind,
            point.name,
            point.value.partition("[")[0].strip(),  # extras of old metadata mean nothing any more
            "a distribution without a name" if origin is None else str(origin.name),
            None if origin is None else str(origin.version),
        )

    def _loaded(self, entry: Entry) -> T:
        wanted = f"the {self.kind} '{entry.name}' of {entry.origin}"
        todo = f"update or uninstall {entry.distribution}"
        try:
            with users_code():
                plugin = (
                    self._load_built_in(entry.reference) if entry.built_in else _imported(entry.reference)
                )
                problem = self._check(entry.name, plugin)
        except Exception as cause:
            if (
                entry.built_in
            ):  # a defect of ours, or a package of ours that is broken: told with all it has to tell
                raise
            failure = f"{entry.reference}, which fails while it is imported ({type(cause).__name__}: {cause})"
            raise self._error(wanted, failure, todo) from cause
        if problem is not None:
            raise self._error(f"{wanted} to be {self._wanted}", problem, todo)
        return plugin  # type: ignore[return-value]


def adding_distributions() -> dict[str, str]:
    """Name → version of every installed distribution that adds something to compress."""
    return dict(_adding(tuple(sys.path)))


def subclass_of(base: str, *, named: bool = False) -> Check:
    """Return a check for classes.

    Args:
        base: ``module:attribute`` of the class that they inherit, imported when something is checked.
        named: Whether the class has an attribute ``name``, which must be the name that it is registered under.
    """

    def check(name: str, candidate: object) -> str | None:
        wanted = _imported(base)
        if not (isinstance(candidate, type) and isinstance(wanted, type) and issubclass(candidate, wanted)):
            return what(candidate)
        if inspect.isabstract(candidate):
            return f"{candidate.__name__} without {', '.join(_missing(candidate))}"
        own_name = getattr(candidate, "name", None)
        if named and own_name != name:
            return f"{candidate.__name__} with the name {own_name!r}"
        return None

    return check


def function(name: str, found: object) -> str | None:
    """Check that an object is a function."""
    return None if callable(found) and not isinstance(found, type) else what(found)


def _missing(kind: type) -> list[str]:
    """Abstract methods that a class leaves open."""
    return sorted(getattr(kind, "__abstractmethods__", ()))


def what(found: object) -> str:
    """Return what an object is, as a noun phrase, for messages."""
    if isinstance(found, type):
        return f"the class {found.__name__}"
    return f"an object of the class {type(found).__name__}"


def _imported(reference: str) -> object:
    module, _, attributes = reference.partition(":")
    loaded: object = importlib.import_module(module.strip())
    for attribute in attributes.strip().split("."):
        loaded = getattr(loaded, attribute) if attribute else loaded
    return loaded


def _installed(group: str) -> EntryPoints:
    return _entry_points(group, tuple(sys.path))


@lru_cache(maxsize=64)
def _entry_points(group: str, path: Iterable[str]) -> EntryPoints:
    """Entry points of a group on a module search path, read once: it takes a file for each distribution."""
    return entry_points(group=group)


@lru_cache(maxsize=64)
def _adding(path: Iterable[str]) -> Mapping[str, str]:
    points = entry_points()
    groups = sorted(group for group in points.groups if group.startswith("compress."))
    origins = [point.dist for group in groups for point in points.select(group=group)]
    return {str(origin.name): str(origin.version) for origin in origins if origin is not None}


@lru_cache(maxsize=1)
def _our_version() -> str | None:
    try:
        return version(_OURS)
    except PackageNotFoundError:  # a checkout that was never installed
        return None
