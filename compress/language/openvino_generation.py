"""A decoder in OpenVINO, with a key-value cache in its states, for :class:`compress.language.generation.Generator`.

This module needs numpy and openvino, and nothing else, so that it can run where an artifact runs.
"""

from __future__ import annotations

import json
from os import PathLike
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

#: Precisions of keys and values in the cache, and what OpenVINO calls them.
CACHES = {"float32": "f32", "float16": "f16", "int8": "u8"}

#: Values that are rounded to int8 together, where products are of integers.
_GROUP = 32


def open_decoder(
    path: str | PathLike[str], *, threads: int = 0, cache: str = "int8", compute: str = "int8"
) -> OpenVinoDecoder:
    """Open a decoder on this machine's processor.

    Args:
        path: The file ``openvino_model.xml`` of the decoder.
        threads: Threads of one call; 0 leaves the number to the runtime.
        cache: Precision of keys and values, one of :data:`CACHES`.
        compute: Precision of products with integer weights: ``float32``, or ``int8``, which also rounds what is
            multiplied, where the processor has kernels for it; it is faster and less exact.

    Raises:
        ValueError: A precision is none of these, or the network is no decoder; the message is one line.
    """
    if cache not in CACHES or compute not in ("float32", "int8"):
        raise ValueError(
            f"wanted a cache of {', '.join(CACHES)}, and products of float32 or int8; found {cache!r} and {compute!r}; "
            "choose among these"
        )
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # left alone, OpenVINO takes bf16 where the processor has it
        "KV_CACHE_PRECISION": CACHES[cache],
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP if compute == "int8" else 0,
    }
    core = openvino.Core()
    model = core.read_model(str(path))
    return OpenVinoDecoder(model, core.compile_model(model, "CPU", properties))


class OpenVinoDecoder:
    """A decoder, and what its network tells of itself.

    Args:
        model: The network, as it was read.
        compiled: The network, compiled.

    Raises:
        ValueError: It is no decoder that compress wrote.

    Attributes:
        compiled: The network, compiled.
        context: Largest number of tokens of prompt and answer together.
        eos: Ids of the tokens that end an answer.
        vocabulary: Number of tokens that logits are given for.
    """

    def __init__(self, model: openvino.Model, compiled: openvino.CompiledModel) -> None:
        if not model.has_rt_info(["compress", "context_length"]):
            raise ValueError(
                "wanted a decoder that compress wrote; found no 'context_length' in its notes; build it again"
            )
        notes = {
            name: str(model.get_rt_info(["compress", name]).astype(str))
            for name in ("context_length", "eos_token_ids")
        }
        self.compiled = compiled
        self.context = int(notes["context_length"])
        self.eos: frozenset[int] = frozenset(json.loads(notes["eos_token_ids"]))
        self.vocabulary = int(model.output("logits").partial_shape[2].get_length())

    def begin(self, room: int, batch: int = 1) -> OpenVinoCache:
        """Return an empty cache.

        Args:
            room: Number of tokens that it has room for, from 1 to ``context``.
            batch: Number of texts of one length that are computed together.
        """
        return OpenVinoCache(self.compiled.create_infer_request(), room, batch)


class OpenVinoCache:
    """Keys and values of the tokens so far, which the runtime holds.

    Args:
        request: Request of the decoder that nobody else uses.
        room: Number of tokens that it has room for.
        batch: Number of texts.

    Attributes:
        room: Number of tokens that it has room for.
    """

    def __init__(self, request: openvino.InferRequest, room: int, batch: int) -> None:
        self.room = room
        self._request = request
        self._batch = batch
        self._length = 0
        self._mask = np.ones((batch, room), np.int64)
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
        positions = np.broadcast_to(np.arange(self._length, total, dtype=np.int64), (self._batch, count))
        self._given = {  # the runtime holds mere addresses
            "input_ids": np.ascontiguousarray(ids, np.int64),
            "attention_mask": np.ascontiguousarray(self._mask[:, :total]),
            "position_ids": np.ascontiguousarray(positions),
            "beam_idx": self._rows,
        }
        self._request.infer(self._given, share_inputs=True, share_outputs=True)
        self._length = total
        logits: NDArray[np.float32] = self._request.get_output_tensor(0).data
        return logits
