"""The power modes of a Jetson: listed, set, and put back as they were found, also where whoever set them is killed.

``nvpmodel`` sets a mode for good: it outlives a restart. So the mode that was found, and the clocks where they were
locked, are written down there before anything is changed, and a process there puts them back once the board's lock
(:mod:`compress.hosts.lock`) is gone or silent. One that was restarted meanwhile is put back by whoever connects next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from compress.errors import ConnectionLostError, UnavailableError
from compress.hosts.board import Board, probe
from compress.hosts.lock import Lock
from compress.hosts.shell import Shell

#: Directory with what was found, below the home directory there.
PLACE = ".local/state/compress-power"

#: Functions of the shell there. ``nvpmodel`` asks whether to restart for some modes; nothing is restarted.
_FUNCTIONS = f"""
d=$HOME/{PLACE}; s=; [ "$(id -u)" = 0 ] || s='sudo -n'
back() {{
  id=$(cat "$d/mode" 2>/dev/null) && [ -n "$id" ] || return 0
  echo NO | $s nvpmodel -m "$id" >/dev/null 2>&1
  [ ! -f "$d/clocks" ] || $s jetson_clocks --restore "$d/clocks" >/dev/null 2>&1
  [ "$(nvpmodel -q 2>/dev/null | tail -n 1)" = "$id" ] && rm -rf "$d"
}}
"""
#: Writes down what is found, unless an earlier sweep did, and starts the process that puts it back.
_KEEP = """
[ -f "$d/mode" ] || { mkdir -p "$d" && nvpmodel -q | tail -n 1 >"$d/mode.part" || exit 1
LOCKED $s jetson_clocks --store "$d/clocks" >/dev/null 2>&1
mv "$d/mode.part" "$d/mode"; }
echo HOLDER >"$d/holder" || exit 1
(trap '' HUP; sh -c GUARD >/dev/null 2>&1 </dev/null & echo $! >"$d/guard")
"""
#: Ends once another sweep wrote its name there: that one's mode is not to be undone since this one's lock is gone.
_GUARD = """
while sleep 2 && [ -f "$d/mode" ] && [ "$(cat "$d/holder" 2>/dev/null)" = HOLDER ]; do
  { ALIVE; } || back
done
"""
#: Puts back what a sweep left that nobody watches any more; prints the mode where there was one.
_RECOVER = """
[ -f "$d/mode" ] || exit 0
kill -0 "$(cat "$d/guard" 2>/dev/null)" 2>/dev/null && exit 0
cat "$d/mode"; back
"""


@dataclass(frozen=True)
class PowerMode:
    """One power mode of a board.

    Attributes:
        number: Its number for ``nvpmodel -m``.
        name: Its name, such as ``MAXN_SUPER`` or ``15W``.
    """

    number: int
    name: str


def modes_in(text: str) -> tuple[PowerMode, ...]:
    """Return the modes in what ``nvpmodel -p --verbose`` prints, or in its configuration, by number."""
    declared = re.findall(r"POWER_MODEL:?\s+ID=(\d+)\s+NAME=(\S+)", text)
    return tuple(
        PowerMode(number, name) for number, name in sorted({(int(number), name) for number, name in declared})
    )


def recover(shell: Shell) -> str | None:
    """Put back a mode that an interrupted sweep left on a board that was restarted since; return its number."""
    numbers = shell.run(_FUNCTIONS + _RECOVER).text.split()
    return numbers[0] if numbers else None


class PowerModes:
    """The power modes of a board whose lock is held.

    Args:
        shell: Shell of the board.
        lock: Lock of the board, which is held.
        clocks_locked: Whether its clocks are locked; they then are in every mode.
    """

    def __init__(self, shell: Shell, lock: Lock, clocks_locked: bool) -> None:
        self._shell, self._lock, self._locked = shell, lock, clocks_locked

    def listed(self) -> tuple[PowerMode, ...]:
        """Return the board's modes, by number.

        Raises:
            UnavailableError: It has none that can be set.
        """
        done = self._shell.run(
            'nvpmodel -p --verbose 2>&1 </dev/null; cat "${COMPRESS_BOARD_ROOT:-}/etc/nvpmodel.conf" 2>/dev/null'
        )
        modes = modes_in(done.text)
        if not modes:
            raise UnavailableError(
                f"power modes of {self._shell.name}",
                "nvpmodel there lists none",
                "leave --power-modes out: only a Jetson has them",
            )
        return modes

    def present(self) -> PowerMode | None:
        """Return the mode that the board is in; None where it does not tell."""
        answer = self._shell.run("nvpmodel -q </dev/null 2>/dev/null").text
        name, number = (
            re.search(r"NV Power Mode: *(\S+)", answer),
            re.search(r"^(\d+)\s*$", answer, re.MULTILINE),
        )
        return PowerMode(int(number[1]), name[1]) if name and number else None

    def board(self) -> Board:
        """Return the board as it is in the mode that was set."""
        return probe(self._shell)

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Put the board back as it was found at the end of the block, or once this process is gone.

        Raises:
            UnavailableError: The mode cannot be written down, or put back.
        """
        guard = (_FUNCTIONS + _GUARD).replace("ALIVE", self._lock.alive)
        keep = _KEEP.replace("LOCKED", "" if self._locked else ":").replace("GUARD", _quoted(guard))
        keep = keep.replace("HOLDER", self._lock.token)
        if self._shell.run(_FUNCTIONS + keep).code != 0:
            raise UnavailableError(
                f"the power mode of {self._shell.name} written down before it is changed",
                f"no file in ~/{PLACE}, or no nvpmodel",
                "free some of the disk there, and see what nvpmodel -q says",
            )
        try:
            yield
        except ConnectionLostError:
            raise  # What watches there puts it back.
        except BaseException:
            self._shell.run(_FUNCTIONS + "back")
            raise
        self._shell.run(_FUNCTIONS + "back")
        if self._shell.run(f"[ ! -e ~/{PLACE}/mode ]").code != 0:
            raise UnavailableError(
                f"the power mode of {self._shell.name} as it was",
                "nvpmodel did not set it",
                f"set it by hand: the number is in ~/{PLACE}/mode there",
            )

    def set(self, mode: PowerMode) -> str | None:
        """Set a mode, with its clocks locked where they were; return why it could not be, None where it was."""
        lock = "$s jetson_clocks >/dev/null 2>&1" if self._locked else ":"
        done = self._shell.run(
            f"{_FUNCTIONS}{self._lock.beat}\necho NO | $s nvpmodel -m {mode.number} 2>&1; {lock}"
        )
        if self.present() == mode:
            return None
        said = [line.strip() for line in done.text.splitlines() if line.strip()]
        if any("reboot" in line.casefold() for line in said):
            return "it needs a restart of the board"
        return said[-1] if said else "nvpmodel does not set it"


def _quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"
