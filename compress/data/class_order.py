"""Order of the classes: the network's, where folders of images are not numbered as it numbers its outputs.

It is a list of names, or a file that holds them: a text file with a name a line, or JSON as training code writes it::

    ["cat", "dog"]
    {"0": "cat", "1": "dog"}                              # also as id2label in a Hugging Face config.json
    {"cat": 0, "dog": 1}                                  # torchvision's class_to_idx
    {"0": ["n01440764", "tench"], "1": ["n01443537", …]}  # torchvision's imagenet_class_index.json
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.bounded_reading import read_bytes
from compress.core.suggestions import did_you_mean
from compress.errors import DataError

if TYPE_CHECKING:
    from compress.data.image_options import ImageOptions

_MOST_BYTES = 10_000_000
_WANTED = 'the names of all classes in order: one a line, or JSON such as ["cat", "dog"] or {"0": "cat", "1": "dog"}'

#: The order of the classes as a user gives it: a file with their names, or the names.
ClassNames = str | Path | Sequence[str]
#: The names of each class, by label; the first is its own, further ones mean it too where no other class has them.
ClassOrder = tuple[tuple[str, ...], ...]


class OrderField:
    """Key of a TOML file that holds an order of classes."""

    required = False

    def describe(self) -> str:
        """See :meth:`compress.core.toml_schema.Field.describe`."""
        return "a list with the name of every class, in the network's order"

    def read(self, value: object) -> ClassOrder:
        """See :meth:`compress.core.toml_schema.Field.read`."""
        return _checked(value, "the classes")


def with_classes(
    image_options: Mapping[str, Any] | ImageOptions | None, classes: ClassNames | None
) -> Mapping[str, Any] | ImageOptions | None:
    """Return the preparation of images with the order of the classes.

    Args:
        image_options: Preparation of images; None leaves it to the folder.
        classes: Names of the classes in order, or the path of a file with them; None leaves it to the folder.

    Raises:
        DataError: The file cannot be read, or does not hold the names.
    """
    if classes is None:
        return image_options
    order = (
        _read(Path(classes)) if isinstance(classes, str | Path) else _checked(list(classes), "the classes")
    )
    if image_options is None or isinstance(image_options, Mapping):
        return {**(image_options or {}), "classes": order}
    return replace(image_options, classes=order)


def labels_of_folders(
    order: ClassOrder, folders: Sequence[str], root: Path
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the names of the classes by label, and the label of each class folder.

    Args:
        order: The names of each class.
        folders: Names of the class folders.
        root: The folder that holds them, for messages.

    Raises:
        DataError: A folder is of no class, or two are of one.
    """
    counted = Counter(name for names in order for name in set(names[1:]))
    label_by_name = {
        name: label for label, names in enumerate(order) for name in names[1:] if counted[name] == 1
    }
    label_by_name |= {names[0]: label for label, names in enumerate(order)}
    labels: dict[str, int] = {}
    for folder in folders:
        if folder not in label_by_name:
            todo = did_you_mean(folder, label_by_name) or "add its name to the classes, or rename the folder"
            raise DataError(f"class folders with names of the {len(order)} classes", f"{root / folder}", todo)
        twin = next((other for other, label in labels.items() if label == label_by_name[folder]), None)
        if twin is not None:
            problem = f"'{twin}' and '{folder}' in {root}"
            raise DataError(
                f"one folder for class {label_by_name[folder]}", problem, "move their images into one"
            )
        labels[folder] = label_by_name[folder]
    by_label = {label: folder for folder, label in labels.items()}
    return tuple(by_label.get(label, names[0]) for label, names in enumerate(order)), labels


def disagreement(one: Sequence[Sequence[str]], other: Sequence[Sequence[str]]) -> tuple[str, int, int] | None:
    """Return a name that two orders of classes number differently, with its two labels; None where they agree.

    Names that one of them does not have say nothing: a class may have several.

    Args:
        one: Names of each class, by label.
        other: Names of each class in the other order.
    """
    first, second = (_labels(order) for order in (one, other))
    return next(
        ((name, first[name], second[name]) for name in first if second.get(name, first[name]) != first[name]),
        None,
    )


def _labels(order: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the label of each name that stands for one class alone."""
    counted = Counter(name for names in order for name in set(names))
    return {name: label for label, names in enumerate(order) for name in names if counted[name] == 1}


def _read(path: Path) -> ClassOrder:
    try:
        text = read_bytes(path, _MOST_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, too large, or a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise DataError(_WANTED, f"{path}: {reason}", "check the file") from error
    if not text.lstrip().startswith(("[", "{")):
        return _checked([line.strip() for line in text.splitlines() if line.strip()], str(path))
    try:
        return _checked(json.loads(text), str(path))
    except (ValueError, RecursionError) as error:
        raise DataError(_WANTED, f"{path}, which is no JSON ({error})", "correct the file") from error


def _checked(value: object, where: str) -> ClassOrder:
    """Check an order of classes of any form and return the names of each class."""
    if isinstance(value, Mapping):
        value = _by_number(value, where)
    if not isinstance(value, list | tuple) or not value:
        raise DataError(_WANTED, f"{type(value).__name__} in {where}", "list their names")
    order = []
    for label, name_or_names in enumerate(value):
        names = (
            (name_or_names,)
            if isinstance(name_or_names, str)
            else tuple(name_or_names)
            if isinstance(name_or_names, list | tuple)
            else ()
        )
        if not names or not all(isinstance(name, str) and name for name in names):
            raise DataError(_WANTED, f"{name_or_names!r} as class {label} in {where}", "write its name")
        order.append(names)
    twice = next((name for name, count in Counter(names[0] for names in order).items() if count > 1), None)
    if twice is not None:
        raise DataError("one class of each name", f"'{twice}' twice in {where}", "remove one")
    return tuple(order)


def _by_number(table: Mapping[Any, Any], where: str) -> list[Any]:
    """Return the names of a JSON object in the order of their numbers, which are its keys or its values."""
    if isinstance(table.get("id2label"), Mapping):
        table = table["id2label"]
    if all(
        isinstance(key_or_name, int) and not isinstance(key_or_name, bool) for key_or_name in table.values()
    ):
        numbered = {number: name for name, number in table.items()}
    else:
        numbered = {
            int(key): value for key, value in table.items() if str(key).isascii() and str(key).isdigit()
        }
    if sorted(numbered) != list(range(len(table))):
        problem = f"an object in {where} whose numbers are not 0 to {len(table) - 1}, each once"
        raise DataError(_WANTED, problem, "number every class, from 0")
    return [numbered[number] for number in range(len(numbered))]
