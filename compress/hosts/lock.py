"""A lock for one user at a time, since two that measure on one board at once disturb each other.

The lock is a directory that only one can make (``mkdir`` is atomic), with who holds it and when it was last heard of
by the board's own clock. One that has been silent for :data:`STALE_SECONDS` is taken over, by any user: so it lies in
a directory that all may write, since in ``/tmp`` itself nobody may move what another user made.
"""

from __future__ import annotations

import getpass
import shlex
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from compress.core.plain_text import one_line
from compress.errors import ConnectionLostError, OutputError, UnavailableError
from compress.hosts.shell import Shell

#: Where every user of the board finds it.
PATH = "/tmp/compress-board/lock"
#: Without a beat, after which the holder is taken for gone: several times what a request may wait.
STALE_SECONDS = 180

#: Before a reason why nobody can take the lock, in place of a holder's name.
_NO_PLACE = "=no place:"
#: Prints who holds the lock, or nothing where it is ours now. A second try after a lost connection finds its own token.
#: A stale lock is moved away before it is removed: of two who see it only one can, and whoever moves a fresh one by
#: mistake puts it back. A beat is the time of a file, which is touched: writing would follow a link that another user
#: may have put there.
_TAKE = """
own() { [ "$(cat "$lock/token" 2>/dev/null)" = "$token" ]; }
no_place() { echo "$no_place $1"; exit 0; }
fill() {
  : >"$lock/beat" && echo "$owner" >"$lock/owner" && echo "$token" >"$lock/token" && chmod 777 "$lock"
}
take() {
  mkdir "$lock" 2>/dev/null || return 1
  fill 2>/dev/null || own || { [ ! -d "$lock" ] || { rm -rf "$lock"; no_place "no space for $lock"; }; }
}
of() { date -r "$1" +%s 2>/dev/null; }
age() { echo $(( $(date +%s) - $(of "$lock/beat" || of "$lock" || date +%s) )); }
place=$(dirname "$lock")
[ -d "$place" ] || mkdir -m 777 "$place" 2>/dev/null
[ -w "$place" ] || no_place "$place cannot be written"
own || take || {
  seen=$(cat "$lock/token" 2>/dev/null)
  if [ "$(age)" -gt "$stale" ] && mv "$lock" "$lock.$token" 2>/dev/null; then
    if [ "$(cat "$lock.$token/token" 2>/dev/null)" = "$seen" ]; then rm -rf "$lock.$token"; take
    else mv "$lock.$token" "$lock"; fi
  fi
  own || cat "$lock/owner" 2>/dev/null || echo another user
}
"""


class Lock:
    """The lock of a board.

    Args:
        shell: Shell of the board.
        path: Path of the lock on the board.
        wait_seconds: Longest wait for another user, in seconds.
        on_wait: Receives the holder's name once, when there is somebody to wait for.

    Attributes:
        path: Path of the lock on the board.
        token: Word that tells this holder from all others.
    """

    def __init__(
        self,
        shell: Shell,
        path: str = PATH,
        wait_seconds: float = 3600.0,
        on_wait: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._shell = shell
        self.path = path
        self._wait_seconds = wait_seconds
        self._on_wait = on_wait
        self.token = uuid.uuid4().hex
        self._depth = 0
        self._owner = _plain(getpass.getuser())

    @property
    def beat(self) -> str:
        """Return a command line that marks the holder as alive; it does nothing once another user holds the lock."""
        lock = shlex.quote(self.path)
        return f'[ "$(cat {lock}/token 2>/dev/null)" != {self.token} ] || touch {lock}/beat'

    @property
    def alive(self) -> str:
        """Return a command line that succeeds as long as this holder has the lock and was heard of."""
        lock = shlex.quote(self.path)
        heard = f"$(date -r {lock}/beat +%s 2>/dev/null || echo 0)"
        return (
            f'[ "$(cat {lock}/token 2>/dev/null)" = {self.token} ] '
            f"&& [ $(( $(date +%s) - {heard} )) -le {STALE_SECONDS} ]"
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock inside the block, which may be inside of another that holds it.

        Raises:
            UnavailableError: Another user did not release it in time, or a stale lock may not be removed.
            OutputError: The place of the lock has no space, or may not be written.
        """
        if self._depth == 0:
            self._acquire()
        self._depth += 1
        answers = True
        try:
            yield
        except ConnectionLostError:
            answers = False  # Then it goes stale by itself.
            raise
        finally:
            self._depth -= 1
            if answers and self._depth == 0:
                self._release()

    def _acquire(self) -> None:
        deadline = time.monotonic() + self._wait_seconds
        is_told = False
        while (holder := self._try()) is not None:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"the board {self._shell.name} to itself",
                    f"it is in use by {holder}",
                    f"try again later; if nobody uses it, remove {self.path} there",
                )
            if not is_told:
                self._on_wait(holder)
                is_told = True
            time.sleep(0.5)

    def _try(self) -> str | None:
        """Try to take the lock; return its holder where that fails."""
        values = {
            "lock": self.path,
            "token": self.token,
            "owner": self._owner,
            "stale": str(STALE_SECONDS),
            "no_place": _NO_PLACE,
        }
        given = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
        holder = self._shell.run(given + _TAKE).text.strip()
        if holder.startswith(_NO_PLACE):
            raise OutputError(
                f"a lock on {self._shell.name}, so that one user at a time measures there",
                one_line(holder.removeprefix(_NO_PLACE)),
                f"free space there, and let every user write {PurePosixPath(self.path).parent}",
            )
        return _plain(holder) if holder else None

    def _release(self) -> None:
        lock = shlex.quote(self.path)
        self._shell.run(f'if [ "$(cat {lock}/token 2>/dev/null)" = {self.token} ]; then rm -rf {lock}; fi')


def _plain(name: str) -> str:
    """Return a name without characters that a shell or a terminal would act on."""
    return "".join(mark for mark in name if mark.isalnum() or mark in " -_.")[:64] or "unknown"
