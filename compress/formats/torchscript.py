"""TorchScript archives, inspected before torch loads them and converted to an exported program."""

from __future__ import annotations

import io
import operator
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch._export.converter import TS2EPConverter
from torch.export import ExportedProgram
from torch.fx.node import map_aggregate

from compress.errors import LiftError, NetworkError, UntrustedFileError
from compress.formats.torchscript_tensors import check_tensors
from compress.formats.zip_archive import ZipArchive
from compress.lift import plain_graph
from compress.lift_batch import merge_batches
from compress.lift_calls import aten, refuse
from compress.trace import (
    Traced,
    cast_floats,
    essence,
    match_example,
    quiet,
    reference_of,
    run,
    trace,
    with_rows,
)

if TYPE_CHECKING:
    from compress.network import Example

# TorchScript runs in an interpreter of its own, without Python; but it has operators that write and map files
# (aten::save, aten::from_file), and torch.jit.load already runs a module's __setstate__.
_TOUCHES_FILES = re.compile(r"\.\s*(save|from_file)\b")
_OPERATOR = re.compile(r"(?<![\w.])ops\s*\.\s*(\w+)\s*\.\s*(\w+)")
_OTHER_OPS = re.compile(r"(?<![\w.])ops\b(?!\s*\.\s*\w+\s*\.\s*\w)")
_CLASS = re.compile(r"torch\.classes\.[\w.]+")
_NAMESPACES = frozenset({"aten", "prim", "prims"})
_PLAIN_PATH = re.compile(r"[\w.:/ -]*")


def read_torchscript(path: Path, *, trust_pickle: bool = False) -> torch.jit.ScriptModule:
    """The module in a TorchScript archive, in eval mode on the CPU.

    torch reads a copy that holds only what was inspected.

    Raises:
        NetworkError: The archive is damaged, or torch cannot read it.
        UntrustedFileError: Its code writes or maps files.
        LiftError: Its code calls custom operators or classes.
    """
    copy = io.BytesIO()
    with ZipArchive(path) as archive, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as written:
        check_tensors(archive)
        for name in archive.names:
            content = archive.read(name)
            if name.startswith("code/") and name.endswith(".py") and not trust_pickle:
                _check_code(path, content.decode("utf-8", "replace"))
            written.writestr(f"archive/{name}", content)
    copy.seek(0)
    try:
        with quiet():
            module: torch.jit.ScriptModule = torch.jit.load(copy, map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:
        raise NetworkError(
            f"a TorchScript file that torch {torch.__version__} reads",
            f"{path}: {essence(error)}",
            "save it again with this torch",
        ) from error
    for name in (*dict(module.named_parameters()), *dict(module.named_buffers())):
        if not trust_pickle and not _PLAIN_PATH.fullmatch(name):  # names become part of generated source
            raise _untrusted(f"the name {name[:80]!r} in {path}")
    return module.eval()


def _check_code(path: Path, code: str) -> None:
    found = _TOUCHES_FILES.search(code)
    if found:
        raise _untrusted(f"'{found.group(1)}' in the code of {path}, which writes or maps files")
    unclear = _OTHER_OPS.search(code)
    custom = [f"{space}::{name}" for space, name in _OPERATOR.findall(code) if space not in _NAMESPACES]
    custom += _CLASS.findall(code)
    if custom or unclear:
        raise LiftError(
            "a network of PyTorch's own operators",
            f"{', '.join(dict.fromkeys(custom)) or 'operators that are not named'} in the code of {path}",
            "replace them by PyTorch's operators, or give an ONNX file",
        )


def _untrusted(found: str) -> UntrustedFileError:
    todo = "do not load it unless you know who made it; --trust-pickle loads it all the same"
    return UntrustedFileError("TorchScript that only computes", found, todo)


def trace_torchscript(module: torch.jit.ScriptModule, example: Example) -> Traced:
    """Trace a TorchScript module.

    Args:
        module: In eval mode.
        example: One batch of real inputs, by name or in order.

    Raises:
        DataError: The example does not name the module's inputs.
        NetworkError: The module does not run on the example.
        LiftError: Its control flow depends on the data, or it calls what cannot be converted.
    """
    forward: Any = module.forward
    schema = forward.schema.arguments[1:]
    names = [argument.name for argument in schema if str(argument.type) in ("Tensor", "Optional[Tensor]")]
    required = [argument.name for argument in schema if not argument.has_default_value()]
    others = [
        f"'{each.name}: {each.type}'" for each in schema if each.name in required and each.name not in names
    ]
    if others:
        raise LiftError(
            "a network whose inputs are all tensors",
            f"{', '.join(others)} of forward()",
            "script it with defaults for them, or export it as ONNX",
        )
    bound = cast_floats(match_example(example, names, required), module)
    reference = reference_of(module, list(bound))
    run(reference, bound)
    arguments = {each.name: bound.get(each.name, each.default_value) for each in schema}
    return Traced(_export(module, arguments, bound), bound, reference)


# What torch's converter raises for a graph it cannot convert.
_NOT_CONVERTED = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, LiftError)


