"""Convolutions with a group for every sample, written as products: ONNX has fixed numbers of groups alone.

A network that computes a kernel for each sample calls one convolution of all samples, ``x[1, b·c, h, w]``, in ``b``
groups. Here ``x`` becomes columns ``[b, c·m·n, places]`` and the kernels ``[b, o, c·m·n]``. A transposed convolution
is a convolution with the kernel turned around, of the input with zeros between its values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx

from compress.network.lifting.call_writing import WrittenCall
from compress.network.lifting.calls import aten

_Arguments = Mapping[str, Any]


def convolution(given: _Arguments) -> WrittenCall | None:
    """Return the product of a convolution that is grouped by sample; None for any other.

    Args:
        given: All arguments of the call, by name.
    """
    if not isinstance(given["groups"], fx.Node):
        return None
    if given.get("transposed", "output_padding" in given):
        return _transposed(given)
    return _plain(given)


def _plain(arguments: _Arguments) -> WrittenCall | None:
    samples, tensor, weight = arguments["groups"], arguments["input"], arguments["weight"]
    one, _, *sizes = tensor.meta["val"].shape
    _, channels, *kernel = weight.meta["val"].shape
    if len(sizes) not in (1, 2) or one != 1 or not _known(channels, *sizes, *kernel):
        return None
    dilation, padding, stride = (
        _every(arguments[name], len(sizes)) for name in ("dilation", "padding", "stride")
    )
    axes = zip(sizes, kernel, dilation, padding, stride, strict=True)
    lengths = [(size + 2 * pad - rate * (width - 1) - 1) // step + 1 for size, width, rate, pad, step in axes]
    kernel, dilation, padding, stride = _of_images(kernel, dilation, padding, stride)
    apart = WrittenCall(aten.reshape.default, (tensor, [samples, channels, *_image(sizes)]))
    columns = WrittenCall(aten.im2col.default, (apart, kernel, dilation, padding, stride))
    rows = WrittenCall(aten.reshape.default, (weight, [samples, -1, channels * kernel[0] * kernel[1]]))
    return _product(arguments, rows, columns, lengths)


def _transposed(arguments: _Arguments) -> WrittenCall | None:
    samples, tensor, weight = arguments["groups"], arguments["input"], arguments["weight"]
    one, _, *sizes = tensor.meta["val"].shape
    _, outputs, *kernel = weight.meta["val"].shape
    axes = len(sizes)
    if axes not in (1, 2) or one != 1 or not _known(outputs, *sizes, *kernel):
        return None
    names = ("stride", "padding", "dilation", "output_padding")
    stride, padding, dilation, more = (_every(arguments[name], axes) for name in names)
    reach = [rate * (width - 1) for rate, width in zip(dilation, kernel, strict=True)]
    lengths = [
        (size - 1) * step - 2 * pad + far + extra + 1
        for size, step, pad, far, extra in zip(sizes, stride, padding, reach, more, strict=True)
    ]
    if axes == 1:
        sizes, kernel, stride, dilation, reach = (
            [1, *sizes],
            [1, *kernel],
            [1, *stride],
            [1, *dilation],
            [0, *reach],
        )
        padding, more = [0, *padding], [0, *more]
    apart = WrittenCall(aten.reshape.default, (tensor, [samples, -1, sizes[0], 1, sizes[1], 1]))
    between = [0, stride[1] - 1, 0, 0, 0, stride[0] - 1]
    spread = WrittenCall(aten.constant_pad_nd.default, (apart, between)) if any(between) else apart
    wide = [size * step for size, step in zip(sizes, stride, strict=True)]
    image = WrittenCall(aten.reshape.default, (spread, [samples, -1, *wide]))
    before = [far - pad for far, pad in zip(reach, padding, strict=True)]
    after = [  # the zeros behind the last value are there already
        far - pad + extra - (step - 1)
        for far, pad, extra, step in zip(reach, padding, more, stride, strict=True)
    ]
    image = _padded(image, before, after, wide)
    columns = WrittenCall(aten.im2col.default, (image, kernel, dilation, [0, 0], [1, 1]))
    by_sample = WrittenCall(aten.reshape.default, (weight, [samples, -1, outputs, *kernel]))
    turned = WrittenCall(
        aten.permute.default, (WrittenCall(aten.flip.default, (by_sample, [3, 4])), [0, 2, 1, 3, 4])
    )
    rows = WrittenCall(aten.reshape.default, (turned, [samples, outputs, -1]))
    return _product(arguments, rows, columns, lengths)


def _product(
    arguments: _Arguments, rows: WrittenCall, columns: WrittenCall, lengths: Sequence[int]
) -> WrittenCall:
    product = WrittenCall(aten.matmul.default, (rows, columns))
    if arguments["bias"] is not None:
        bias = WrittenCall(aten.reshape.default, (arguments["bias"], [arguments["groups"], -1, 1]))
        product = WrittenCall(aten.add.Tensor, (product, bias))
    return WrittenCall(aten.reshape.default, (product, [1, -1, *lengths]))


def _padded(
    image: WrittenCall, before: Sequence[int], after: Sequence[int], sizes: Sequence[int]
) -> WrittenCall:
    """Return an image with zeros around it, or cut where a number is negative."""
    for axis, (first, last, size) in enumerate(zip(before, after, sizes, strict=True), start=2):
        if first < 0 or last < 0:
            image = WrittenCall(aten.slice.Tensor, (image, axis, max(-first, 0), size + min(last, 0)))
    around = [max(size, 0) for pair in zip(reversed(before), reversed(after), strict=True) for size in pair]
    return WrittenCall(aten.constant_pad_nd.default, (image, around)) if any(around) else image


def _known(*sizes: Any) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _every(value: Any, axes: int) -> list[Any]:
    """Return a setting for every axis; one number stands for all of them."""
    values = [value] if isinstance(value, int) else list(value)
    return values * (axes // len(values))


def _image(sizes: Sequence[int]) -> list[int]:
    """Return a signal as an image of height 1, since columns exist only for images."""
    return [1, *sizes] if len(sizes) == 1 else [*sizes]


def _of_images(
    kernel: Sequence[int], dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> tuple[list[int], ...]:
    if len(kernel) == 2:
        return [*kernel], [*dilation], [*padding], [*stride]
    return [1, *kernel], [1, *dilation], [0, *padding], [1, *stride]
