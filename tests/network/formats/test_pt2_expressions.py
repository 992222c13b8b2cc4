"""Shape expressions compute sizes, and nothing that is larger than a size."""

from __future__ import annotations

import pytest

from compress.network.formats.pt2_expressions import is_harmless


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s0', positive=True, integer=True)",
        "Add(Mul(Integer(2), Symbol('s0', integer=True)), Integer(-1))",
        "Pow(Symbol('s0', integer=True), Integer(2))",
        "Pow(Symbol('s0'), Rational(1, 2))",
        "Mul(Float('0.5', precision=53), Symbol('s0'))",
        "s0**2 + s1//3",
        "FloorDiv(Symbol('s0'), 2) > 4",
        "Max(1, s0 << 3)",
        "-oo",
    ],
)
def test_sizes_are_computed(text: str) -> None:
    assert is_harmless(text)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9",
        "9**(9**9)",
        "Pow(9, Pow(9, 9))",
        "Pow(Symbol('s0'), Integer(10000000))",
        "(((s0**60)**60)**60)",
        "1 << 10**10",
        "LShift(1, 99999999999)",
        "2**s0",
        "Float('1e999999999')",
        "Float('0.5', precision=1000000000)",
        "*".join(["s0"] * 1000),
        "1" + "+1" * 100_000,
        "-" * 5000 + "1",
        "__import__('os')",
        "Symbol('s0').x",
        "[1]",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    assert not is_harmless(text)
