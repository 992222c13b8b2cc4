"""A ``.pt2`` file's program, checked before torch reads it; nothing here executes or imports anything.

``torch.export.load`` trusts its file. Of what it reads, these can run code (torch 2.13): pickled tensors,
constants and sample inputs (``weights_only=False``, or a fallback to it); compiled AOTInductor libraries; shape
expressions, which sympy evaluates as Python; operator names, which are looked up as attributes anywhere below
``torch``; names of values and attributes, which are written into generated Python source; guards, which are Python
source; enums and default factories of container types, which are imported. So the program is rebuilt from what was
recognised: names that are names, expressions of known functions, operators of PyTorch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from compress.errors import LiftError, UntrustedFileError
from compress.network.formats.pt2_containers import plain_containers
from compress.network.formats.pt2_expressions import is_harmless

_NAME = re.compile(r"[A-Za-z_]\w*")
_PATH = re.compile(r"[\w.:/ -]*")  # attribute paths and symbols: nothing that could end a string or call
_OPERATOR = re.compile(r"torch\.ops\.([A-Za-z_]\w*)\.([A-Za-z_]\w*)(?:\.(\w+))?")
_PYTHON_OPERATORS = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|invert"
    r"|lshift|rshift|getitem)"
    r"|math\.(ceil|floor|trunc|sqrt|prod|log2)"
    r"|torch\._?sym_\w+"
)
# What torch.vmap leaves in a program: it marks an axis as the one to work along, and no more.
_TRANSFORMS = re.compile(
    r"torch\._functorch\.predispatch\.(lazy_load_decompositions"
    r"|_vmap_(increment|decrement)_nesting|_(add|remove)_batch_dim)"
)
_NAMESPACES = frozenset({"aten", "prims"})
_TOUCHES_FILES = frozenset({"save", "from_file"})
_HIGHER_ORDER = frozenset(
    {"wrap_with_set_grad_enabled", "wrap_with_autocast", "cond", "while_loop", "scan", "map_impl"}
)
_KEPT_METADATA = frozenset({"stack_trace", "nn_module_stack"})


def checked_program(text: bytes) -> bytes:
    """Return the program's JSON without parts that torch would execute and the network does not need.

    Guards and most metadata are dropped, devices become the CPU; everything else is checked and kept.

    Raises:
        UntrustedFileError: A name, an expression or an operator could run code.
        LiftError: The program calls a custom operator.
        ValueError: The content is not JSON.
    """
    program = json.loads(text)
    if isinstance(program, dict):
        program["guards_code"] = []
        ranges = program.get("range_constraints")
        if isinstance(ranges, dict):  # of a multiple of a symbol too, which torch does not read back
            program["range_constraints"] = {name: ranges[name] for name in ranges if _NAME.fullmatch(name)}
    return json.dumps(_checked(program)).encode()


def checked_config(text: bytes) -> dict[str, Any]:
    """Return the JSON that lists the archive's tensors, checked in the same way.

    Raises:
        UntrustedFileError: A name could run code.
        ValueError: The content is no such JSON.
    """
    config = _checked(json.loads(text))
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise ValueError("no list of tensors")
    return config


def _checked(value: Any, key: str = "", place: str = "") -> Any:
    if isinstance(value, str) and key in ("in_spec", "out_spec"):
        return _containers(value, key)
    if isinstance(value, str):
        _CHECKS.get(key, _check_path)(value, place)
        return value
    if isinstance(value, list):
        return [_checked(item, key, place) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"type", "index"}:
        return {"type": "cpu", "index": None}  # a device; the network is handled on the CPU
    metadata = value.get("metadata")
    if isinstance(metadata, dict):
        value = value | {"metadata": {}}
        place = _place(metadata)
    checked = {}
    for name, item in value.items():
        _check_path(name, place)
        checked[name] = _checked(item, name, place)
    if isinstance(metadata, dict):
        checked["metadata"] = {name: text for name, text in metadata.items() if name in _KEPT_METADATA}
    return checked


def _place(metadata: dict[str, Any]) -> str:
    places = re.findall(r'File "([^"<]+)", line (\d+)', str(metadata.get("stack_trace")))
    return f" at {places[-1][0]}:{places[-1][1]}" if places else ""


def _refuse(what: str, text: str) -> UntrustedFileError:
    return UntrustedFileError(
        "a program that only names tensors and PyTorch's operators",
        f"{what} {text[:80]!r}, which could run code or never end",
        "do not load it unless you know who made it; --trust-pickle loads it all the same",
    )


def _check_name(text: str, place: str) -> None:
    if text and not _NAME.fullmatch(text):  # arguments of a block, and of what torch.vmap leaves, have none
        raise _refuse("the name", text)


def _check_path(text: str, place: str) -> None:
    if not _PATH.fullmatch(text):
        raise _refuse("the name", text)


def _check_nothing(text: str, place: str) -> None:
    """Accept a string argument of an operator, which is only ever passed on as a string."""


def _check_operator(text: str, place: str) -> None:
    if _PYTHON_OPERATORS.fullmatch(text) or _TRANSFORMS.fullmatch(text):
        return
    match = _OPERATOR.fullmatch(text)
    if match is None:
        raise _refuse("the operator", text)
    namespace, name, _ = match.groups()
    if namespace == "higher_order" and name in _HIGHER_ORDER:
        return
    if namespace not in _NAMESPACES:
        raise LiftError(
            "a network of PyTorch's own operators",
            f"the custom operator '{namespace}::{name}'{place}",
            "replace it by PyTorch's operators, or give an ONNX file",
        )
    if name in _TOUCHES_FILES:
        raise _refuse("the operator", text)


def _check_expression(text: str, place: str) -> None:
    if not is_harmless(text):
        raise _refuse("the expression", text)


def _containers(text: str, key: str) -> str:
    try:
        return plain_containers(text, inputs=key == "in_spec")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _refuse("the container", text) from error


# Strings by the key they stand under; every other string has to look like a path.
_CHECKS: dict[str, Callable[[str, str], None]] = {
    "name": _check_name,
    "as_name": _check_name,
    "forward_arg_names": _check_name,
    "target": _check_operator,
    "as_operator": _check_operator,
    "expr_str": _check_expression,
    "as_string": _check_nothing,
    "as_strings": _check_nothing,
    "torch_version": _check_nothing,
}
