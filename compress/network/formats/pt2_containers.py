"""The nesting of a ``.pt2`` program's inputs and outputs, rewritten with Python's own containers.

The file names classes (a dataclass, a named tuple, a model library's output type) that torch would look up, and for a
``defaultdict`` and for enums import. Nothing of them is needed but the names of their fields, which are in the file:
such a container becomes a dict of them, or a list where the file has no names.
"""

from __future__ import annotations

import json
import re
from typing import Any

_KEPT = frozenset(
    {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", "torch.Size"}
)
_WITH_KEYS = frozenset({"builtins.dict", "collections.OrderedDict"})
_KEY = re.compile(r"[^\x00-\x1f\\'\"()]*")  # shown to people; nothing that could end a string or call
_ARGUMENT = re.compile(r"[A-Za-z_]\w*")


def plain_containers(text: str, *, inputs: bool) -> str:
    """Return a container's description without foreign classes.

    Args:
        text: Description: ``[1, {"type": …, "context": …, "children_spec": […]}]``.
        inputs: Whether it describes the program's inputs; the keys of its second half are written into Python source as
            the names of arguments.

    Raises:
        ValueError: The text is no such description, or a key in it is not a name.
        KeyError, TypeError: The text is no such description.
    """
    version, spec = json.loads(text)
    plain = _plain(spec)
    if inputs and len(plain["children_spec"]) == 2:
        context = plain["children_spec"][1]["context"]
        for name in json.loads(context) or [] if context else []:
            if not _ARGUMENT.fullmatch(str(name)):
                raise ValueError(f"the argument {name!r}")
    return json.dumps([version, plain])


def _plain(spec: dict[str, Any]) -> dict[str, Any]:
    kind, context = spec["type"], spec["context"]
    children = [_plain(child) for child in spec["children_spec"]]
    if kind is None:
        if context is not None or children:
            raise ValueError("a tensor with fields")
        return {"type": None, "context": None, "children_spec": []}
    if kind in _KEPT:
        names = json.loads(context) if kind in _WITH_KEYS else None
        if kind in _WITH_KEYS and not _are_keys(names, len(children)):
            raise ValueError(f"the keys {context!r}")
    else:
        names = _field_names(context, len(children))
        kind = "builtins.list" if names is None else "builtins.dict"
    return {"type": kind, "context": json.dumps(names), "children_spec": children}


def _field_names(context: Any, count: int) -> Any:
    """Return the names of all fields, as torch's own classes or a model library's write them."""
    try:
        fields = json.loads(context) if isinstance(context, str) else context
    except ValueError:
        return None
    if isinstance(fields, dict):  # collections.defaultdict
        fields = fields.get("dict_context")
    if (
        isinstance(fields, list) and fields and isinstance(fields[0], list)
    ):  # a dataclass: with a value, and without
        fields = fields[0]
    return fields if _are_keys(fields, count) else None


def _are_keys(fields: Any, count: int) -> bool:
    """Whether these are as many different keys that are text or numbers; an enum would be imported."""
    return (
        isinstance(fields, list)
        and all(isinstance(field, str | int) and _KEY.fullmatch(str(field)) for field in fields)
        and len(set(fields)) == len(fields) == count
    )
