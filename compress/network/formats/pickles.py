"""The calls of a pickle, read from its opcodes; nothing is executed.

A pickle is a program: its GLOBAL opcodes import names, and REDUCE calls them. Tensors need a dozen harmless
names; every other name is code that the file chooses. ``pickletools`` decodes opcodes without acting on them.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections.abc import Iterator
from typing import IO, Any, Protocol, cast

# What torch.load(weights_only=True) accepts for tensors and containers of tensors; torch checks again at load.
_SAFE = re.compile(
    r"collections\.(OrderedDict|Counter)"
    r"|_codecs\.encode|(builtins|__builtin__)\.(bytearray|set|complex)"
    r"|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\.nn\.parameter\.(Parameter|Buffer)|torch\.serialization\._get_layout"
    r"|torch\.(Tensor|Size|device|per_(tensor|channel)_\w+)"
    r"|torch\.(storage\.)?(\w+Storage|_?UntypedStorage|TypedStorage)"
    r"|torch\.(bool|bfloat16|float\w*|half|double|u?int\d*|short|long|complex\w*|cfloat|cdouble|q?u?int\d+x?\d*)"
)
# Types of plain values, which torch does not accept either, and which tell a person nothing about the file.
_PLAIN = re.compile(
    r"(builtins|__builtin__)\.(dict|list|tuple|frozenset|int|long|float|bool|str|unicode|bytes|object)"
)
# Settings that training scripts keep beside the weights. Their places are filled with nothing; none of them is called.
_SETTINGS = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|pathlib\.(_local\.)?(Pure)?(Posix|Windows)?Path"
    r"|datetime\.(date|time|datetime|timedelta|timezone)"
    r"|numpy\.(_?core\.multiarray\.scalar|dtype(\[\w+\])?|dtypes\.\w+)"
    r"|(pytorch_lightning|lightning\.pytorch|lightning_fabric|lightning\.fabric)\.(\w+\.)+AttributeDict"
)
_STRINGS = frozenset(
    {
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
    }
)
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_NO_EFFECT = frozenset({"PROTO", "FRAME"})

#: A pickle of more opcodes is refused: they are decoded at a million a second.
MOST_OPCODES = 5_000_000


class Readable(Protocol):
    """A source that ``pickletools`` reads from: an open file, ``io.BytesIO``, ``mmap``."""

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes."""

    def readline(self) -> bytes:
        """Read up to and including the next line end."""


class NotAPickleError(ValueError):
    """The bytes are not a whole pickle."""


def unsafe_globals(stream: Readable) -> list[str]:
    """Return the names that a pickle imports beyond those that tensors need, sorted; types of plain values last.

    Args:
        stream: Stream at the start of a pickle; it is left right after its end.

    Raises:
        NotAPickleError: The bytes are not a whole pickle.
    """
    names = (name for name in _globals(stream) if not _SAFE.fullmatch(name))
    return sorted(names, key=lambda name: (_PLAIN.fullmatch(name) is not None, name))


def is_setting(name: str) -> bool:
    """Whether a name that a pickle imports is of a plain setting, which weights do not need."""
    return _SETTINGS.fullmatch(name) is not None


def outermost_texts(stream: Readable) -> list[str]:
    """Return the texts of a pickle's outermost container, in order: the keys of a dict, and values that are texts.

    Args:
        stream: Stream at the start of a pickle; it is left right after its end.

    Raises:
        NotAPickleError: The bytes are not a whole pickle.
    """
    texts: dict[str, None] = {}
    depth = 0
    for opcode, _, text in _steps(stream):
        if opcode.name == "MARK":
            depth += 1
        elif pickletools.markobject in opcode.stack_before:
            depth -= 1
        elif text is not None and depth <= 1:
            texts[text] = None
    return list(texts)


def _globals(stream: Readable) -> set[str]:
    names: set[str] = set()
    top: list[str | None] = [None, None]  # the two values on top of the stack, where they are known texts
    for opcode, argument, text in _steps(stream):
        if opcode.name in ("GLOBAL", "INST"):
            names.add(str(argument).replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL":
            names.add(f"{top[-2]}.{top[-1]}" if None not in top else "a name computed by the pickle")
        elif opcode.name.startswith("EXT"):
            names.add(f"extension code {argument}")
        top = [top[-1], text]
    return names


def _steps(stream: Readable) -> Iterator[tuple[pickletools.OpcodeInfo, Any, str | None]]:
    """Yield each opcode that does something, its argument, and the text that it pushes, where it is known."""
    memo: dict[int, str | None] = {}
    last: str | None = None
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", stream))):
            if number > MOST_OPCODES:
                raise NotAPickleError(f"more than {MOST_OPCODES:,} opcodes")
            if opcode.name in _NO_EFFECT:
                continue
            if opcode.name in _PUTS:
                memo[len(memo) if argument is None else int(argument)] = last
                continue
            last = None
            if opcode.name in _STRINGS:
                last = argument.decode("latin-1") if isinstance(argument, bytes) else str(argument)
            elif opcode.name in _GETS and argument is not None:
                last = memo.get(int(argument))
            yield opcode, argument, last
    except NotAPickleError:
        raise
    except (ValueError, KeyError, IndexError, OverflowError, EOFError, pickle.UnpicklingError) as error:
        raise NotAPickleError(str(error)) from error
