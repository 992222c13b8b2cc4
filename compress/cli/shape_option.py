"""The option ``--shape``: sizes of open axes that an engine is built for."""

from __future__ import annotations

from compress.errors import UsageError


def read_shapes(given: tuple[str, ...]) -> dict[str, list[tuple[int, ...]]] | None:
    """Read the shapes of each input, under ``""`` for the only input; None where none is given.

    Raises:
        UsageError: A text is no shape, or an input has two.
    """
    from compress.data.sizes import FORM

    read: dict[str, list[tuple[int, ...]]] = {}
    for shape_text in given:
        name, _, text = shape_text.rpartition("=")
        try:
            shapes = [tuple(int(size) for size in part.lower().split("x")) for part in text.split("..")]
        except ValueError:
            shapes = []
        if not shapes or any(size < 1 for shape in shapes for size in shape):
            raise UsageError(f"--shape of the form {FORM}", f"'{shape_text}'", "write one size for each axis")
        if name in read:
            what = f"of '{name}'" if name else "without a name"
            raise UsageError(f"one --shape {what}", "two", "leave one out")
        read[name] = shapes
    return read or None
