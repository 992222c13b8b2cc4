"""Intel's neural-compressor, one layer at a time: AWQ (arXiv 2306.00978) and HQQ.

Its own entry points take whole PyTorch language models: they look for a list of blocks, run them one after the other,
and give back modules with half-precision scales. What they do to one layer stands in classes of their own, and these
are used here: any network will do, whatever its graph looks like, and nothing is rounded that needs no rounding.

Its default working directory is a folder in the user's; here it gets a temporary one. Its log stays quiet.
"""

from __future__ import annotations

import functools
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compress.quantization.weights.grouped import GroupedWeight, NotApplicableError, in_groups
from compress.quantization.weights.settings import Settings

Weight = NDArray[np.float32]
Inputs = NDArray[np.float32]


def awq(weight: Weight, inputs: Inputs, settings: Settings) -> GroupedWeight:
    """Scale up the columns whose inputs are large, and clip each group's range where the outputs gain by it.

    neural-compressor searches both with 4 bits, whatever bits are asked for.

    Args:
        weight: Weight, float32 [outputs, inputs].
        inputs: Inputs of the layer, float32 [rows, inputs].
        settings: Settings with bits, group size and symmetry.

    Raises:
        NotApplicableError: The search divides by a group's largest weight and by a column's mean weight, and one of
            them is zero, or the groups do not divide the inputs.
    """
    if weight.shape[1] % settings.group_size:
        raise NotApplicableError("its inputs are no multiple of the group size")
    if not in_groups(weight, settings.group_size).any(axis=2).all() or not weight.any(axis=0).all():
        raise NotApplicableError("a column or a group of its weights is zero")
    name = "blocks.0.layer"
    rows = torch.from_numpy(inputs)
    with _quiet(), torch.no_grad():
        model = _one_block(torch.from_numpy(weight.copy()))
        search = _modules()["awq"].ActAwareWeightQuant(
            model,
            example_inputs=rows[:1],
            group_size=settings.group_size,
            scheme="sym" if settings.symmetric else "asym",
            weight_config={
                name: {
                    "dtype": "int",
                    "bits": settings.bits,
                    "group_size": settings.group_size,
                    "scheme": "sym" if settings.symmetric else "asym",
                }
            },
            device="cpu",
        )
        block: Any = model.blocks[0]  # type: ignore[index]
        scales_found = search.search_scale(block, "blocks.0", [(name,)], {"layer": {"input": [rows]}})
        scales = scales_found[(name,)]
        block.layer.weight.data = block.layer.weight.data * scales
        search.search_clip("blocks.0", [(name,)], {"layer": {"input": [rows / scales]}})
        shrink = float(search.weight_config[name]["quantile"])
        scaled = block.layer.weight.numpy()
    return _rounded(scaled, settings, shrink, input_scales=(1 / scales).numpy())


def hqq(weight: Weight, settings: Settings) -> GroupedWeight:
    """Quantize half-quadratically (Badri & Shaji 2023): zero points fit a group's weights except a few outliers.

    Args:
        weight: Weight, float32 [outputs, inputs].
        settings: Settings with the group size; there are always 4 bits and zero points.
    """
    grouped = in_groups(weight, settings.group_size)
    outputs, groups, size = grouped.shape
    with _quiet(), torch.no_grad():
        modules = _modules()
        # It shares scales along axis 0.
        quantized_tensor = modules["hqq"].HQQTensorHandle.quantize(
            torch.from_numpy(grouped.reshape(-1, size).T.copy()),
            modules["hqq_config"].QTensorConfig(
                nbits=settings.bits, group_size=size, optimize=True, round_zero=True, pack=False
            ),
        )
    return _made(
        quantized_tensor.val.T.reshape(outputs, groups, size),
        quantized_tensor.scale.reshape(outputs, groups),
        quantized_tensor.zero.reshape(outputs, groups),
        weight,
        settings,
        whole_zero_points=False,
    )


def _rounded(weight: Weight, settings: Settings, shrink: float, input_scales: Weight) -> GroupedWeight:
    grouped = in_groups(weight, settings.group_size)
    outputs, groups, size = grouped.shape
    with _quiet(), torch.no_grad():
        integers, scales, zero_points = _modules()["utility"].quant_tensor(
            torch.from_numpy(grouped.reshape(outputs, -1).copy()),
            bits=settings.bits,
            group_size=size,
            scheme="sym" if settings.symmetric else "asym",
            quantile=shrink,
            return_int=True,
        )
    if settings.symmetric:  # Its integers have a sign then.
        integers, zero_points = integers + 2 ** (settings.bits - 1), None
    integers = integers.reshape(outputs, groups, size)
    return _made(integers, scales, zero_points, weight, settings, input_scales)


def _made(
    integers: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor | None,
    weight: Weight,
    settings: Settings,
    input_scales: Weight | None = None,
    *,
    whole_zero_points: bool = True,
) -> GroupedWeight:
    highest = 2**settings.bits - 1
    stored: NDArray[np.uint8] | NDArray[np.float32] | None = None
    if zero_points is not None:
        array = zero_points.numpy()
        stored = array.astype(np.uint8) if whole_zero_points else array.astype(np.float32)
    return GroupedWeight(
        integers=integers.clamp(0, highest).numpy().astype(np.uint8),
        scales=scales.numpy().astype(np.float32),
        zero_points=stored,
        input_scales=None if input_scales is None else input_scales.astype(np.float32),
        inputs=weight.shape[1],
        bits=settings.bits,
    )


def _one_block(weight: torch.Tensor) -> torch.nn.Module:
    """Return the smallest model that neural-compressor takes: a list of one block with one layer."""
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    block = torch.nn.Module()
    block.layer = layer
    model = torch.nn.Module()
    model.blocks = torch.nn.ModuleList([block])
    return model


@functools.cache
def _modules() -> dict[str, Any]:
    """Import neural-compressor's modules, without its working directory and log."""
    import neural_compressor.common

    with tempfile.TemporaryDirectory(prefix="compress-") as directory:
        neural_compressor.common.set_workspace(directory)
        from neural_compressor.torch.algorithms.weight_only import awq, utility
        from neural_compressor.torch.algorithms.weight_only.hqq import config, core
    return {"awq": awq, "utility": utility, "hqq": core, "hqq_config": config}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence all logs below errors; its logger sets its level again at import."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
