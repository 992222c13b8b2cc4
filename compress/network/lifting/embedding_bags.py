"""Embedding bags of one length, written as a lookup and what is made of the entries of each bag.

``nn.EmbeddingBag`` takes the bags one behind another with the place where each begins, and the exporter writes a loop
over these places, which TensorRT does not have and nothing quantizes. Given indices ``[n, length]`` it takes bags of
one length, and that is a lookup, and a sum, mean or maximum along an axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from compress.network.lifting.call_writing import WrittenCall
from compress.network.lifting.calls import aten

_SUM, _MEAN, _MAX = range(3)  # ATen's numbers for what is made of the entries

#: The operators; each returns the bags, and statistics for its gradient.
BAGS: frozenset[Any] = frozenset(
    {
        aten.embedding_bag.default,
        aten.embedding_bag.padding_idx,
        aten._embedding_bag.default,
        aten._embedding_bag_forward_only.default,
    }
)


def embedding_bag(given: Mapping[str, Any]) -> WrittenCall | None:
    """Return bags of one length as a lookup and its reduction; None where offsets say where each begins.

    Args:
        given: All arguments of the call, by name.
    """
    length = _length(given)
    if length is None:
        return None
    mode, padding, factors = given["mode"], given.get("padding_idx"), given["per_sample_weights"]
    rows = WrittenCall(aten.reshape.default, (given["indices"], [-1, length]))
    entries = WrittenCall(aten.embedding.default, (given["weight"], rows))
    if factors is not None:
        factors = WrittenCall(aten.reshape.default, (factors, [-1, length]))
        entries = WrittenCall(aten.mul.Tensor, (entries, WrittenCall(aten.unsqueeze.default, (factors, -1))))
    if padding is None or padding < 0:
        return _reduced(mode, entries)
    kind: torch.dtype = given["weight"].meta["val"].dtype
    not_padding = WrittenCall(aten.unsqueeze.default, (WrittenCall(aten.ne.Scalar, (rows, padding)), -1))
    counted = WrittenCall(aten.to.dtype, (not_padding, kind))
    if mode == _MAX:
        left_out = WrittenCall(aten.logical_not.default, (not_padding,))
        lowest = WrittenCall(aten.masked_fill.Scalar, (entries, left_out, torch.finfo(kind).min))
        # A bag of padding alone gives zeros.
        return WrittenCall(aten.mul.Tensor, (_reduced(_MAX, lowest), _reduced(_MAX, counted)))
    total = _reduced(_SUM, WrittenCall(aten.mul.Tensor, (entries, counted)))
    if mode == _SUM:
        return total
    number = WrittenCall(aten.clamp.default, (_reduced(_SUM, counted), 1))
    return WrittenCall(aten.div.Tensor, (total, number))


def _reduced(mode: int, entries: WrittenCall) -> WrittenCall:
    """Return the sum, mean or maximum over the entries ``[n, length, width]`` of each bag."""
    target = {_SUM: aten.sum.dim_IntList, _MEAN: aten.mean.dim, _MAX: aten.amax.default}[mode]
    return WrittenCall(target, (entries, [1]))


def _length(arguments: Mapping[str, Any]) -> Any:
    """Return the one length of all bags: the step of offsets that count from zero; None for other offsets."""
    places = arguments["offsets"]
    if not isinstance(places, fx.Node) or places.target is not aten.arange.start_step:
        return None
    start, _, step = places.args
    return step if start == 0 and not arguments["include_last_offset"] else None
