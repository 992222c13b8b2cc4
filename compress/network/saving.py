"""Saving of a network as a ``.pt2`` or ``.onnx`` file, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.core.files import written_safely
from compress.core.replacing import check_replaceable, scratch_beside
from compress.core.tensor_spec import TensorSpec
from compress.errors import NetworkError, OutputError
from compress.network.network import Network
from compress.onnx_graph.files import move_to, save_model
from compress.onnx_graph.metadata import without_metadata

if TYPE_CHECKING:
    import torch

#: What can be written, by the file's ending.
ENDINGS = (".pt2", ".onnx")


def check_writable(path: Path, *given: object, endings: Sequence[str] = ENDINGS) -> None:
    """Check, before any work is done, that a network may be written to a path.

    Args:
        path: File to write.
        given: Networks that are read; their files must not be replaced.
        endings: Endings of the formats that can be written.

    Raises:
        OutputError: The path is a directory, is in none that exists or may be written to, there is no room, or the file
            has another ending or is one of those read.
    """
    if path.suffix not in endings:
        raise OutputError(f"a file that ends in {' or '.join(endings)}", str(path), "choose another --out")
    if path.is_dir() or not path.parent.is_dir():
        problem = f"a directory, {path}" if path.is_dir() else f"no directory {path.parent}"
        raise OutputError("a file to write in a directory that exists", problem, "choose another --out")
    for argument in given:
        if (
            isinstance(argument, str | Path)
            and path.exists()
            and Path(argument).exists()
            and path.samefile(argument)
        ):
            problem = f"{path}, which is given as a network"
            raise OutputError("a file to write", problem, "choose another --out")
    check_replaceable(path)


def save_network(network: Network, path: Path) -> None:
    """Write a network; a file of this name is replaced at once or not at all.

    Args:
        network: Network to write, for ``.pt2`` in its trainable form.
        path: File to write, ``.pt2``, which can be trained further, or ``.onnx``. A ``.pt2`` is called like the
            original, has the same axes open, and is in half precision where the original was.

    Raises:
        OutputError: The file cannot be written.
        NetworkError: The network is already an ONNX model and a ``.pt2`` is asked for, or axes do not stay open there.
    """
    check_writable(path)
    write = _onnx_writer(network) if path.suffix == ".onnx" else _program_writer(network)
    with written_safely(path), scratch_beside(path) as scratch:
        written = scratch / f"network{path.suffix}"
        write(written)
        if path.suffix == ".onnx":
            move_to(written, path)
        else:
            written.replace(path)


def _onnx_writer(network: Network) -> Callable[[Path], object]:
    model = without_metadata(network.to_onnx())
    return lambda path: save_model(model, path)


def _program_writer(network: Network) -> Callable[[Path], object]:
    if network.graph is None:
        raise NetworkError("a network in its trainable form, for .pt2", "an ONNX model", "write .onnx")
    import torch

    program = _program(network, network.graph)
    return lambda path: torch.export.save(program, path)


def _program(network: Network, graph: torch.fx.GraphModule) -> torch.export.ExportedProgram:
    import torch

    from compress.network.call_form import CallForm
    from compress.network.onnx_export import in_eval_mode
    from compress.network.tracing import essence, quiet

    sample = [_at_least_two(spec, array) for spec, array in zip(network.inputs, network.sample, strict=True)]
    tensors = [torch.from_numpy(array) for array in sample]
    if network.half is not None:
        from compress.network.lifting.widening import in_half

        graph, tensors = in_half(graph, network.half), network.half.given(tensors)
    outputs = len(network.outputs)
    form = network.form
    if form is None or not form.fits(len(tensors), outputs):
        names = [str(node.target) for node in graph.graph.find_nodes(op="placeholder")]
        form = CallForm.of_call(names, (), tensors[0] if outputs == 1 else tuple(tensors[:1] * outputs))
    try:
        with in_eval_mode(graph), quiet():
            program = form.program(graph, network.inputs, tensors)
    except Exception as error:
        raise NetworkError(f"a .pt2 of {_told(network.inputs)}", essence(error), "write .onnx") from error
    if closed := _closed_axes(network.inputs, program):
        raise NetworkError(f"a .pt2 of {_told(network.inputs)}", f"{closed} fixed in it", "write .onnx")
    return program


def _told(inputs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, inputs))


def _closed_axes(inputs: Sequence[TensorSpec], program: torch.export.ExportedProgram) -> str:
    """Return the axes that are open in a network and fixed in its program; empty where there are none."""
    import torch

    names = set(program.graph_signature.user_inputs)
    nodes = program.graph.find_nodes(op="placeholder")
    values = [node.meta.get("val") for node in nodes if node.name in names]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return ", ".join(
        f"axis {axis} of {spec.name}"
        for spec, value in zip(inputs, tensors, strict=True)
        for axis, size in enumerate(spec.shape)
        if isinstance(size, str) and isinstance(value.shape[axis], int)
    )


def _at_least_two(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    """Return a sample with each open axis longer than one, since one would count as a broadcast constant."""
    for axis, size in enumerate(spec.shape):
        if isinstance(size, str) and array.shape[axis] == 1:
            array = np.repeat(array, 2, axis)
    return array.copy()
