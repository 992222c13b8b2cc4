"""The profile of a build in each power mode of a board, which is put back as it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from compress.core.progress import Reporter
from compress.errors import InternalError, UnavailableError
from compress.hosts.power_modes import PowerMode
from compress.hosts.tensorrt import TensorRtHost
from compress.measuring.standalone import GivenBuild, on_host
from compress.records.profile import Profile
from compress.target.target import Target


@dataclass(frozen=True)
class InPowerMode:
    """The measurement of a build in one power mode.

    Attributes:
        mode: The mode.
        profile: Profile of the build; None where the mode could not be set.
        reason: Why it could not be set; None where it was.
    """

    mode: PowerMode
    profile: Profile | None = None
    reason: str | None = None


@dataclass(frozen=True)
class PowerModeSweep:
    """A build in every power mode of a board.

    Attributes:
        found: Mode that the board was found in, and is in again; None where it did not tell.
        modes: Measurement of each mode, by its number.
    """

    found: PowerMode | None
    modes: tuple[InPowerMode, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the sweep as the dict that ``compress profile --power-modes --json`` prints."""
        return {
            "schema": 1,
            "found": None if self.found is None else self.found.name,
            "modes": [
                {
                    "number": swept.mode.number,
                    "name": swept.mode.name,
                    "profile": None if swept.profile is None else swept.profile.to_dict(),
                    "reason": swept.reason,
                }
                for swept in self.modes
            ],
        }


def sweep_power_modes(
    given: GivenBuild,
    target: Target,
    host: str,
    *,
    keep_on_host: bool = False,
    batches: Sequence[int] = (),
    seconds: float = 2.0,
    reporter: Reporter | None = None,
) -> PowerModeSweep:
    """Measure a build in every power mode of a board, with the same engines.

    The mode of before is measured first, so that engines are built in it as they will be deployed.

    Args:
        given: The build.
        target: Target of the build.
        host: Address of the board.
        keep_on_host: Whether to leave the engines there.
        batches: Batch sizes; empty takes the target's.
        seconds: Time to measure each batch size, in seconds.
        reporter: Receives the progress.

    Raises:
        UnavailableError: The board does not answer, has no power modes, or none but its own can be set.
    """
    reporter = reporter or Reporter()
    if batches:
        target = replace(target, batch_sizes=tuple(dict.fromkeys(batches)))
    with on_host(given, target, host, keep_on_host, seconds, reporter) as (machine, measured):
        if not isinstance(machine, TensorRtHost):
            raise InternalError("a board", type(machine).__name__, "report this as a defect")
        results = []
        with machine.exclusive(), machine.power_modes.put_back():
            modes, present = machine.power_modes.listed(), machine.power_modes.present()
            for mode in sorted(modes, key=lambda listed: (listed != present, listed.number)):
                reporter.stage(f"power mode {mode.name}")
                reason = None if mode == present else machine.power_modes.set(mode)
                if reason is not None:
                    results.append(InPowerMode(mode, reason=reason))
                    continue
                machine.board = machine.power_modes.board()
                results.append(InPowerMode(mode, measured()))
        refused = [swept.reason for swept in results if swept.profile is None]
        if len(modes) > 1 and len(refused) >= len(modes) - 1:
            raise UnavailableError(
                f"a power mode of {host} besides {'its own' if present is None else present.name}",
                f"none that could be set ({refused[0]})",
                'allow it without a password there: echo "$USER ALL=NOPASSWD: $(command -v nvpmodel), '
                '$(command -v jetson_clocks)" | sudo tee /etc/sudoers.d/compress',
            )
        return PowerModeSweep(present, tuple(sorted(results, key=lambda swept: swept.mode.number)))
