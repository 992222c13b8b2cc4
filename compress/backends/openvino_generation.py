"""A decoder in OpenVINO, with a key-value cache in its states, for generating text and for single calls.

A single call is given keys and values, and returns them with those of its tokens, as ONNX Runtime's decoders do.

This module needs numpy and openvino, and nothing else, so that it can run where an artifact runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

#: Precisions of keys and values in the cache, and what OpenVINO calls them.
CACHES = {"float32": "f32", "float16": "f16", "int8": "u8"}

#: Place of the texts that a decoder tells of itself in the network's own notes, and that of the precision of products
#: with integer weights among them.
NOTES, PRODUCTS = "compress", "products"

#: Beginnings of the names of keys and values, before a call and after it.
PAST, PRESENT = "past_key_values.", "present."

#: Values that are rounded to int8 together, where products are of integers.
_GROUP = 32

#: Tokens of a call that are computed at once where the cache is rounded. The runtime multiplies tokens that it computes
#: at once by each other's keys as they were before rounding, which no answer does that is written token by token.
_PIECE = 8


def open_decoder(
    path: str | PathLike[str],
    *,
    threads: int = 0,
    cache: str = "int8",
    compute: str | None = None,
    precision: str = "fp32",
) -> OpenVinoDecoder:
    """Open a decoder on this machine's processor.

    Args:
        path: The file ``openvino_model.xml`` of the decoder.
        threads: Threads of one call; 0 leaves the number to the runtime.
        cache: Precision of keys and values, one of :data:`CACHES`.
        compute: Precision of products with integer weights: ``float32``, or ``int8``, which also rounds what is
            multiplied, where the processor has kernels for it; it is faster and less exact. None takes what the
            decoder tells of itself.
        precision: Precision of everything else, ``fp32`` or ``bf16``.

    Raises:
        ValueError: A precision is none of these, or the network is no decoder; the message is one line.
    """
    core = openvino.Core()
    model = core.read_model(str(path))
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": threads,
        # Left alone, OpenVINO takes bf16 where the processor has it.
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        **precisions(model, cache, compute),
    }
    return OpenVinoDecoder(model, core.compile_model(model, "CPU", properties), cache != "float32")


def precisions(model: openvino.Model, cache: str, compute: str | None = None) -> dict[str, Any]:
    """Return the properties that OpenVINO has for decoders alone; see :func:`open_decoder`.

    Raises:
        ValueError: A precision is none of those that there are.
    """
    compute = compute or notes(model).get(PRODUCTS, "float32")
    if cache not in CACHES or compute not in ("float32", "int8"):
        raise ValueError(
            f"wanted a cache of {', '.join(CACHES)}, and products of float32 or int8; found {cache!r} and {compute!r}; "
            "choose among these"
        )
    return {
        "KV_CACHE_PRECISION": CACHES[cache],
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP if compute == "int8" else 0,
    }


def notes(model: openvino.Model) -> dict[str, str]:
    """Return the texts that a decoder tells of itself, by name; empty where another program wrote the network."""
    if not model.has_rt_info([NOTES]):
        return {}
    return {name: str(text) for name, text in model.get_rt_info([NOTES]).value.items()}


class OpenVinoDecoder:
    """A decoder, and what its network tells of itself.

    Args:
        model: The network, as it was read.
        compiled: The network, compiled.
        rounds: Whether the cache holds keys and values in fewer bits than they are computed in.

    Raises:
        ValueError: It is no decoder that compress wrote.

    Attributes:
        compiled: The network, compiled.
        notes: Texts that it tells of itself, by name.
        context: Largest number of tokens of prompt and answer together.
        eos: Ids of the tokens that end an answer.
        vocabulary: Number of tokens that logits are given for.
        past: Number of heads and size of a head of each tensor of keys or values, by the name of the tensor, in the
            order of the layers, keys first.
    """

    def __init__(self, model: openvino.Model, compiled: openvino.CompiledModel, rounds: bool = False) -> None:
        self.notes = notes(model)
        missing = [name for name in ("context_length", "eos_token_ids") if name not in self.notes]
        if missing:
            raise ValueError(
                f"wanted a decoder that compress wrote; found no '{missing[0]}' in its notes; build it again"
            )
        self.compiled = compiled
        self.context = int(self.notes["context_length"])
        self.eos: frozenset[int] = frozenset(json.loads(self.notes["eos_token_ids"]))
        self.vocabulary = int(model.output("logits").partial_shape[2].get_length())
        shapes = {
            entry.get_info().variable_id: entry.get_info().data_shape for entry in model.get_variables()
        }
        self.past: dict[str, tuple[int, int]] = {
            name: (shapes[name][1].get_length(), shapes[name][3].get_length())
            for name in sorted(shapes, key=_place)
        }
        self._rounds = rounds
        self._request: openvino.InferRequest | None = None

    def begin(self, room: int, batch: int = 1, mask: NDArray[np.int64] | None = None) -> OpenVinoCache:
        """Return an empty cache.

        Args:
            room: Number of tokens that it has room for, from 1 to ``context``.
            batch: Number of texts of one length that are computed together.
            mask: See :class:`OpenVinoCache`.
        """
        return OpenVinoCache(self.compiled.create_infer_request(), room, batch, mask)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Make one call, whose keys and values are given, and return the outputs by name.

        Args:
            inputs: ``input_ids`` int64 [batch, tokens], ``attention_mask`` int64 [batch, total], and the keys and
                values of each layer before the call, float32 [batch, heads, past, head size].

        Returns:
            ``logits`` float32 [batch, tokens, vocabulary], and the keys and values after the call.
        """
        if self._request is None:
            self._request = self.compiled.create_infer_request()
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        cache = OpenVinoCache(self._request, mask.shape[1], len(ids), mask)
        cache.fill({name: inputs[name] for name in self.past})
        size = _PIECE if self._rounds else ids.shape[1]
        parts = [cache.step(ids[:, start : start + size]).copy() for start in range(0, ids.shape[1], size)]
        kept = {state.name: state.state.data for state in self._request.query_state()}
        present = {name.replace(PAST, PRESENT): kept[name].copy() for name in self.past}
        return {"logits": np.concatenate(parts, 1) if len(parts) > 1 else parts[0], **present}


