"""The diagnosis of a machine and a board."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from compress.doctor.board import advice
from compress.doctor.outlook import Outlook, outlook
from compress.doctor.packages import Package, look
from compress.doctor.system import System, system
from compress.hosts import shell_of
from compress.hosts.board import Board, probe

if TYPE_CHECKING:
    from compress.target.target import Target


@dataclass(frozen=True)
class Diagnosis:
    """Diagnosis of this machine and of a board.

    Attributes:
        machine: This machine.
        packages: Packages, in the order of :data:`compress.doctor.packages.PACKAGES`.
        targets: Outlook for each target.
        host: Address of the board, as the user gave it; None without a board.
        board: Board that answered there; None without a board.
        advice: Advice on the board's settings before anything is measured.
    """

    machine: System
    packages: tuple[Package, ...]
    targets: tuple[Outlook, ...]
    host: str | None = None
    board: Board | None = None
    advice: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the dict that ``compress doctor --json`` prints."""
        return {
            "schema": 1,
            "machine": self.machine.to_dict(),
            "packages": [package.to_dict() for package in self.packages],
            "targets": [target.to_dict() for target in self.targets],
            "host": self.host,
            "board": None if self.board is None else asdict(self.board),
            "advice": list(self.advice),
        }


def diagnose(
    targets: list[Target] | None = None, host: str | None = None, *, importing: bool = True
) -> Diagnosis:
    """Examine this machine, and a board.

    Args:
        targets: Targets to examine; None takes all known ones.
        host: Address of a board that ssh takes, or ``local``; None examines no board.
        importing: Whether to import the packages that are installed, which takes seconds.

    Raises:
        UnavailableError: The board does not answer, or has no ``trtexec``.
        UsageError: The host is no address.
    """
    from compress.target.target import list_targets

    board = None if host is None else _ask(host)
    machine, packages = system(), look(importing=importing)
    by_name = {package.name: package for package in packages}
    targets_asked = list_targets() if targets is None else targets
    seen = None if board is None or host is None else (host, board)
    return Diagnosis(
        machine,
        packages,
        tuple(outlook(target, machine, by_name, seen) for target in targets_asked),
        host,
        board,
        () if board is None else tuple(advice(board)),
    )


def _ask(host: str) -> Board:
    with shell_of(host) as shell:
        return probe(shell)
