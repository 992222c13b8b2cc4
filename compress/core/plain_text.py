"""Texts from files, made safe to show to a person.

Names of files, inputs, layers, classes, targets and metrics may hold anything. What would steer a terminal, turn text
around, hide in it or begin a new line is written as an escape that can be read, such as ``\\x1b``.
"""

from __future__ import annotations

import re
import shlex
import string

#: Controls, invisible and turning characters, ends of lines, halves of surrogate pairs, and tags. Joiners stay, which
#: scripts need.
_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)

_IN_A_SCRIPT = frozenset(string.ascii_letters + string.digits + " -_./:,=+")


def plain(text: object) -> str:
    """Return the text on one line, with characters that control the terminal escaped."""
    return _STEERING.sub(_escape, str(text))


def one_line(text: object) -> str:
    """Return the text as :func:`plain` does, with each run of spaces and line ends as one space."""
    return plain(" ".join(str(text).split()))


def shell_word(text: str) -> str:
    """Quote the text as one word of a POSIX shell script, whose lines stay plain text.

    Ends of lines at the very end of it are lost, as a shell loses them.
    """
    if plain(text) == text:
        return shlex.quote(text)
    shown = (chr(byte) if chr(byte) in _IN_A_SCRIPT else f"\\0{byte:03o}" for byte in text.encode())
    return f"\"$(printf '%b' '{''.join(shown)}')\""


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
