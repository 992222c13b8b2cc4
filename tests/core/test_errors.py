from __future__ import annotations

import inspect
import pickle

import pytest

from compress import errors

ALL = [
    member
    for _, member in inspect.getmembers(errors, inspect.isclass)
    if issubclass(member, errors.CompressError) and member.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_is_drawn_in_the_docstring(kind: type[errors.CompressError]) -> None:
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__


def test_message_is_one_line_with_its_three_parts() -> None:
    error = errors.DataError("a\nfile", "two\n  lines", "do\tthis")
    assert str(error) == "wanted a file; found two lines; do this"


def test_exit_codes() -> None:
    assert errors.UsageError.exit_code == 2
    assert errors.UnavailableError.exit_code == 4
    assert errors.InternalError.exit_code == 5
    assert all(kind.exit_code == 2 for kind in ALL if issubclass(kind, errors.UsageError))


def test_survives_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(errors.TargetError("a target", "jetsen", "did you mean jetson?")))
    assert isinstance(error, errors.TargetError)
    assert error.todo == "did you mean jetson?"
