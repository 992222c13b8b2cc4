"""A lock for one user at a time, since two that measure on one board at once disturb each other.

The lock is a directory that only one can make (``mkdir`` is atomic), with who holds it and when it was last heard of
by the board's own clock. One that has been silent for :data:`STALE_SECONDS` is taken over.
"""

from __future__ import annotations

import getpass
import shlex
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from compress.errors import ConnectionLostError, UnavailableError
from compress.hosts.shell import Shell

#: Where every user of the board finds it.
PATH = "/tmp/compress-board.lock"
#: Without a beat, after which the holder is taken for gone: several times what a request may wait.
STALE_SECONDS = 180

#: Prints who holds the lock, or nothing where it is ours now. A second try after a lost connection finds its own token.
#: A stale lock is moved away before it is removed: of two who see it only one can, and whoever moves a fresh one by
#: mistake puts it back.
_TAKE = """
own() { [ "$(cat LOCK/token 2>/dev/null)" = TOKEN ]; }
take() { mkdir LOCK 2>/dev/null && date +%s >LOCK/beat && echo OWNER >LOCK/owner && echo TOKEN >LOCK/token; }
own || take || {
  beat=$(cat LOCK/beat 2>/dev/null)
  seen=$(cat LOCK/token 2>/dev/null)
  if [ $(( $(date +%s) - ${beat:-0} )) -gt STALE ] && mv LOCK LOCK.TOKEN 2>/dev/null; then
    if [ "$(cat LOCK.TOKEN/token 2>/dev/null)" = "$seen" ]; then rm -rf LOCK.TOKEN; take; else mv LOCK.TOKEN LOCK; fi
  fi
  own || cat LOCK/owner 2>/dev/null || echo another user
}
"""


class Lock:
    """The lock of a board.

    Args:
        shell: Shell of the board.
        path: Path of the lock on the board.
        wait_seconds: Longest wait for another user, in seconds.
        on_wait: Receives the holder's name once, when there is somebody to wait for.
    """

    def __init__(
        self,
        shell: Shell,
        path: str = PATH,
        wait_seconds: float = 3600.0,
        on_wait: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._shell = shell
        self._path = path
        self._wait_seconds = wait_seconds
        self._on_wait = on_wait
        self._token = uuid.uuid4().hex
        self._owner = _plain(getpass.getuser())

    @property
    def beat(self) -> str:
        """Return a command line that marks the holder as alive; it does nothing once another user holds the lock."""
        lock = shlex.quote(self._path)
        return f'[ "$(cat {lock}/token 2>/dev/null)" != {self._token} ] || date +%s >{lock}/beat'

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock inside the block.

        Raises:
            UnavailableError: Another user did not release it in time, or a stale lock may not be removed.
        """
        self._acquire()
        answers = True
        try:
            yield
        except ConnectionLostError:
            answers = False  # Then it goes stale by itself.
            raise
        finally:
            if answers:
                self._release()

    def _acquire(self) -> None:
        deadline = time.monotonic() + self._wait_seconds
        told = False
        while (holder := self._try()) is not None:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"the board {self._shell.name} to itself",
                    f"it is in use by {holder}",
                    f"try again later; if nobody uses it, remove {self._path} there",
                )
            if not told:
                self._on_wait(holder)
                told = True
            time.sleep(0.5)

    def _try(self) -> str | None:
        """Try to take the lock; return its holder where that fails."""
        lock, token = shlex.quote(self._path), self._token
        command = _TAKE
        values = {"LOCK": lock, "TOKEN": token, "OWNER": f"'{self._owner}'", "STALE": str(STALE_SECONDS)}
        for name, value in values.items():
            command = command.replace(name, value)
        holder = self._shell.run(command).text.strip()
        return _plain(holder) if holder else None

    def _release(self) -> None:
        lock = shlex.quote(self._path)
        self._shell.run(f'if [ "$(cat {lock}/token 2>/dev/null)" = {self._token} ]; then rm -rf {lock}; fi')


def _plain(name: str) -> str:
    """Return a name without characters that a shell or a terminal would act on."""
    return "".join(mark for mark in name if mark.isalnum() or mark in " -_.")[:64] or "unknown"
