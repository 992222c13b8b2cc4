"""Files to and from a machine, whole or not at all: checked by sha256, continued where a connection dropped."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

from compress.errors import ConnectionLostError, OutputError, UnavailableError
from compress.hosts.shell import SECONDS, Done, Shell

#: A slow link carries some 100 kB a second; whoever sends a gigabyte over one waits.
_LEAST_BYTES_PER_SECOND = 1e5
_ATTEMPTS = 5


def send(shell: Shell, source: Path, path: str) -> None:
    """Copy a file to the machine; an equal one, by its sha256, is not sent again.

    Args:
        shell: Shell of the machine.
        source: File of this machine.
        path: Path on the machine, in an existing directory.

    Raises:
        OutputError: The disk there is full, or the place may not be written.
        ConnectionLostError: The connection dropped and did not come back.
        UnavailableError: The file arrived damaged.
    """
    sha256, size = _sha256(source), source.stat().st_size
    if remote_sha256(shell, path) == sha256:
        return
    partial = shlex.quote(path + ".partial")
    checked(shell, f": > {partial}")
    for attempt in range(_ATTEMPTS):
        arrived = int(checked(shell, f"wc -c < {partial}").text)
        with source.open("rb", buffering=0) as file:  # Another program reads on from where it stands.
            file.seek(arrived)
            try:
                done = shell.run(f"cat >> {partial}", file, 60 + size / _LEAST_BYTES_PER_SECOND)
            except ConnectionLostError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
        _check(shell, done)
        break
    if remote_sha256(shell, path + ".partial") != sha256:
        checked(shell, f"rm -f {partial}")
        raise UnavailableError(
            f"{source.name} on {shell.name} as it is here",
            "another sha256",
            "check the disk there, and try again",
        )
    checked(shell, f"mv {partial} {shlex.quote(path)}")


def send_bytes(shell: Shell, content: bytes, path: str) -> None:
    """Write a small file on the machine, whole or not at all; errors as in :func:`send`."""
    partial, final = shlex.quote(path + ".partial"), shlex.quote(path)
    same = f'[ "$(sha256sum < {partial} | cut -d " " -f 1)" = {hashlib.sha256(content).hexdigest()} ]'
    checked(shell, f"cat > {partial} && {same} && mv {partial} {final}", content)


def receive(shell: Shell, path: str) -> bytes:
    """Return the content of a file on the machine.

    Raises:
        UnavailableError: The file is not there, or arrived damaged.
    """
    quoted = shlex.quote(path)
    received = shell.run(f"cat {quoted} && sha256sum < {quoted} >&2", seconds=600)
    if received.code != 0 or hashlib.sha256(received.output).hexdigest() not in received.errors:
        raise UnavailableError(
            f"the file {path} from {shell.name}",
            received.errors.strip() or "another sha256 than there",
            "try again",
        )
    return received.output


def remote_sha256(shell: Shell, path: str) -> str | None:
    """Return the sha256 of a file on the host; None where there is none."""
    done = shell.run(f"sha256sum < {shlex.quote(path)}", seconds=600)
    return done.text.split()[0] if done.code == 0 else None


def checked(shell: Shell, command: str, stdin: bytes = b"", seconds: float = SECONDS) -> Done:
    """Run a command that writes.

    Raises:
        OutputError: The command failed.
    """
    return _check(shell, shell.run(command, stdin, seconds))


def _check(shell: Shell, done: Done) -> Done:
    if done.code != 0:
        said = done.errors.strip().splitlines()
        raise OutputError(
            f"space and permission to write on {shell.name}",
            said[-1] if said else f"exit status {done.code}",
            "free space or permissions there, and give the same command again",
        )
    return done


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