def _place(name: str) -> tuple[int, str]:
    """Return the layer of keys or values, and which of them they are."""
    layer, kind = re.findall(r"\d+|key|value", name.removeprefix(PAST))
    return int(layer), kind


class OpenVinoCache:
    """Keys and values of the tokens so far, which the runtime holds.

    Args:
        request: Request of the decoder that nobody else uses.
        room: Number of tokens that it has room for.
        batch: Number of texts.
        mask: 1 for each token of the texts, and 0 for what fills them up, int64 [batch, room]; None where nothing does.

    Attributes:
        room: Number of tokens that it has room for.
    """

    def __init__(
        self, request: openvino.InferRequest, room: int, batch: int, mask: NDArray[np.int64] | None = None
    ) -> None:
        self.room = room
        self._request = request
        self._batch = batch
        self._length = 0
        self._mask = np.ones((batch, room), np.int64) if mask is None else mask
        self._rows = np.arange(batch, dtype=np.int32)
        self._given: dict[str, NDArray[Any]] = {}

    @property
    def length(self) -> int:
        """Number of tokens in it. Set to a smaller one, it forgets the last tokens."""
        return self._length

    @length.setter
    def length(self, length: int) -> None:
        if not 0 <= length <= self._length:
            raise ValueError(f"wanted a length of 0 to {self._length} tokens; found {length}; correct it")
        if length == 0:
            self._request.reset_state()
        elif length < self._length:
            for state in self._request.query_state():
                state.state = openvino.Tensor(np.ascontiguousarray(state.state.data[:, :, :length]))
        self._length = length

    def fill(self, past: Mapping[str, NDArray[Any]]) -> None:
        """Replace what is in it.

        Args:
            past: Keys and values by name, float32 [batch, heads, tokens, head size].
        """
        self._request.reset_state()
        self._length = next(iter(past.values())).shape[2]
        if self._length:
            for state in self._request.query_state():
                state.state = openvino.Tensor(np.ascontiguousarray(past[state.name]))

    def step(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Add tokens and return the logits behind each, float32 [batch, tokens, vocabulary].

        They lie in the runtime's memory, and are valid until the next step.

        Args:
            ids: Ids of the tokens, [batch, tokens]; as many as there is room for.
        """
        count = ids.shape[1]
        total = self._length + count
        if not 0 < count <= self.room - self._length:
            raise ValueError(
                f"wanted 1 to {self.room - self._length} tokens, as there is room for; found {count}; shorten them"
            )
        before = self._mask[:, : self._length].sum(1, dtype=np.int64)  # what fills a text up has no position
        self._given = {  # the runtime holds mere addresses
            "input_ids": np.ascontiguousarray(ids, np.int64),
            "attention_mask": np.ascontiguousarray(self._mask[:, :total]),
            "position_ids": before[:, np.newaxis] + np.arange(count, dtype=np.int64),
            "beam_idx": self._rows,
        }
        self._request.infer(self._given, share_inputs=True, share_outputs=True)
        self._length = total
        logits: NDArray[np.float32] = self._request.get_output_tensor(0).data
        return logits
