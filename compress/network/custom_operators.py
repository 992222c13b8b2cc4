"""Operators that are not PyTorch's own: refused with their name, the calling module and line, and a way out.

What such an operator computes is unknown. The ways out are those of its library, where it is known, and the settings
of the network itself: models of ``transformers`` choose among several implementations by their ``config``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from compress.errors import LiftError

#: Where PyTorch's own operators are; those of ``profiler`` compute nothing.
KNOWN_NAMESPACES = frozenset({"aten", "prim", "prims", "profiler"})

_OTHERWISE = "replace it by PyTorch's operators, or give an ONNX file"
_FLOATS = (
    "give the network in floats, as it was before it was quantized: what builds compute in is their target's"
)

#: Namespace → what to do about its operators.
_TODO: Mapping[str, str] = {
    **dict.fromkeys(("quantized", "quantized_decomposed", "torchao", "_quantized"), _FLOATS),
}

#: Setting of a model's ``config`` → the value with which it computes with PyTorch's own operators.
_PLAIN = {"experts_implementation": "batched_mm", "attn_implementation": "eager"}


def refused(operator: str, where: str, todo: str = "") -> LiftError:
    """Return the error for an operator that is not PyTorch's own.

    Args:
        operator: Name with namespace of the operator, or of several.
        where: Module and line that call it, beginning with a blank; or empty.
        todo: Next step by the network's own settings; empty where they offer none.
    """
    namespace = operator.partition("::")[0]
    return LiftError(
        "a network of PyTorch's own operators",
        f"the custom operator '{operator}'{where}",
        todo or _TODO.get(namespace, _OTHERWISE),
    )


def in_module(stack: Sequence[tuple[str, Any]]) -> str:
    """Return the innermost module of a call as `` in 'path' (Class)``; empty where it is unknown.

    Args:
        stack: Path and class of each module around the call, the innermost last.
    """
    if not stack:
        return ""
    path, kind = stack[-1]
    name = kind.__name__ if isinstance(kind, type) else str(kind).rpartition(".")[2].strip("'>")
    return f" in '{path}' ({name})" if path else f" in {name}"


def settings_of(module: nn.Module) -> dict[str, str]:
    """Return the next step for an operator by the settings of its part, by the part's path."""
    settings: dict[str, str] = {}
    for path, part in module.named_modules():
        config = getattr(part, "config", None)
        for name, plain in _PLAIN.items():
            value = getattr(config, f"_{name}", None)
            if isinstance(value, str) and value != plain:
                settings.setdefault(path, f"build it with {name}='{plain}' in place of '{value}'")
    return settings


def first_called(module: nn.Module, example: Mapping[str, torch.Tensor]) -> LiftError | None:
    """Return the refusal for the first custom operator that a module calls on a batch; None where it calls none."""
    seen = _Seen(module)
    try:
        with torch.no_grad(), seen:
            module(**{name: tensor.clone() for name, tensor in example.items()})
    except Exception:  # noqa: BLE001 - whatever the network raises; what was called before it counts
        pass
    return seen.refusal


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Recorder of every operator that is called."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.refusal: LiftError | None = None
        self._paths = {id(part): path for path, part in module.named_modules()}
        self._settings = settings_of(module)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        namespace = getattr(func, "namespace", "aten")
        if self.refusal is None and namespace not in KNOWN_NAMESPACES:
            stack, line = self._around(sys._getframe(1))
            todo = next((self._settings[path] for path, _ in reversed(stack) if path in self._settings), "")
            self.refusal = refused(func._schema.name, f"{in_module(stack)}{line}", todo)
        return func(*args, **(kwargs or {}))

    def _around(self, frame: FrameType | None) -> tuple[list[tuple[str, type]], str]:
        """Return the modules around a call, innermost last, and the innermost line of the user's code."""
        stack: list[tuple[str, type]] = []
        line = ""
        ours = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))
        while frame is not None:
            owner = frame.f_locals.get("self")
            path = self._paths.get(id(owner))
            if path is not None and (not stack or stack[0][0] != path):
                stack.insert(0, (path, type(owner)))
            file = frame.f_code.co_filename
            if not line and not file.startswith((*ours, "<")):
                line = f" at {file}:{frame.f_lineno}"
            frame = frame.f_back
        return stack, line
