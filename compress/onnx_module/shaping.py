"""Operators that move values, select some, or read and set shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from onnx import numpy_helper
from torch import Tensor

from compress.onnx_module.elementwise import Attributes, Operator, number
from compress.onnx_module.refusal import untrainable


def _ints(values: Tensor) -> list[int]:
    # Not int(value) of each, for what number() says.
    integers: list[int] = values.tolist()
    return integers


def _axes(attributes: Attributes, axes_tensor: Tensor | None) -> list[int] | None:
    """Return the axes, which are an input since opset 13 or 18 and were an attribute before."""
    if axes_tensor is not None:
        return _ints(axes_tensor)
    return list(attributes["axes"]) if "axes" in attributes else None


def _reshape(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _ints(shape)
    if not attributes.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(attributes: Attributes, x: Tensor) -> Tensor:
    axis = attributes.get("axis", 1)
    rows = int(np.prod(x.shape[: axis if axis >= 0 else x.dim() + axis], dtype=np.int64))
    return x.reshape(rows, -1)


def _transpose(attributes: Attributes, x: Tensor) -> Tensor:
    return x.permute(*attributes.get("perm", range(x.dim() - 1, -1, -1)))


def _squeeze(attributes: Attributes, x: Tensor, axes_tensor: Tensor | None = None) -> Tensor:
    axes = _axes(attributes, axes_tensor)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueeze(attributes: Attributes, x: Tensor, axes_tensor: Tensor | None = None) -> Tensor:
    axes = _axes(attributes, axes_tensor) or []
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _shape(attributes: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(
        list(x.shape)[attributes.get("start", 0) : attributes.get("end")], dtype=torch.int64, device=x.device
    )


def _expand(_: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(_ints(shape))))


def _concat(attributes: Attributes, *inputs: Tensor) -> Tensor:
    return torch.cat(inputs, attributes["axis"])


def _split(attributes: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = attributes.get("axis", 0)
    if sizes is not None:
        return torch.split(x, _ints(sizes), axis)
    # All parts are ceil(size / parts) long, but for the last.
    return torch.split(x, -(-x.shape[axis] // attributes["num_outputs"]), axis)


def _slice(
    _: Attributes,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes_tensor: Tensor | None = None,
    given_steps: Tensor | None = None,
) -> Tensor:
    axes = list(range(len(starts))) if axes_tensor is None else _ints(axes_tensor)
    steps = [1] * len(starts) if given_steps is None else _ints(given_steps)
    for axis, start, end, step in zip(axes, _ints(starts), _ints(ends), steps, strict=True):
        indices = range(x.shape[axis])[start:end:step]
        if step > 0:
            length = len(indices)
            x = x.narrow(axis, indices.start, length and (length - 1) * step + 1)
            x = x if step == 1 else x[(slice(None),) * (axis % x.dim()) + (slice(None, None, step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(indices), dtype=torch.int64, device=x.device))
    return x


def _gather(attributes: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = attributes.get("axis", 0) % x.dim()
    rows = indices.reshape(-1).to(x.device, torch.int64)
    picked = x.index_select(axis, torch.where(rows < 0, rows + x.shape[axis], rows))
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _gather_elements(attributes: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = attributes.get("axis", 0)
    return x.gather(axis, torch.where(indices < 0, indices + x.shape[axis], indices))


def _pad(
    attributes: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    mode = attributes.get("mode", b"constant").decode()
    chosen = list(range(x.dim())) if axes is None else [axis % x.dim() for axis in _ints(axes)]
    amounts = _ints(pads)
    before, after = [0] * x.dim(), [0] * x.dim()
    for place, axis in enumerate(chosen):
        before[axis], after[axis] = amounts[place], amounts[place + len(chosen)]
    pairs = [amount for axis in reversed(range(x.dim())) for amount in (before[axis], after[axis])]
    if mode == "constant":
        return F.pad(x, pairs, value=0.0 if value is None else float(number(value)))
    if any(pairs[2 * (x.dim() - 2) :]) or mode not in ("reflect", "edge"):
        raise untrainable(f"Pad in mode {mode} with pads {amounts}")
    return F.pad(x, pairs[: 2 * (x.dim() - 2)], mode="replicate" if mode == "edge" else mode)


def _constant_of_shape(attributes: Attributes, shape: Tensor) -> Tensor:
    value = attributes.get("value")
    filled = torch.zeros(1) if value is None else torch.from_numpy(numpy_helper.to_array(value).copy())
    return filled.to(shape.device).expand(_ints(shape)).clone()


def _range(_: Attributes, start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    return torch.arange(number(start), number(end), number(step), dtype=start.dtype, device=start.device)


def _depth_to_space(attributes: Attributes, x: Tensor) -> Tensor:
    size = attributes["blocksize"]
    if attributes.get("mode", b"DCR") == b"CRD":
        return F.pixel_shuffle(x, size)
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, size, size, channels // size**2, height, width)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // size**2, height * size, width * size)


def _space_to_depth(attributes: Attributes, x: Tensor) -> Tensor:
    size = attributes["blocksize"]
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, channels, height // size, size, width // size, size)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(batch, channels * size**2, height // size, width // size)


def _trilu(attributes: Attributes, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    offset = 0 if diagonal is None else int(number(diagonal))
    return torch.triu(x, offset) if attributes.get("upper", 1) else torch.tril(x, offset)


_COORDINATES: dict[str, dict[str, bool | None]] = {
    "nearest": {"asymmetric": None},
    "linear": {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True},
    "cubic": {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True},
}
_TORCH_MODES = {("linear", 3): "linear", ("linear", 4): "bilinear", ("linear", 5): "trilinear"}


def _resize(
    attributes: Attributes, x: Tensor, _: Tensor | None, scales: Tensor | None, sizes: Tensor | None = None
) -> Tensor:
    mode = attributes.get("mode", b"nearest").decode()
    coordinates = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    rounding = attributes.get("nearest_mode", b"round_prefer_floor")
    corners = _COORDINATES.get(mode, {})
    if coordinates not in corners or (mode == "nearest" and rounding != b"floor"):
        raise untrainable(f"Resize in mode {mode} with coordinates {coordinates}")
    if "axes" in attributes or attributes.get("antialias", 0):
        raise untrainable("Resize with axes or antialias")
    torch_mode = {"nearest": "nearest", "cubic": "bicubic"}.get(mode) or _TORCH_MODES[mode, x.dim()]
    options: dict[str, Any] = {"mode": torch_mode, "align_corners": corners[coordinates]}
    if scales is not None and scales.numel():
        return F.interpolate(x, scale_factor=[float(scale) for scale in scales[2:]], **options)
    if sizes is None:
        raise untrainable("Resize with neither scales nor sizes")
    return F.interpolate(x, size=_ints(sizes[2:]), **options)


#: ONNX's name → ``operator(attributes, *inputs)``; an input that is left out is None.
SHAPING: dict[str, Operator] = {
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Size": lambda _, x: torch.tensor(x.numel(), device=x.device),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": lambda _, x, repeats: x.tile(_ints(repeats)),
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
}
