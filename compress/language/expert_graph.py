"""A mixture of experts as nodes: logits of experts, and the runtime's operator that computes those chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from compress.errors import RecipeError
from compress.language.config import Experts
from compress.language.graph_writer import GraphWriter
from compress.language.matrices import Form, IntegerMatrix, Matrix, WrittenMatrix, taken_up
from compress.language.weights import Weights
from compress.quantization.weights.experts import fits, mixture_node, stacked_arrays
from compress.quantization.weights.grouped import Grid

#: Matrices of all experts of a layer: gate and up, whose rows alternate, and down.
EXPERT_MATRICES = ("experts.gate_up_proj", "experts.down_proj")


def write_experts(
    graph: GraphWriter, experts: Experts, weights: Weights, form: Form, at: str, matrix: str
) -> WrittenMatrix:
    """Write one matrix of all experts of a layer, unless an earlier run has.

    The form is asked for each expert (``….experts.0.gate_up_proj``); all must get the same one.

    Args:
        graph: Graph to add to.
        experts: Experts of the decoder.
        weights: Weights of the decoder.
        form: Function that says the form of each matrix.
        at: Name of the feed-forward part, as in ``model.layers.0.mlp``.
        matrix: Name of the matrix, one of :data:`EXPERT_MATRICES`.

    Raises:
        RecipeError: The forms differ, or are none that the runtime's operator takes.
    """
    name, part = f"{at}.{matrix}", matrix.rpartition(".")[2]
    written = taken_up(graph, name)
    if written is not None:
        return written
    sizes, changes, matrices = [], [], []
    for number in range(experts.count):
        values = _values(weights, f"{at}.experts.{number}", part)
        matrices.append(form(f"{at}.experts.{number}.{part}", values))
        size = float(np.vdot(values, values))
        sizes.append(size)
        changes.append(size * (getattr(matrices[-1], "error", None) or 0.0) ** 2)
    written = _written(graph, name, matrices, (sum(changes) / sum(sizes)) ** 0.5 if any(sizes) else 0.0)
    graph.finish(name, asdict(written))
    return written


def add_mixture(
    graph: GraphWriter,
    experts: Experts,
    at: str,
    source: str,
    logits: str,
    matrices: Sequence[WrittenMatrix],
) -> str:
    """Add the experts of a layer and return the name of their result.

    Args:
        graph: Graph to add to.
        experts: Experts of the decoder.
        at: Name of the feed-forward part.
        source: Name of the tokens, float32 [batch, sequence, hidden].
        logits: Name of the logits of experts, float32 [batch, sequence, experts].
        matrices: The matrices :data:`EXPERT_MATRICES`.

    Raises:
        RecipeError: The matrices differ in form.
    """
    first, second = matrices
    if _kind(first) != _kind(second):
        raise _several(f"{at}.experts")
    flat = graph.constant("experts.flat", np.array([-1, experts.count], np.int64))
    routes = graph.node("Reshape", [logits, flat], f"{at}.routes")
    constants = [matrix.constants for matrix in matrices]
    result = f"{at}.mixture"
    graph.add(
        mixture_node(
            result,
            source,
            routes,
            constants,
            result,
            chosen=experts.chosen,
            grid=first.grid,
            compute=first.compute,
        )
    )
    if experts.renormalized:
        return result
    share = _share(graph, f"{at}.share", logits, experts.chosen)
    return graph.node("Mul", [result, share], f"{at}.weighted")


def _share(graph: GraphWriter, name: str, logits: str, chosen: int) -> str:
    """Return the share of the chosen experts together among all, float32 [batch, sequence, 1]."""
    count, axis = (
        graph.constant(f"experts.{what}", np.array([value], np.int64))
        for what, value in (("chosen", chosen), ("axis", -1))
    )
    shares = graph.node("Softmax", [logits], f"{name}.all", axis=-1)
    largest = graph.node("TopK", [shares, count], f"{name}.largest", more=[f"{name}.places"], axis=-1)
    return graph.node("ReduceSum", [largest, axis], name, keepdims=1)


def _values(weights: Weights, at: str, part: str) -> NDArray[np.float32]:
    """Return a matrix of an expert; rows of gate and up alternate."""
    if part == "down_proj":
        return weights[f"{at}.down_proj.weight"]
    both = np.stack([weights[f"{at}.gate_proj.weight"], weights[f"{at}.up_proj.weight"]], axis=1)
    return both.reshape(-1, both.shape[2])


def _written(graph: GraphWriter, name: str, matrices: Sequence[Matrix], error: float) -> WrittenMatrix:
    integers = [matrix for matrix in matrices if isinstance(matrix, IntegerMatrix)]
    floats = [matrix for matrix in matrices if not isinstance(matrix, IntegerMatrix)]
    if not integers:
        return WrittenMatrix((graph.constant(f"{name}.weight", np.stack(floats)),))
    first = integers[0]
    forms = {(matrix.weight.grid, matrix.weight.zero_points is None, matrix.compute) for matrix in integers}
    if floats or len(forms) > 1:
        raise _several(name)
    misfit = next((matrix.weight for matrix in integers if not fits(matrix.weight)), None)
    if misfit is not None:
        raise RecipeError(
            "experts of two or more whole groups of inputs, with integers for zero points",
            f"'{name}' of {misfit.inputs} inputs in groups of {misfit.group_size}",
            "choose a smaller group, or leave the experts in float32",
        )
    parts = stacked_arrays([matrix.weight for matrix in integers])
    names = tuple(graph.constant(f"{name}.{part}", values) for part, values in parts.items())
    grid = first.weight.grid
    every = Grid(grid.outputs * len(integers), grid.inputs, grid.group_size, grid.bits)
    return WrittenMatrix(names, every, first.compute, error=error)


def _kind(matrix: WrittenMatrix) -> tuple[int, int, int, str] | None:
    grid = matrix.grid
    return None if grid is None else (grid.bits, grid.group_size, len(matrix.constants), matrix.compute)


def _several(name: str) -> RecipeError:
    return RecipeError("one form for all experts of a layer", f"several in '{name}'", "choose one")
