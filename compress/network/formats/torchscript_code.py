"""Checks of what a TorchScript archive's code may do, by its compiled graphs and not by its text.

TorchScript runs in an interpreter of its own, without Python; but it has operators that write and map files. Reading an
archive compiles its code and runs none but ``__setstate__``; so that name may not be in it, and the compiled graphs
are looked through before anything runs. What they compute may still take for ever, or all memory there is: see
:mod:`compress.network.formats.first_reading`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from compress.errors import LiftError, NetworkError, UntrustedFileError
from compress.network.custom_operators import refused
from compress.network.formats.torchscript_graph import ENDLESS, at, source_of

_TOUCHES_FILES = frozenset({"aten::save", "aten::from_file"})
_NAMESPACES = frozenset({"aten", "prim", "prims"})
# Calls that are still there once everything is inlined go to code that is only known when they run.
_UNKNOWN_CALLS = frozenset({"prim::CallMethod", "prim::CallFunction", "prim::rpc_async", "prim::rpc_sync"})
_RUNS_WHILE_LOADING = b"__setstate__"
_MOST_NESTED = 200  # brackets; torch's parser calls itself for each

#: In the name of what torch.jit.optimize_for_inference writes: operators and weights in a layout of the processor's.
_PREPARED = "mkldnn"
_PREPARED_CALL = re.compile(rf"ops\s*\.\s*(prim|aten)\s*\.\s*(\w*{_PREPARED}\w*)", re.IGNORECASE)

_CUSTOM = re.compile(r"(?<![\w.])ops\s*\.\s*(\w+)\s*\.\s*(\w+)|(torch\.classes\.[\w.]+)")


def check_source(path: Path, content: bytes, *, trust_pickle: bool) -> None:
    """Refuse a source file of an archive that could do something while torch compiles it.

    Raises:
        UntrustedFileError: The source could run code.
        NetworkError: The source is nested so deeply that torch's parser ends the process.
        LiftError: The source calls custom operators or classes, which torch could not look up, or was made for one
            processor.
    """
    text = content.decode("utf-8", "replace")
    depth = 0
    for bracket in re.findall(r"[()\[\]{}]", text):
        depth += 1 if bracket in "([{" else -1
        if depth > _MOST_NESTED:
            raise NetworkError(
                f"code nested at most {_MOST_NESTED} deep",
                f"more in the code of {path}",
                "save it again with torch",
            )
    if prepared := _PREPARED_CALL.search(text):
        raise _prepared("::".join(prepared.groups()), f" in the code of {path}")
    if trust_pickle:
        return
    operators = _CUSTOM.findall(text)
    custom = [f"{space}::{name}" for space, name, _ in operators if space and space not in _NAMESPACES]
    custom += [name for *_, name in operators if name]
    if custom:
        raise refused(", ".join(dict.fromkeys(custom)), f" in the code of {path}")
    if _RUNS_WHILE_LOADING in content:
        raise untrusted(
            f"'{_RUNS_WHILE_LOADING.decode()}' in the code of {path}, which runs while the file loads"
        )


def check_operators(path: Path, module: torch.jit.ScriptModule) -> None:
    """Refuse a module with an operator that does more than compute.

    Raises:
        UntrustedFileError: The module writes or maps files.
        NetworkError: The module never ends.
        LiftError: The module calls a custom operator, or code that is only known when it runs.
    """
    for part in module.modules():
        code: Any = part._c
        functions = [code._get_method(name) for name in code._method_names()]
        for function in (*functions, *code._get_forward_hooks(), *code._get_forward_pre_hooks()):
            for node in _nodes(function.inlined_graph):
                _check(path, node)


def check_portable(module: torch.jit.ScriptModule) -> None:
    """Refuse a module that was made for one processor, whose weights cannot be read.

    Raises:
        LiftError: The module went through ``torch.jit.optimize_for_inference``.
    """
    for node in _nodes(module._c._get_method("forward").inlined_graph):
        if _PREPARED in node.kind().lower():
            raise _prepared(node.kind(), at(source_of(node)))


def _prepared(operator: str, where: str) -> LiftError:
    return LiftError(
        "TorchScript for any processor",
        f"{operator}{where}, which torch.jit.optimize_for_inference writes",
        "save it before that call (torch.jit.freeze may stay): a build is made fast for its target",
    )


def _nodes(block: Any) -> Iterator[Any]:
    """Yield every node of a graph, those in branches, loops, and graphs held by nodes too."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)
        for name in node.attributeNames():
            if node.kindOf(name) == "g":
                yield from _nodes(node.g(name))


def _check(path: Path, node: Any) -> None:
    kind: str = node.kind()
    where = at(source_of(node)) or f" in the code of {path}"
    if kind in _TOUCHES_FILES:
        raise untrusted(f"'{kind.partition('::')[2]}'{where}, which writes or maps files")
    if kind == "prim::Loop" and _never_ends(node):
        raise NetworkError("TorchScript that ends", f"a loop that nothing ends{where}", "give it a condition")
    if kind in _UNKNOWN_CALLS:
        raise LiftError(
            "TorchScript whose calls are known before it runs",
            f"a call of an interface or a stored function{where}",
            "freeze it (torch.jit.freeze), or export the network with torch.export or as ONNX",
        )
    if kind.partition("::")[0] not in _NAMESPACES:
        raise refused(kind, where)


def _never_ends(loop: Any) -> bool:
    """Whether a loop goes on whatever it computes, as ``while True`` without a ``break`` does."""
    most, going, *_ = loop.inputs()
    (body,) = loop.blocks()
    again = next(iter(body.outputs()))
    return most.toIValue() == ENDLESS and going.toIValue() is True and again.toIValue() is True


def untrusted(found: str) -> UntrustedFileError:
    """Return the error for an archive that does more than compute."""
    todo = "do not load it unless you know who made it; --trust-pickle loads it all the same"
    return UntrustedFileError("TorchScript that only computes", found, todo)
