"""Check that a ``.pt2`` file's shape expression, which sympy evaluates as Python, only computes a size.

It applies known functions to numbers and symbols, and what it makes of them stays small: ``9**9**9**9`` is a number of
more digits than there is memory.
"""

from __future__ import annotations

import ast
import re

_FUNCTIONS = re.compile(
    r"Symbol|Integer|Float|Rational|Add|Mul|Pow|Max|Min|Mod|Abs|floor|ceiling|Eq|Ne|Equality|Unequality|Lt|Le|Gt|Ge"
    r"|(Strict)?(LessThan|GreaterThan)|And|Or|Not|Piecewise|ExprCondPair|Tuple|ModularIndexing|Where|PythonMod"
    r"|(Floor|Clean|Ceil|IntTrue|FloatTrue)Div|(Ceil|Floor|Trunc|Round)ToInt|TruncToFloat|RoundDecimal|ToFloat"
    r"|[LR]Shift|PowByNatural|FloatPow|IsNonOverlappingAndDenseIndicator|Identity"
)
_POWERS = frozenset({"Pow", "PowByNatural", "FloatPow"})
_SHIFTS = frozenset({"LShift", "RShift"})
_ASSUMPTIONS = re.compile(r"integer|positive|nonnegative|negative|nonpositive|real|zero|finite")
#: The name of a symbol, and the digits of a number.
_QUOTED = {
    "Symbol": re.compile(r"\w{1,200}"),
    "Float": re.compile(r"[+-]?[\d.]{1,40}(e[+-]?\d{1,3})?|[+-]?(inf|nan)"),
}

_LONGEST = 20_000  # characters
_MOST_BITS = 16_384  # of what an expression comes to
_OF_SYMBOL = 64  # bits of a size
_LARGEST_EXPONENT = 64
_MOST_PRECISION = 128  # bits of a written number


class _HarmfulError(Exception):
    """The expression does something else than compute a size, or makes a value that is too large."""


def is_harmless(text: str) -> bool:
    """Whether an expression only applies known functions to numbers and symbols, and comes to numbers of some size."""
    if len(text) > _LONGEST:
        return False
    try:
        return _bits(ast.parse(text, mode="eval").body) <= _MOST_BITS
    except (_HarmfulError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _bits(node: ast.expr) -> int:
    """Return the largest number of bits of a value, with symbols of 64 bits."""
    match node:
        case ast.Constant(value=int(value)):
            bits = value.bit_length() + 1
        case ast.Constant(value=float()):
            bits = _OF_SYMBOL
        case ast.Name(id=name) if "__" not in name:
            bits = _OF_SYMBOL
        case ast.UnaryOp(operand=operand):
            bits = _bits(operand) + 1
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            bits = _of_power(left, right)
        case ast.BinOp(left=left, op=ast.LShift() | ast.RShift(), right=right):
            bits = _of_shift(left, right)
        case ast.BinOp(left=left, right=right):
            bits = _bits(left) + _bits(right)
        case ast.Compare(left=left, comparators=others):
            bits = sum(map(_bits, [left, *others]))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if _FUNCTIONS.fullmatch(name):
            if not all(map(_is_assumption, keywords)):
                raise _HarmfulError
            bits = _of_call(name, args)
        case _:
            raise _HarmfulError
    if bits > _MOST_BITS:
        raise _HarmfulError
    return bits


def _of_call(name: str, args: list[ast.expr]) -> int:
    if name in _QUOTED and len(args) == 1 and isinstance(args[0], ast.Constant):
        text = args[0].value
        if isinstance(text, str):
            if not _QUOTED[name].fullmatch(text):
                raise _HarmfulError
            return _OF_SYMBOL
    if name in _POWERS and len(args) == 2:
        return _of_power(*args)
    if name in _SHIFTS and len(args) == 2:
        return _of_shift(*args)
    return 1 + sum(map(_bits, args))


def _of_power(base: ast.expr, exponent: ast.expr) -> int:
    return _bits(base) * _small(exponent)


def _of_shift(value: ast.expr, by: ast.expr) -> int:
    return _bits(value) + _small(by)


def _small(exponent: ast.expr) -> int:
    """Return the size of an exponent, a number: ``2``, ``-1``, ``1/2``, ``Integer(2)``, ``Rational(1, 2)``."""
    match exponent:
        case ast.Constant(value=int(value) | float(value)) if abs(value) <= _LARGEST_EXPONENT:
            return max(1, int(abs(value)) + 1)
        case ast.UnaryOp(operand=operand):
            return _small(operand)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return max(_small(left), _small(right))
        case ast.Call(func=ast.Name(id="Integer" | "Rational"), args=args, keywords=[]) if args:
            return max(map(_small, args))
        case ast.Call(func=ast.Name(id="Float"), args=[ast.Constant(value=str(text)), *_]) if (
            _QUOTED["Float"].fullmatch(text) and abs(float(text)) <= _LARGEST_EXPONENT
        ):
            return int(abs(float(text))) + 1
    raise _HarmfulError


def _is_assumption(keyword: ast.keyword) -> bool:
    """Whether an argument is an assumption such as ``positive=True`` of a symbol, or ``precision=53`` of a number."""
    value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
    if keyword.arg == "precision":
        return isinstance(value, int) and 0 < value <= _MOST_PRECISION
    return bool(_ASSUMPTIONS.fullmatch(keyword.arg or "")) and isinstance(value, bool)
