"""ONNX Runtime's GroupQueryAttention as OpenVINO's attention over states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

    from compress.backends.openvino_translation import Translation

#: What stands for a token that is not attended to: the lowest number of float16, whose exponential is 0.
_HIDDEN = -65504.0


def attend(at: Translation, node: onnx.NodeProto) -> None:
    """Add GroupQueryAttention; the keys and values so far are a state each, which it adds those of new tokens to."""
    ov = at.ov
    heads, kv_heads = (at.attribute(node, name) for name in ("num_heads", "kv_num_heads"))
    given, key, value = node.input[:3]
    past_key, past_value = node.input[3:5]
    if key:
        parts = [at.values[name] for name in (given, key, value)]
        counts = [heads, kv_heads, kv_heads]
    else:
        packed = at.values[given]
        counts = [heads, kv_heads, kv_heads]
        size = packed.get_partial_shape()[2].get_length() // sum(counts)
        split = ov.variadic_split(packed, at.integers(-1), at.integers([count * size for count in counts]))
        parts = list(split.outputs())
    queries, keys, values = (_apart(at, part, count) for part, count in zip(parts, counts, strict=True))
    size = queries.get_output_partial_shape(0)[3].get_length()
    if at.attribute(node, "do_rotary", 0):
        cosines, sines = node.input[7:9]
        queries, keys = (_turned(at, tensor, cosines, sines, size) for tensor in (queries, keys))
    keys = _kept(at, keys, past_key, kv_heads, size)
    values = _kept(at, values, past_value, kv_heads, size)
    if heads != kv_heads:
        keys, values = (_repeated(at, tensor, heads, kv_heads, size) for tensor in (keys, values))
    window = at.attribute(node, "local_window_size", -1)
    mask = at.once(f"mask {window}", lambda: _mask(at, window))
    scale = at.floats(at.attribute(node, "scale", size**-0.5))
    attended = ov.scaled_dot_product_attention(queries, keys, values, mask, scale)
    rows = ov.transpose(attended, at.integers([0, 2, 1, 3]))
    at.give(node, ov.reshape(rows, at.integers([0, 0, heads * size]), special_zero=True))


def _apart(at: Translation, source: Any, count: int) -> Any:
    """Return heads apart: [batch, heads, sequence, head size]."""
    size = source.get_partial_shape()[2].get_length() // count
    rows = at.ov.reshape(source, at.integers([0, 0, count, size]), special_zero=True)
    return at.ov.transpose(rows, at.integers([0, 2, 1, 3]))


def _turned(at: Translation, heads: Any, cosines: str, sines: str, size: int) -> Any:
    """Turn each pair of a head's values, one of the first half and one of the second, by the token's position.

    The runtime makes one operator of it in this form alone: halves are slices, and a sign is a factor.
    """
    ov = at.ov
    cos, sin = (at.once(f"{name} here", lambda name=name: _here(at, name)) for name in (cosines, sines))
    half, step, axis = (at.integers([number]) for number in (size // 2, 1, 3))
    first = ov.slice(heads, at.integers([0]), half, step, axis)
    second = ov.slice(heads, half, at.integers([np.iinfo(np.int64).max]), step, axis)
    swapped = ov.concat([ov.multiply(second, at.floats(-1)), first], -1)
    return ov.add(ov.multiply(heads, cos), ov.multiply(swapped, sin))


def _here(at: Translation, name: str) -> Any:
    """Return a table's rows at the tokens' positions: [batch, 1, sequence, head size]."""
    table = at.array(name)
    rows = at.ov.gather(
        at.ov.constant(np.concatenate([table, table], -1), name=name),
        at.values["position_ids"],
        at.integers(0),
    )
    return at.ov.unsqueeze(rows, at.integers(1))


def _kept(at: Translation, new: Any, name: str, heads: int, size: int) -> Any:
    """Add new keys or values to a state, and return all of them."""
    ov = at.ov
    shape = at.once("empty", lambda: _empty(at, heads, size))
    empty = ov.broadcast(at.floats(0), shape)
    past = ov.read_value(empty, name, np.float32, [-1, heads, -1, size])
    rows = ov.gather(past, at.values["beam_idx"], at.integers(0))
    both = ov.concat([rows, new], 2)
    at.sinks.append(ov.assign(both, name))
    return both


def _empty(at: Translation, heads: int, size: int) -> Any:
    """Return the shape of keys or values of no token."""
    batch = at.ov.gather(at.ov.shape_of(at.values["input_ids"], "i64"), at.integers([0]), at.integers(0))
    return at.ov.concat([batch, at.integers([heads, 0, size])], 0)


def _repeated(at: Translation, kept: Any, heads: int, kv_heads: int, size: int) -> Any:
    """Repeat each key or value for the queries that it serves."""
    ov = at.ov
    tensor = ov.unsqueeze(kept, at.integers(2))
    shape = at.integers([1, 1, heads // kv_heads, 1, 1])
    spread = ov.broadcast(tensor, shape, broadcast_spec="BIDIRECTIONAL")
    return ov.reshape(spread, at.integers([0, heads, -1, size]), special_zero=True)


def _mask(at: Translation, window: int) -> Any:
    """Return 0 where a token attends and :data:`_HIDDEN` elsewhere: float32 [batch, 1, sequence, total]."""
    ov = at.ov
    given, zero = at.values["attention_mask"], at.integers(0)
    total = ov.gather(ov.shape_of(given, "i64"), at.integers(1), zero)
    sequence = ov.gather(ov.shape_of(at.values["input_ids"], "i64"), at.integers(1), zero)
    one = at.integers(1)
    keys = ov.range(zero, total, one, "i64")
    queries = ov.unsqueeze(ov.range(ov.subtract(total, sequence), total, one, "i64"), at.integers(1))
    seen = ov.less_equal(keys, queries)
    if window > 0:
        seen = ov.logical_and(seen, ov.greater(keys, ov.subtract(queries, at.integers(window))))
    there = ov.unsqueeze(ov.not_equal(given, zero), at.integers([1, 2]))
    return ov.select(ov.logical_and(seen, there), at.floats(0), at.floats(_HIDDEN))