def _export(
    module: torch.jit.ScriptModule, arguments: dict[str, Any], example: dict[str, torch.Tensor]
) -> ExportedProgram:
    """The module's operations by one of the two roads torch has."""
    with quiet(), suppress(*_NOT_CONVERTED):
        program: ExportedProgram = _Converter(module, arguments, example).convert()
        refuse(program.graph)
        return program
    # The converter knows few forms of prim::If and prim::Loop. TorchScript's own interpreter runs them all, and
    # torch.export can watch it, only with every size fixed.
    interpreted = _Interpreted(module, arguments)
    try:
        with quiet():
            fixed = torch.export.export(interpreted, (), example, strict=False)
            two, three = (
                plain_graph(torch.export.export(interpreted, (), with_rows(example, rows), strict=False))
                for rows in (2, 3)
            )
    except Exception as error:
        raise LiftError(
            "TorchScript whose operations do not depend on its data",
            f"{essence(error)}{_place(str(error))}",
            "rewrite that line, or export the network with torch.export or as ONNX",
        ) from error
    merged = merge_batches(two, three, sizes=(2, 3))
    return trace(_with_names(merged or plain_graph(fixed), module), example)


class _Converter(TS2EPConverter):
    """torch's conversion of the TorchScript graph, then traced with a dynamic batch axis and no other."""

    def __init__(
        self, module: torch.jit.ScriptModule, arguments: dict[str, Any], example: dict[str, torch.Tensor]
    ) -> None:
        super().__init__(module, tuple(arguments.values()))
        self._module = module
        self._arguments = arguments
        self._example = example

    def retrace_as_exported_program(
        self, gm: fx.GraphModule, name_to_constant: dict[str, Any]
    ) -> ExportedProgram:
        placeholders = gm.graph.find_nodes(op="placeholder")
        for placeholder, (name, value) in zip(placeholders, self._arguments.items(), strict=True):
            placeholder.target = placeholder.name = name
            if name not in self._example:
                placeholder.replace_all_uses_with(value)
                gm.graph.erase_node(placeholder)
        _sizes_as_integers(gm)
        return trace(_with_names(gm, self._module), self._example)


class _Interpreted(nn.Module):
    """A TorchScript module that torch.export takes for an ordinary one."""

    def __init__(self, module: torch.jit.ScriptModule, arguments: dict[str, Any]) -> None:
        super().__init__()
        run = module._c._get_method("forward")

        def forward(**inputs: torch.Tensor) -> Any:
            return run(*(arguments | inputs).values())

        self.forward = forward


def _place(message: str) -> str:
    """`` at file:line`` of the source that was scripted, if the archive still says so."""
    found = re.findall(r'File "([^"<]+)", line (\d+)', message)
    return f" at {found[-1][0]}:{found[-1][1]}" if found else ""


