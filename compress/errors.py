"""Errors for people: what was wanted, what was found, what to do next, on one line.

    CompressError
    ├── UsageError            exit 2: something the caller gave cannot be used
    │   ├── NetworkError      the network's file, or the module itself
    │   │   ├── UntrustedFileError   it would run code while it loads
    │   │   └── LiftError     an operator or a control flow that cannot be lifted
    │   ├── DataError         evaluation, calibration or training data
    │   ├── MetricError       an unknown metric, or one that does not fit data and network
    │   ├── TargetError       an unknown target, or a target file that is wrong
    │   ├── RecipeError       an unknown technique, or a setting that is wrong
    │   ├── BundleError       a bundle or profile that is damaged or of another kind
    │   └── OutputError       the place where results should go
    ├── NotDeployableError    exit 1: the target's runtime refuses what was built for it
    ├── UnavailableError      exit 4: the target or its back end is not on this machine
    │   ├── ConnectionLostError  a board stopped answering; what was measured is kept
    │   └── MachineChangedError  a board is in another power mode than the figures before
    └── InternalError         exit 5: a defect of compress itself

Exit codes of the command: 0 success or pass, 1 the gate's fail, or nothing that can be shipped, 2 usage, 3 the gate's
inconclusive, 4 not available, 5 internal, 130 interrupted.
"""

from __future__ import annotations

from compress.core.plain_text import one_line


class CompressError(Exception):
    """Root of every error compress raises on purpose.

    Args:
        wanted: The thing that was needed, as a noun phrase ("a trained network").
        found: The thing that was there instead, with the name of the file or value.
        todo: Next step for the reader, as an imperative.

    The three are kept as attributes; ``str(error)`` is one line.
    """

    exit_code = 5

    def __init__(self, wanted: str, found: str, todo: str) -> None:
        self.wanted = one_line(wanted)
        self.found = one_line(found)
        self.todo = one_line(todo)
        super().__init__(f"wanted {self.wanted}; found {self.found}; {self.todo}")

    def __reduce__(self) -> tuple[type[CompressError], tuple[str, str, str]]:
        # Exception's own pickling would call __init__ with the joined message alone.
        return type(self), (self.wanted, self.found, self.todo)


class UsageError(CompressError):
    """An argument, option or file of the caller cannot be used."""

    exit_code = 2


class NetworkError(UsageError):
    """The network's file, or the module itself, cannot be used."""


class UntrustedFileError(NetworkError):
    """Loading the file would run code that it carries."""


class LiftError(NetworkError):
    """An operator or a control flow that cannot be lifted to the common graph."""


class DataError(UsageError):
    """Data is missing, damaged, or does not fit the network."""


class MetricError(UsageError):
    """The metric is unknown, or does not fit the data and the network."""


class TargetError(UsageError):
    """The target is unknown, or its file is wrong."""


class RecipeError(UsageError):
    """A recipe names an unknown technique or a wrong setting."""


class BundleError(UsageError):
    """A bundle or profile is damaged, or of another kind than needed."""


class OutputError(UsageError):
    """Results cannot be written where they should go."""


class NotDeployableError(CompressError):
    """The target's runtime refuses a graph: nothing of it can run there."""

    exit_code = 1


class UnavailableError(CompressError):
    """The target, or the back end it needs, is not on this machine."""

    exit_code = 4


class ConnectionLostError(UnavailableError):
    """A board stopped answering; what was measured is kept."""


class MachineChangedError(UnavailableError):
    """A board is in another power mode than when the figures before were taken: they do not compare."""


class InternalError(CompressError):
    """A defect of compress itself."""

    exit_code = 5
