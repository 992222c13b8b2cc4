"""Templates of programs, and values as Python writes them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from compress.bundle.programs.sample import Sample, Value

#: How a program in Python generates text.
RUN_PROMPT = """    import sys

    if len(sys.argv) == 2:
        try:
            for piece in generate(sys.argv[1]):
                print(piece, end="", flush=True)
        except ValueError as error:  # a prompt that has no room
            sys.exit("error: %s" % error)
        print()
        sys.exit()
"""


class _Program(Template):
    delimiter = "@"


def filled(name: str, fields: Mapping[str, str]) -> str:
    """Return a template with its fields filled in.

    Args:
        name: Name of the template.
        fields: Text of each field by name.
    """
    return _Program(template(name)).substitute(fields)


def template(name: str) -> str:
    """Return a template as it is."""
    return (files("compress.bundle.programs") / "templates" / f"{name}.in").read_text(encoding="utf-8")


def python_sample(sample: Sample) -> str:
    """Return the lines of a dictionary with the inputs of a sample, each read from its file."""
    return "\n".join(f"        {value.name!r}: {_read_in_python(value)}," for value in sample.inputs)


def _read_in_python(value: Value) -> str:
    shape = ", ".join(map(str, value.array.shape))
    return f"np.fromfile(str(HERE / {value.file!r}), {value.array.dtype.name!r}).reshape({shape or '()'})"


def python_dictionary(settings: Mapping[str, Any]) -> str:
    """Return a dictionary in one line."""
    pairs = (f"{python_literal(key)}: {python_literal(value)}" for key, value in settings.items())
    return "{" + ", ".join(pairs) + "}"


def python_literal(value: object) -> str:
    """Return a value as a literal, texts in double quotes where that is simple."""
    text = repr(value)
    simple = isinstance(value, str) and text == f"'{value}'"
    return f'"{value}"' if simple and '"' not in text else text