_ON_INTEGERS: dict[Any, Callable[[Any, Any], Any]] = {
    aten.add.Tensor: operator.add,
    aten.sub.Tensor: operator.sub,
    aten.mul.Tensor: operator.mul,
    aten.floor_divide.default: operator.floordiv,
    aten.floor_divide.Scalar: operator.floordiv,
    aten.div.Tensor_mode: operator.floordiv,
    aten.div.Scalar_mode: operator.floordiv,
    aten.remainder.Tensor: operator.mod,
    aten.remainder.Scalar: operator.mod,
    aten.mul.Scalar: operator.mul,
    aten.add.Scalar: operator.add,
    aten.sub.Scalar: operator.sub,
}
_SAME_INTEGER = frozenset({aten._to_copy.default, aten.to.dtype})
_AS_INTEGER = frozenset({aten._local_scalar_dense.default, aten.item.default})


def _sizes_as_integers(module: fx.GraphModule) -> None:
    """Compute with sizes as integers again; ``torch.jit.trace`` recorded them as tensors of one value.

    As tensors they would count as data that shapes depend on.
    """
    graph = module.graph
    integers: dict[Any, Any] = {}  # a tensor of one integer → that integer, or the node that computes it
    for node in list(graph.nodes):
        if node.op == "get_attr":
            value = _attribute(module, str(node.target))
            if isinstance(value, torch.Tensor) and value.dim() == 0 and value.dtype == torch.int64:
                integers[node] = int(value)
        elif node.target is aten.scalar_tensor and node.kwargs.get("dtype") == torch.int64:
            integers[node] = node.args[0]
        elif node.target in _SAME_INTEGER and node.args[0] in integers:
            integers[node] = integers[node.args[0]]
        elif node.target in _ON_INTEGERS and node.args[0] in integers:
            left, right = integers[node.args[0]], integers.get(node.args[1], node.args[1])
            if isinstance(right, int) or right in integers.values():
                with graph.inserting_before(node):
                    integers[node] = graph.call_function(_ON_INTEGERS[node.target], (left, right))
        elif node.target in _AS_INTEGER and node.args[0] in integers:
            node.replace_all_uses_with(integers[node.args[0]])
    for node in reversed(list(graph.nodes)):
        if not node.users and (node in integers or node.target in _AS_INTEGER or node.op == "get_attr"):
            graph.erase_node(node)


def _with_names(converted: fx.GraphModule, module: torch.jit.ScriptModule) -> fx.GraphModule:
    """The graph with weights that the conversion made nameless constants under their own names again."""
    graph = converted.graph
    parameters = {name: nn.Parameter(each, each.requires_grad) for name, each in module.named_parameters()}
    named = parameters | dict(module.named_buffers())
    names = {(each.data_ptr(), each.shape): name for name, each in named.items()}
    attributes: dict[str, Any] = {}

    def name_of(value: torch.Tensor, otherwise: str) -> str:
        name = names.get((value.data_ptr(), value.shape), otherwise)
        attributes[name] = parameters.get(name, value)
        return name

    def as_attribute(value: Any) -> Any:
        # Recurrent layers keep their weights in a list, whose tensors end up among the arguments themselves.
        return (
            graph.get_attr(name_of(value, f"constant_{len(attributes)}"))
            if isinstance(value, torch.Tensor)
            else value
        )

    for node in list(graph.nodes):
        if node.op == "get_attr":
            value = _attribute(converted, str(node.target))
            if isinstance(value, torch.Tensor):
                node.target = name_of(value, str(node.target))
            else:
                attributes[str(node.target)] = value
        elif node.op == "call_function":
            with graph.inserting_before(node):
                node.args = map_aggregate(node.args, as_attribute)
    return fx.GraphModule(attributes, graph)


def _attribute(module: nn.Module, path: str) -> Any:
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name)
    return value
