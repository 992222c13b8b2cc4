"""Shapes for the engines of an existing build: the bundle's, the data's, or the user's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from compress.bundle.bundle import MANIFEST
from compress.data.sizes import input_ranges
from compress.errors import BundleError
from compress.target.shape_ranges import ShapeRange, recorded_ranges

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec
    from compress.data import Split
    from compress.profiling.latency import GivenShapes
    from compress.target.target import Target


def for_engines(
    target: Target,
    path: Path,
    inputs: Sequence[TensorSpec],
    splits: Sequence[Split] = (),
    shapes: GivenShapes = (),
) -> Target:
    """Return the target with the sizes that an engine takes where axes are open.

    Args:
        target: Target of the engines.
        path: Path of the bundle or the ONNX file.
        inputs: Inputs of its graph.
        splits: Data, bound to these inputs; empty where there is none.
        shapes: Shapes that the user names, each with the input's name; empty names mean the inputs in order.

    Raises:
        UsageError: A shape that the user names fits no input.
    """
    manifest = path / MANIFEST
    if manifest.is_file() and not shapes:
        recorded: dict[str, ShapeRange] = recorded_ranges(json.loads(manifest.read_text(encoding="utf-8")))
        if recorded:
            return replace(target, input_shapes=recorded)
    asked_shapes = {
        name or spec.name: [tuple(shape)] for spec, (name, shape) in zip(inputs, shapes, strict=False)
    }
    return replace(target, input_shapes=input_ranges(inputs, splits, target.batch_sizes, asked_shapes))


def graph_inputs(path: Path) -> tuple[TensorSpec, ...]:
    """Return the inputs of the graph in an ONNX file.

    Raises:
        BundleError: The file is damaged.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from compress.network.formats.onnx_file import read_specs

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise BundleError("an ONNX file", f"{path}: {error}", "build it again") from error
    return read_specs(model)[0]
