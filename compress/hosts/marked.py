"""Command lines that every login shell passes on as they are, and answers that are told from what startup files print.

What ssh is given is read by the login shell of the account, which may be csh or fish, and may run files that print or
refuse. So the script is written in letters that no shell acts on, for ``printf %b``, and a line that only this
connection knows stands before its output and its errors.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

#: Characters that no shell acts on between quotes; all others are written as octal numbers.
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-./=:,")


@dataclass(frozen=True)
class Marks:
    """The marks of one connection.

    Attributes:
        word: Word that stands before each answer.
    """

    word: str = field(default_factory=lambda: uuid.uuid4().hex)

    def command(self, script: str) -> str:
        """Return the command line for the login shell there; the script reads standard input.

        Args:
            script: Script of POSIX sh.
        """
        # In two halves, so that a shell that shows its commands does not show the mark.
        first, second = self.word[:16], self.word[16:]
        marked = f"printf '%s%s\\n' {first} {second}; printf '%s%s\\n' {first} {second} >&2\n{script}"
        # No "exec": restricted shells refuse that, and run sh.
        return f'sh -c \'eval "$(printf %b "{_octal(marked)}")"\''

    def answer(self, output: bytes) -> bytes | None:
        """Return what the script wrote to one stream; None where it did not run.

        Args:
            output: All that came.
        """
        _, mark, said = output.partition(f"{self.word}\n".encode())
        return said if mark else None


def _octal(script: str) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in script.encode())
