"""``torch.export`` archives (``.pt2``), read without running anything they carry."""

from __future__ import annotations

import io
import json
import math
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.pt2_archive._package import load_pt2
from torch.utils import _pytree as pytree

from compress.errors import CompressError, DataError, NetworkError, UntrustedFileError
from compress.network.call_form import CallForm
from compress.network.example import Axes, arrange, match_example
from compress.network.formats.pickle_bounds import check_bounds
from compress.network.formats.pickles import NotAPickleError, unsafe_globals
from compress.network.formats.pt2_program import checked_config, checked_program
from compress.network.formats.zip_archive import ZipArchive, damaged
from compress.network.lifting.graph import plain_graph
from compress.network.single_sample import as_arrays
from compress.network.tracing import (
    Reference,
    Traced,
    describe,
    essence,
    quiet,
    reference_of,
    refuse_not_finite,
    run,
    trace_module,
    without_transforms,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from compress.network.network import Example

_PROGRAM = "models/model.json"
_CONFIGS = {
    "data/weights/model_weights_config.json": "data/weights/",
    "data/constants/model_constants_config.json": "data/constants/",
}
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_TENSOR_CONSTANT = "tensor_"


def read_pt2(path: Path, *, trust_pickle: bool = False) -> ExportedProgram:
    """Read the program in a ``.pt2`` archive.

    torch reads a copy that holds only the inspected content, so it cannot see another archive than this code did.

    Args:
        path: Archive to read.
        trust_pickle: Whether to let the archive run code: pickled constants, compiled expressions.

    Raises:
        NetworkError: The archive is damaged, holds no program, or one that this torch cannot read.
        UntrustedFileError: Loading it would run code.
        LiftError: The program calls a custom operator.
    """
    with ZipArchive(path) as archive:
        if _PROGRAM not in archive:
            compiled = any(name.startswith("data/aotinductor/") for name in archive.names)
            raise NetworkError(
                "a .pt2 file with an exported program",
                f"{path}, with {'a compiled library' if compiled else 'none'} in it",
                "save the network with torch.export.save",
            )
        members = dict(_members(archive, trust_pickle=trust_pickle))
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as written:
        for name, content in members.items():
            written.writestr(f"archive/{name}", content)
    copy.seek(0)
    try:
        with quiet():
            program = without_transforms(load_pt2(copy).exported_programs["model"])
    except CompressError:
        raise
    except Exception as error:
        raise NetworkError(
            f"a program that torch {torch.__version__} reads",
            f"{path}: {essence(error)}",
            "export it again with this torch",
        ) from error
    return program


def trace_pt2(
    program: ExportedProgram, path: Path, example: Example | None, given_axes: Axes | None = None
) -> Traced:
    """Trace an exported program on a batch: the example, else the archive's own, else noise.

    Args:
        program: Program that :func:`read_pt2` returned.
        path: File of the program, for messages.
        example: Samples of real inputs along axis 0, whichever axis the program takes them along; None for none.
        given_axes: Axis of each input that counts samples, as the user names it; see
            :func:`compress.network.tracing.trace_module`.

    Raises:
        DataError: The example does not fit the program's inputs.
        NetworkError: The program does not run on it, or its weights are not finite.
        LiftError: The program cannot be lifted.
    """
    parameters = set(program.graph_signature.parameters)
    refuse_not_finite(
        ((name, tensor, name in parameters) for name, tensor in program.state_dict.items()), str(path)
    )
    placed = run_on_example(program, example, given_axes)
    if placed.samples is not None:
        return trace_module(placed.graph, as_arrays(placed.samples))
    fixed = _is_fixed(placed.values, {name: [placed.axes.get(name, 0)] for name in placed.values})
    form = CallForm.of_program(program)
    return Traced(program, placed.inputs, placed.reference, fixed=fixed, axes=placed.axes, form=form)


class Placed(NamedTuple):
    """A program with the inputs that it ran on.

    Attributes:
        graph: Graph of the program.
        values: Specifications that it was exported for, by input name.
        reference: Function of positional tensors that computes the program.
        inputs: Inputs that it ran on, by name.
        axes: Axis that counts samples, for inputs where it is not axis 0.
        samples: Samples for a program, not yet run, that takes one sample without an axis for it; else None.
    """

    graph: fx.GraphModule
    values: dict[str, torch.Tensor]
    reference: Reference
    inputs: dict[str, torch.Tensor]
    axes: Axes
    samples: dict[str, torch.Tensor] | None = None


def run_on_example(
    program: ExportedProgram, example: Example | None, given_axes: Axes | None = None
) -> Placed:
    """Run a program; see :func:`trace_pt2` for arguments and errors."""
    graph = plain_graph(program)
    values = {str(node.target): node.meta["val"] for node in graph.graph.find_nodes(op="placeholder")}
    reference = reference_of(graph, list(values))
    axes: Axes = {}
    if example is None:
        samples_of_program = _own_example(program)
    else:
        samples = match_example(example, list(values), list(values))
        samples = {name: _of_kind(tensor, values[name]) for name, tensor in samples.items()}
        if all(tensor.dim() == values[name].dim() + 1 for name, tensor in samples.items()):
            return Placed(graph, values, reference, {}, axes, samples)
        possible = {name: _possible_axes(tensor, values[name]) for name, tensor in samples.items()}
        samples_of_program, axes = arrange(
            partial(run, reference), samples, given_axes, possible, fixed=_is_fixed(values, possible)
        )
    inputs = {}
    for position, (name, value) in enumerate(values.items()):
        tensor = samples_of_program.get(name)
        axis = axes.get(name, 0)
        inputs[name] = _noise(value, position) if tensor is None else _fitted(name, tensor, value, axis)
    run(reference, inputs)
    return Placed(graph, values, reference, inputs, axes)


def _is_fixed(values: Mapping[str, torch.Tensor], axes: Mapping[str, Sequence[int]]) -> bool:
    """Whether each of these axes has a fixed size: with another number of samples the program may fail, or worse."""
    return all(
        isinstance(size, int)
        for name, value in values.items()
        for size in (value.shape[axis] for axis in axes.get(name, [0]) if axis < value.dim())
    )


def _of_kind(tensor: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return floats in the width the program was exported for; NumPy's are float64 by default."""
    return tensor.to(value.dtype) if tensor.is_floating_point() == value.is_floating_point() else tensor


def _possible_axes(samples: torch.Tensor, value: torch.Tensor) -> list[int]:
    """Return the possible axes of samples ``(n, …)`` in an input, by the sizes that the program fixes."""
    sizes = list(value.shape)
    if samples.dim() != len(sizes):
        return [0]
    fitting = [
        axis
        for axis in range(len(sizes))
        if all(
            not isinstance(size, int) or size == length
            for size, length in zip(sizes[:axis] + sizes[axis + 1 :], samples.shape[1:], strict=True)
        )
    ]
    return [axis for axis in fitting if not isinstance(sizes[axis], int)] or fitting or [0]


def _own_example(program: ExportedProgram) -> dict[str, torch.Tensor]:
    """Return the inputs that the program was exported with, where the archive has them."""
    args, kwargs = program.example_inputs or ((), {})
    leaves = pytree.tree_leaves((args, kwargs))
    names = program.graph_signature.user_inputs
    if len(leaves) != len(names):
        return {}
    return {
        str(name): leaf
        for name, leaf in zip(names, leaves, strict=True)
        if isinstance(leaf, torch.Tensor) and leaf.numel()
    }


def _noise(value: torch.Tensor, seed: int) -> torch.Tensor:
    # A dynamic axis gets the size it had in the trace; zero is a valid index of everything.
    shape = [size if isinstance(size, int) else size.node.hint for size in value.shape]
    if not value.is_floating_point():
        return torch.zeros(shape, dtype=value.dtype)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(value.dtype)


def _fitted(name: str, tensor: torch.Tensor, value: torch.Tensor, batch_axis: int) -> torch.Tensor:
    """Return the tensor in the program's dtype, with as many rows where its batch size is fixed."""
    same_kind = tensor.is_floating_point() == value.is_floating_point()
    fits = tensor.dim() == value.dim() and all(
        not isinstance(size, int) or axis == batch_axis or size == tensor.shape[axis]
        for axis, size in enumerate(value.shape)
    )
    if not (same_kind and fits):
        dtype = str(value.dtype).removeprefix("torch.")
        shape = ", ".join(str(size) if isinstance(size, int) else "any" for size in value.shape)
        raise DataError(
            f"the input {name}: {dtype}[{shape}]", describe(tensor), "give data of that shape and dtype"
        )
    if tensor.dim() and isinstance(value.shape[batch_axis], int):
        rows = torch.arange(value.shape[batch_axis]) % tensor.shape[batch_axis]
        tensor = tensor.index_select(batch_axis, rows)
    return tensor.to(value.dtype)


def _members(archive: ZipArchive, *, trust_pickle: bool) -> Iterator[tuple[str, bytes]]:
    """Return the archive's members that torch may see, each checked."""
    for name in ("archive_format", "archive_version", "byteorder", ".data/version"):
        if name in archive:
            yield name, archive.read(name)
    try:
        program = archive.read(_PROGRAM)
        yield _PROGRAM, program if trust_pickle else checked_program(program)
        for config_name, folder in _CONFIGS.items():
            if f"{folder}model.pt" in archive:  # torch 2.8 and 2.9 pickled all tensors together
                yield (
                    f"{folder}model.pt",
                    _without_code(archive.path, folder, archive.read(f"{folder}model.pt")),
                )
                continue
            content = archive.read(config_name)
            config = json.loads(content) if trust_pickle else checked_config(content)
            yield config_name, json.dumps(config).encode()
            yield from _tensors(archive, folder, config["config"], trust_pickle=trust_pickle)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(archive.path, f"its program: {error}") from error
    samples = archive.read(_SAMPLE_INPUTS) if _SAMPLE_INPUTS in archive else b""
    if samples and not trust_pickle:
        samples = _without_code(archive.path, "the sample inputs", samples)
    yield _SAMPLE_INPUTS, samples


def _tensors(
    archive: ZipArchive, folder: str, entries: dict[str, Any], *, trust_pickle: bool
) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()  # tied weights share one member
    for name, entry in entries.items():
        member = folder + entry["path_name"]
        if member in seen:
            continue
        seen.add(member)
        content = archive.read(member)
        if not trust_pickle:
            if "constants" in folder and not entry["path_name"].startswith(_TENSOR_CONSTANT):
                raise _untrusted(f"the pickled object '{name}' in {archive.path}")
            if entry["use_pickle"]:
                content = _without_code(archive.path, f"'{name}'", content)
            elif not content and math.prod(size["as_int"] for size in entry["tensor_meta"]["sizes"]):
                raise ValueError(f"'{name}' has no values")
        yield member, content


def _without_code(path: Path, what: str, content: bytes) -> bytes:
    """Rewrite pickled tensors; those that torch's restricted unpickler does not load are refused.

    Left to itself torch falls back to the unrestricted one.
    """
    try:
        check_bounds(_pickle_in(path, content))
    except NotAPickleError as error:
        raise damaged(path, f"{what}: {error}") from error
    try:
        loaded = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:
        called = _calls(path, what, content)
        if called:
            raise _untrusted(f"{what} in {path}, a pickle that calls {', '.join(called)}") from error
        raise damaged(path, f"{what}: {essence(error)}") from error
    copy = io.BytesIO()
    torch.save(loaded, copy)
    return copy.getvalue()


def _untrusted(content: str) -> UntrustedFileError:
    todo = "do not load it unless you know who made it; --trust-pickle loads it all the same"
    return UntrustedFileError("tensors alone", content, todo)


def _calls(path: Path, what: str, content: bytes) -> list[str]:
    """Return the names beyond tensors that a pickle inside the archive imports."""
    try:
        return unsafe_globals(_pickle_in(path, content))
    except NotAPickleError as error:
        raise damaged(path, f"{what}: {error}") from error


def _pickle_in(path: Path, content: bytes) -> io.BytesIO:
    """Return the pickle inside a file of torch.save."""
    if content.startswith(b"PK"):
        with ZipArchive(path, content) as inner:
            content = inner.read("data.pkl")
    return io.BytesIO(content)
