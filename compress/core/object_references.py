"""References to Python objects, ``package.module:callable``, as ``--data``, ``--metric``, ``--factory`` take.

Importing a module runs it. That is fine here, and only here: the user typed its name.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compress.core.suggestions import did_you_mean
from compress.errors import UsageError

_FORM = "package.module:callable"
_PART = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_REFERENCE = re.compile(rf"{_PART}:{_PART}")


def is_reference(text: str) -> bool:
    """Whether the text has the form ``package.module:name`` (``name`` may be dotted); nothing is imported."""
    return _REFERENCE.fullmatch(text) is not None


def split_call(text: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Split ``module:callable(1, name="x")`` into the reference and its arguments, which are literals.

    Args:
        text: A reference, alone or with arguments in parentheses.

    Returns:
        The reference, the arguments by position, and those by name; none of both where there are no parentheses.

    Raises:
        ValueError: The arguments in the parentheses are no literals of Python.
    """
    reference, opened, call_text = text.partition("(")
    if not opened:
        return text, (), {}
    try:
        call = ast.parse(f"call({call_text}", mode="eval").body
        if (
            not isinstance(call, ast.Call)
            or not isinstance(call.func, ast.Name)
            or any(keyword.arg is None for keyword in call.keywords)
        ):
            raise ValueError(call_text)
        arguments = tuple(ast.literal_eval(argument) for argument in call.args)
        named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"({call_text}") from error
    return reference.strip(), arguments, named


@contextmanager
def working_directory_importable() -> Iterator[None]:
    """Make modules in the working directory importable inside the block, unless an installed one has the name.

    An installed console script does not have the working directory on ``sys.path``. Calls into the user's
    code belong in such a block too, because a function may import its neighbours only when it is called. The directory
    is searched last: a file of it never stands in for a module that we or a library import.
    """
    here = str(Path.cwd())
    sys.path.append(here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.reverse()
            sys.path.remove(here)  # the last one is ours
            sys.path.reverse()


def resolve(reference: str, *, kind: str, error: type[UsageError]) -> object:
    """Return the object that ``package.module:name`` names.

    Args:
        reference: ``package.module:name``; ``name`` may be dotted (``module:Class.method``).
        kind: Kind of the object, as a noun with its article ("a network factory"), for messages.
        error: Class of the error to raise.

    Raises:
        error: The form is wrong, the module does not exist or fails while it is imported, or lacks the name.
    """
    wanted = f"{kind} as {_FORM}"
    if not is_reference(reference):
        raise error(wanted, repr(reference), f"write it as {_FORM}, with dots and no .py")
    module_name, _, attribute_path = reference.partition(":")
    with working_directory_importable():
        try:
            resolved: object = importlib.import_module(module_name)
        except (Exception, SystemExit) as cause:
            raise error(wanted, *_import_failure(module_name, cause)) from cause
        so_far = module_name
        for name in attribute_path.split("."):
            try:
                resolved = getattr(resolved, name)
            except AttributeError as cause:
                public = [other for other in dir(resolved) if not other.startswith("_")]
                todo = did_you_mean(name, public) or "check the name after the colon"
                raise error(wanted, f"no '{name}' in {so_far} ({_location(resolved)})", todo) from cause
            so_far = f"{so_far}.{name}"
    return resolved


def _import_failure(module_name: str, cause: BaseException) -> tuple[str, str]:
    """Return what was found and what to do when the import of a module failed."""
    missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
    if missing and f"{module_name}.".startswith(f"{missing}."):
        return (
            f"no module named '{missing}'",
            f"install it, or run from the directory that holds it (looked in {Path.cwd()} too)",
        )
    if missing:
        return f"'{module_name}' imports '{missing}', which is not installed", f"install '{missing}'"
    reason = f"{type(cause).__name__}: {cause}"
    return (
        f"'{module_name}' fails while it is imported ({reason})",
        f"check with: python -c 'import {module_name}'",
    )


def _location(owner: object) -> str:
    return str(getattr(owner, "__file__", None) or type(owner).__name__)
