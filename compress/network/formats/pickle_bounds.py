"""Bounds of the size, depth and entanglement of a pickle, checked by its opcodes before it is unpickled.

An unpickler makes room for whatever memo index an opcode names, torch's own calls itself for each level of nesting, and
what walks the result counts a value as often as it is reached: a few bytes suffice for gigabytes, a crash, or years.
"""

from __future__ import annotations

import pickle
import pickletools
from typing import IO, Any, cast

from compress.network.formats.pickles import NotAPickleError, Readable

#: Levels of containers; a network's are some 20 modules, each of which takes three.
_DEEPEST = 400
#: They are followed at half a million a second.
_MOST_OPCODES = 2_000_000
#: Containers, each counted as often as it is reached.
_MOST_VALUES = 20_000_000

_MUTATING = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_MARK, _LEAF = -1, 0
#: What pushes a number, a text or a name.
_PLAIN = frozenset(
    opcode.name for opcode in pickletools.opcodes if not opcode.stack_before and len(opcode.stack_after) == 1
) - {"MARK", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", *_GETS}


def check_bounds(stream: Readable, *, loops: bool = False) -> None:
    """Refuse a pickle that would take more than its bytes are worth.

    Args:
        stream: Stream at the start of a pickle; it is left right after its end.
        loops: Whether a value may contain itself, as Python objects may.

    Raises:
        NotAPickleError: The pickle exceeds the bounds, or the bytes are not a whole pickle.
    """
    values = _Values()
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", stream))):
            if number > _MOST_OPCODES:
                raise NotAPickleError(f"more than {_MOST_OPCODES:,} opcodes")
            values.take(opcode, argument)
    except NotAPickleError:
        raise
    except (ValueError, KeyError, IndexError, OverflowError, EOFError, pickle.UnpicklingError) as error:
        raise NotAPickleError(str(error) or type(error).__name__) from error
    if not loops:
        values.check_whole()


class _Values:
    """Values that the opcodes have made so far: each by its number, with the numbers of its content."""

    def __init__(self) -> None:
        self._held: list[list[int]] = [[]]  # the first stands for every number and text
        self._depths: list[int] = [1]
        self._stack: list[int] = []
        self._memo: dict[int, int] = {}

    def take(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Follow one opcode."""
        name = opcode.name
        if name in _PLAIN:
            self._stack.append(_LEAF)
        elif name in _PUTS:
            self._remember(len(self._memo) if argument is None else int(argument))
        elif name in _GETS:
            self._stack.append(self._memo[int(argument)])
        elif name == "MARK":
            self._stack.append(_MARK)
        elif name == "DUP":
            self._stack.append(self._stack[-1])
        else:
            self._make(opcode)

    def _remember(self, index: int) -> None:
        if not 0 <= index <= _MOST_OPCODES:
            raise NotAPickleError(f"the memo index {index}")
        self._memo[index] = self._stack[-1]

    def _make(self, opcode: pickletools.OpcodeInfo) -> None:
        popped = self._taken(opcode)
        if opcode.name in _MUTATING and popped[0] != _LEAF:
            changed, *added = popped
            self._held[changed] += [value for value in added if value != _LEAF]
            self._deepen(changed, added)
            self._stack.append(changed)
        elif opcode.stack_after:
            self._held.append([value for value in popped if value != _LEAF])
            self._depths.append(0)
            self._deepen(len(self._held) - 1, popped)
            self._stack.append(len(self._held) - 1)

    def _taken(self, opcode: pickletools.OpcodeInfo) -> list[int]:
        """Return the values that an opcode takes off the stack."""
        stack, count = self._stack, len(opcode.stack_before)
        above: list[int] = []
        if pickletools.markobject in opcode.stack_before:
            at = _last_mark(stack)
            above = stack[at + 1 :]
            del stack[at:]
            count = opcode.stack_before.index(pickletools.markobject)
        if count > len(stack):
            raise NotAPickleError(f"{opcode.name} of nothing")
        below = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        if opcode.name == "POP":
            return []
        if _MARK in below:
            raise NotAPickleError(f"{opcode.name} of a mark")
        return below + above

    def _deepen(self, value: int, held: list[int]) -> None:
        depth = 1 + max((self._depths[element] for element in held), default=0)
        self._depths[value] = max(self._depths[value], depth)
        if depth > _DEEPEST:
            raise NotAPickleError(f"values nested more than {_DEEPEST} deep")

    def check_whole(self) -> None:
        """Refuse values that contain themselves, that became deeper after they were contained, or that are too many."""
        depths = [0] * len(self._held)  # 0: not told yet
        counts = [0] * len(self._held)
        entered = bytearray(len(self._held))
        for first in range(len(self._held)):
            waiting = [first]
            while waiting:
                value = waiting[-1]
                held = self._held[value]
                if not depths[value] and not entered[value]:
                    entered[value] = 1
                    waiting += [element for element in held if not depths[element]]
                    continue
                waiting.pop()
                if depths[value]:
                    continue
                if any(not depths[element] for element in held):
                    raise NotAPickleError("a value that holds itself")
                depths[value] = 1 + max((depths[element] for element in held), default=0)
                counts[value] = 1 + sum(counts[element] for element in held)
                if depths[value] > _DEEPEST:
                    raise NotAPickleError(f"values nested more than {_DEEPEST} deep")
                if counts[value] > _MOST_VALUES:
                    raise NotAPickleError(
                        f"over {_MOST_VALUES:,} containers, counted as often as they are held"
                    )


def _last_mark(stack: list[int]) -> int:
    for at in range(len(stack) - 1, -1, -1):
        if stack[at] == _MARK:
            return at
    raise NotAPickleError("no mark")
